"""What can be refused before torch is imported: files that are not there, results that cannot be written, layers and
ranks that the named model does not have, another question under a study's name.
"""

import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from harness.config import (
    Config,
    ConfigError,
    GeneratorModelConfig,
    LoraConfig,
    ModelConfig,
    SpeechModelConfig,
    TextModelConfig,
    VisionModelConfig,
    apply_overrides,
    check,
    nearest,
    to_dict,
)

_LEAST_FREE = 32 * 2**20  # bytes; the smallest trial's files fit, and an error can still be written down
_ATTENTION = ("query", "key", "value", "output")
_FFN = ("ffn_up", "ffn_down")
_CROSS = tuple(f"cross_{name}" for name in _ATTENTION)

# The least of min(inputs, outputs) among the layers of each name.
_IMAGES: dict[str, dict[str, int]] = {
    "efficientnet_lite0": {"conv": 16, "pointwise": 16, "depthwise": 9, "stem": 27, "fc": 1000},
    "resnet18": {"conv": 64, "pointwise": 64, "stem": 64, "fc": 512},
    "vit_b_16": dict.fromkeys((*_ATTENTION, *_FFN, "stem", "fc"), 768),
}

# What a target without a dot may name beside these: children of the network itself.
_CHILDREN = {
    "text": ("embeddings", "encoder", "pooler"),
    "generator": ("transformer", "lm_head", "shared", "encoder", "decoder", "model"),
    "speech": ("lstm", "linear"),
    "vision": (
        *("conv_stem", "bn1", "blocks", "conv_head", "bn2", "global_pool", "classifier"),
        *("conv1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"),
        *("conv_proj", "encoder", "heads"),
    ),
}


def validate_before_import(config: Config) -> None:
    """Raise ConfigError for what is wrong with a trial or a study and needs no network, data or torch to be seen."""
    _files(config)
    writable(Path(config.results))
    if config.run == "study" and getattr(config.task, "stand_in", None) is None:  # which may be what was trained on
        check_same_config(Path(config.results) / config.study, to_dict(config))
    mistakes = [mistake for each in _arms(config) for mistake in _layers(each)]
    if mistakes:
        raise ConfigError(*dict.fromkeys(mistakes))


def limits(model: ModelConfig) -> dict[str, int]:
    """The names of a model's layers, each with the highest rank that all layers of that name can have."""
    match model:
        case TextModelConfig(shape=shape):
            return dict.fromkeys(_ATTENTION, shape.hidden) | dict.fromkeys(_FFN, min(shape.hidden, shape.ffn))
        case GeneratorModelConfig(shape=wide, family=family):
            inner = wide.heads * wide.head_size if family == "t5" else wide.hidden
            names = _ATTENTION if family == "gpt2" else (*_ATTENTION, *_CROSS)
            return dict.fromkeys(names, min(wide.hidden, inner)) | dict.fromkeys(_FFN, min(wide.hidden, wide.ffn))
        case SpeechModelConfig():
            return {"lstm": min(40, model.hidden)} | ({"linear": model.hidden} if model.pooling == "embedding" else {})
        case VisionModelConfig():
            known = _IMAGES[model.architecture]
            return known if model.classifier else {name: most for name, most in known.items() if name != "fc"}


def _layers(config: Config) -> Iterator[str]:
    lora = config.lora
    if not isinstance(lora, LoraConfig):
        return
    known, name = limits(config.model), config.model.name
    for target in lora.targets:
        if target.isidentifier() and target not in known and target not in _CHILDREN[config.model.kind]:
            hint = nearest(target, known) or f"; valid: {', '.join(known)}"
            yield f"lora.targets={_shown(lora.targets)}: target {target}: no such name in model={name}, and as a " + (
                f"pattern it matches no module{hint}"
            )
    most = {target: known[target] for target in lora.targets if target in known}
    above = [target for target in most if lora.rank > most[target]]
    if above and not lora.ranks and lora.conv_form == "branch":
        least = min(above, key=lambda target: most[target])
        yield f"lora.rank={lora.rank}: above min(inputs, outputs) = {most[least]} of {least} in model={name}"


def _arms(config: Config) -> Iterator[Config]:
    """The configurations that a study compares; of a trial its own. Raises ConfigError for one that cannot be."""
    if config.sweep is None:
        yield config
        return
    tree, keys = to_dict(config) | {"run": "trial", "sweep": None}, list(config.sweep.scientific)
    mistakes: dict[str, None] = {}
    for values in itertools.product(*config.sweep.scientific.values()) if keys else ():
        try:
            yield check(apply_overrides(tree, dict(zip(keys, values, strict=True))))
        except ConfigError as error:
            mistakes |= dict.fromkeys(str(error).splitlines())
    for name, arm in config.sweep.baselines.items():
        try:
            yield check(apply_overrides(tree, arm.set))
        except ConfigError as error:
            mistakes |= dict.fromkeys(f"sweep.baselines.{name}: {line}" for line in str(error).splitlines())
    if mistakes:
        raise ConfigError(*mistakes)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _files(config: Config) -> None:
    """Files and folders that are named and not there. A path inside an asset is looked for when that is fetched."""
    task: Any = config.task
    named = [(f"task.tasks.{name}.", part) for name, part in getattr(task, "tasks", {}).items()] or [("task.", task)]
    mistakes = []
    for prefix, part in named:
        if config.task.reader == "pairs" and getattr(part, "asset", None) is not None:
            continue
        for key in ("data", "validation", "test"):
            value = getattr(part, key, None)
            if isinstance(value, str) and not Path(value).expanduser().exists():
                mistakes.append(f"{prefix}{key}={value}: no such {_kind_of(part.reader)}")
    weights: Any = config.model.weights
    address = getattr(weights, "address", "")
    made_by = getattr(config.model, "made_by", None)
    if address.startswith("path:") and not Path(address[5:]).expanduser().exists() and made_by is None:
        mistakes.append(f"model.weights.address={address}: no such file or folder")
    if mistakes:
        raise ConfigError(*mistakes)


def _kind_of(reader: str) -> str:
    return "file" if reader in ("table", "pairs", "rated") else "folder"


def writable(results: Path) -> None:
    """Raise ConfigError where nothing can be written under `results`; leaves nothing there."""
    place = results.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".harness-"):
            free = shutil.disk_usage(place).free
    except OSError as error:
        raise ConfigError(f"results={results}: {place} cannot be written, {error.strerror or error}") from None
    if free < _LEAST_FREE:
        raise ConfigError(f"results={results}: {free // 2**20} MiB are free there, {_LEAST_FREE // 2**20} are needed")


# What may differ when a study is taken up again: where and how it runs, and how many trials it may take.
_HOW = ("trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.threads")
_FREE = ("run", "results", "tracking", "launch", *_HOW, "sweep.trials")


def check_same_config(folder: Path, tree: Mapping[str, Any]) -> None:
    """Raise ConfigError where a study was begun with another configuration: points were drawn by it, or trials run."""
    path, logs = folder / "config.yaml", (folder / "claims.jsonl", folder / "records.jsonl")
    if not path.exists() or not any(log.exists() and log.stat().st_size for log in logs):
        return
    before, now = _flat(yaml.safe_load(path.read_text())), _flat(tree)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key) and not _is_free(key)]
    if changed:
        study = tree["study"]
        raise ConfigError(
            *(
                f"{key}={_shown(now.get(key))}: study={study} was begun with another configuration, "
                f"{_shown(before.get(key))}; set it back, or give the study another name"
                for key in changed
            )
        )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(free + ".") for free in _FREE)
