"""From a plain tree to a typed configuration, with every mistake named; and the fingerprint of a trial."""

import dataclasses
import hashlib
import json
import math
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.config.models import GeneratorModelConfig, ModelConfig, TextModelConfig, VisionModelConfig
from harness.config.multitask import MtlLoraConfig, MtloraConfig
from harness.config.schema import BaselineConfig, Config, LoraConfig, Range
from harness.config.tasks import (
    READS,
    ContinualTaskConfig,
    ImageTaskConfig,
    MixtureTaskConfig,
    Seq2seqTaskConfig,
    SeveralTaskConfig,
    TextTaskConfig,
    kind_of,
)
from harness.config.tree import ConfigError, Tree, apply_overrides, nearest

_ADAPTER: TypeAdapter[Config] = TypeAdapter(Config)


def check(tree: Mapping[str, Any]) -> Config:
    """The typed configuration of a resolved tree.

    Raises ConfigError with every mistake: an unknown key, a wrong type, a value outside its rule, two keys at odds.
    """
    try:
        config = _ADAPTER.validate_python(dict(tree))
    except ValidationError as error:
        firsts: dict[str, str] = {}  # one for each value: a value that may be of two kinds is wrong as both
        for item in error.errors():
            said = _mistake(tree, item)
            firsts.setdefault(said.rpartition(": ")[0] or said, said)
        raise ConfigError(*firsts.values()) from None
    mistakes = [
        *_kind_mistakes(config),
        *_objective_mistakes(config),
        *_probe_mistakes(config),
        *_lora_mistakes(config),
        *_sweep_mistakes(config, tree),
        *_spread_mistakes(config),
    ]
    if mistakes:
        raise ConfigError(*mistakes)
    if config.run == "claims" and config.claims is None:
        raise ConfigError("run=claims: claims is empty; +experiment=claims has them")
    return config


def to_dict(config: Any) -> Tree:
    """A configuration object as a plain tree: what is written to files and hashed."""
    tree: Tree = dataclasses.asdict(config)
    return tree


def fingerprint(config: Config, identity: Mapping[str, str]) -> str:
    """Sixteen hex digits that two trials share only if they are the same experiment.

    What is not meant to change the outcome stays out: names, paths, tracking, and the number of threads, which rounds
    otherwise. `identity` holds what
    only the machine can tell: the digests of data, weights and tokenizer, the device and the precision.
    """
    tree = to_dict(config)
    for key in ("run", "study", "results", "tracking", "launch", "sweep", "claims"):
        del tree[key]
    del tree["trainer"]["threads"], tree["trainer"]["strategy"]
    if not config.trainer.score_train:  # a trial from before there was this key is the same trial
        del tree["trainer"]["score_train"]
    for task in (tree["task"], *tree["task"].get("tasks", {}).values()):
        for key in ("name", "data", "asset", "stand_in", "validation", "test", "catalogues"):
            task.pop(key, None)
        for key, default in (("answer", "class"), ("train_rows", None)):  # trials from before there were these
            if key in task and task[key] == default:
                del task[key]
    if tree["probe"] is None:  # as before there were any
        del tree["probe"]
    else:
        del tree["probe"]["asset"]
    for key in ("weights", "name", "tokenizer", "made_by"):
        tree["model"].pop(key, None)
    del tree["trainer"]["accelerator"], tree["trainer"]["precision"]
    lora = config.lora
    if isinstance(lora, LoraConfig):
        if lora.match is None:
            del tree["lora"]["match"]  # so that trials from before there was one are still known
        plainly = lora.variant == "lora" and not (lora.ranks or lora.alphas or lora.match)
        if lora.alpha and plainly:  # the same thing in other words
            tree["lora"] |= {"scale": lora.alpha / lora.rank, "alpha": None}
        else:
            tree["lora"]["scale"] = lora.update_scale
    canonical = json.dumps({"config": tree, "identity": dict(identity)}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _mistake(tree: Mapping[str, Any], item: Any) -> str:
    path: list[str] = []
    node: Any = tree
    for part in item["loc"]:  # pydantic names the union's branch too; only real keys lead on
        inside = isinstance(node, Mapping) and part in node
        inside = inside or (isinstance(node, list) and isinstance(part, int) and part < len(node))
        if inside:
            path.append(str(part))
            node = node[part]
        elif item["type"] == "missing" and part == item["loc"][-1]:
            path.append(str(part))
    key = ".".join(path)
    if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        # The group experiment leaves no key behind, so a misspelt one arrives here as a key.
        return f"{key}: no such key{nearest(key, [*schema_keys(Config), 'experiment'])}"
    if item["type"] == "missing":
        return f"{key}: missing"
    rule = item["msg"][0].lower() + item["msg"][1:]
    return f"{key}={_show(item['input'])}: {rule}"


def _show(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str | int | float | bool | list | None) else str(value)


def schema_keys(kind: Any, prefix: str = "") -> list[str]:
    """Every dotted key that the schema knows, all branches of its unions included."""
    keys = []
    for field in dataclasses.fields(kind):
        keys.append(f"{prefix}{field.name}")
        for part in _dataclasses_in(typing.get_type_hints(kind)[field.name]):
            keys += schema_keys(part, f"{prefix}{field.name}.")
    return keys


def _dataclasses_in(hint: Any) -> list[Any]:
    if dataclasses.is_dataclass(hint):
        return [hint]
    if typing.get_origin(hint) is dict:  # the keys of a mapping are the user's, not the schema's
        return []
    return [found for part in typing.get_args(hint) for found in _dataclasses_in(part)]


def _kind_mistakes(config: Config) -> list[str]:
    task, model = config.task, config.model
    if kind_of(task) != model.kind:
        readers = ", ".join(reader for reader, kind in READS.items() if kind == model.kind)
        return [
            f"model={model.name}: a {model.kind} model, for tasks read by {readers}; task={task.name} needs a "
            f"{kind_of(task)} model"
        ]
    if isinstance(task, SeveralTaskConfig):
        if config.trainer.devices > 1:
            return [
                f"trainer.devices={config.trainer.devices}: task={task.name} has a head for each task, and a step "
                "trains one of them: one device"
            ]
        alone = (dataclasses.replace(config, task=part) for part in task.tasks.values())
        whole = _mixture_mistakes(task) if isinstance(task, MixtureTaskConfig) else _sequence_mistakes(task, config)
        return [*whole, *(mistake for part in alone for mistake in _kind_mistakes(part))]
    if uneven := _head_mistakes(model):
        return uneven
    if isinstance(model, GeneratorModelConfig):
        assert isinstance(task, Seq2seqTaskConfig)
        return _generator_mistakes(task, model, config)
    if isinstance(model, VisionModelConfig) or isinstance(task, ImageTaskConfig):
        return _size_mistakes(task, model)
    if not isinstance(task, TextTaskConfig) or not isinstance(model, TextModelConfig):
        return []
    mistakes = []
    if task.answer == "number" and task.classes is not None:
        mistakes.append(f"task.classes={task.classes}: task={task.name} answers with a number; task.classes=null")
    # RoBERTa counts its positions from the padding id on, which costs it two.
    longest = model.shape.positions - (2 if model.family == "roberta" else 0)
    if task.max_length > longest:
        mistakes.append(f"task.max_length={task.max_length}: model={model.name} has {longest} positions")
    return mistakes


def _mixture_mistakes(task: MixtureTaskConfig) -> list[str]:
    mistakes = []
    if len(kinds := sorted({READS[part.reader] for part in task.tasks.values()})) > 1:
        mistakes.append(f"task.tasks: one base cannot read {' and '.join(kinds)} tasks")
    unknown = (name for name in task.only or () if name not in task.tasks)
    return mistakes + [f"task.only={_show(task.only)}: no task {name}{nearest(name, task.tasks)}" for name in unknown]


def _sequence_mistakes(task: ContinualTaskConfig, config: Config) -> list[str]:
    mistakes = [
        f"task.order={_show(task.order)}: no task {name}{nearest(name, task.tasks)}"
        for name in task.order or ()
        if name not in task.tasks
    ]
    if task.order and len(set(task.order)) < len(task.order):
        mistakes.append(f"task.order={_show(task.order)}: a task is learned once")
    if kinds := sorted({READS[part.reader] for part in task.tasks.values()} - {"text"}):
        mistakes.append(f"task.tasks: a sequence is of text tasks, not of {' and '.join(kinds)}")
    if task.learn != "continued" and not isinstance(config.lora, LoraConfig):
        mistakes.append(f"task.learn={task.learn}: it needs adapters; lora={config.lora.name} has task.learn=continued")
    if isinstance(config.lora, LoraConfig) and any(name in config.lora.variant for name in ("adalora", "dylora")):
        mistakes.append(f"lora.variant={config.lora.variant}: its ranks move within one training; none in a sequence")
    if mistakes:
        return mistakes
    asked = {(getattr(part, "answer", ""), getattr(part, "classes", None)) for part in task.chosen.values()}
    if task.heads == "shared" and (len(asked) > 1 or ("number", None) in asked):
        mistakes.append("task.heads=shared: the tasks have not the same classes; task.heads=separate")
    return mistakes


def _objective_mistakes(config: Config) -> list[str]:
    """Whether what the best weights are chosen by is measured at all."""
    task, objective = config.task, config.trainer.objective
    possible: tuple[str, ...]
    if isinstance(task, SeveralTaskConfig) and config.trainer.score_train:
        return [f"trainer.score_train=true: task={task.name} is several tasks; trainer.score_train=false"]
    if isinstance(task, SeveralTaskConfig):
        possible = ("score", "loss")
    elif isinstance(task, Seq2seqTaskConfig) or getattr(task, "answer", "class") == "number":
        possible = ("loss",)
    else:
        possible = ("accuracy", "loss")
    if objective in possible or config.run == "count":
        return []
    return [f"trainer.objective={objective}: task={task.name} has none; trainer.objective={possible[0]}"]


def _probe_mistakes(config: Config) -> list[str]:
    if config.probe is None:
        return []
    if not isinstance(config.model, TextModelConfig):
        return [f"probe={config.probe.name}: it hides tokens of an encoder; model={config.model.name} is none of text"]
    longest = config.model.shape.positions - (2 if config.model.family == "roberta" else 0)
    if config.probe.length > longest:
        return [f"probe.length={config.probe.length}: model={config.model.name} has {longest} positions"]
    return []


def _head_mistakes(model: ModelConfig) -> list[str]:
    """Attention heads share out the hidden size, but for T5, whose heads have a size of their own."""
    if not isinstance(model, TextModelConfig | GeneratorModelConfig) or model.family == "t5":
        return []
    shape = model.shape
    if shape.hidden % shape.heads:
        return [f"model.shape.heads={shape.heads}: model.shape.hidden={shape.hidden} is no multiple of it"]
    return []


def _size_mistakes(task: Any, model: Any) -> list[str]:
    if model.architecture == "vit_b_16" and model.image_size is None:
        return [f"model.image_size=null: model={model.name} has a table of positions; give the images' size"]
    if model.image_size not in (None, task.image_size):
        return [f"model.image_size={model.image_size}: the images of task={task.name} are {task.image_size} pixels"]
    if model.architecture == "vit_b_16" and task.image_size % 16:
        return [f"task.image_size={task.image_size}: model={model.name} reads patches of 16; use a multiple of 16"]
    return []


def _generator_mistakes(task: Seq2seqTaskConfig, model: GeneratorModelConfig, config: Config) -> list[str]:
    mistakes = []
    if config.lora.name == "head":
        mistakes.append(f"lora=head: model={model.name} has no fresh head; lora=lora or lora=full")
    if model.weights is None and config.lora.name != "full":
        mistakes.append("model.weights=null: fresh weights are trained as a whole; lora=full")
    both = task.max_source + task.max_target
    longest = both if model.family == "gpt2" else max(task.max_source, task.max_target)
    if model.shape.positions is not None and longest > model.shape.positions:
        mistakes.append(
            f"task.max_source={task.max_source} and task.max_target={task.max_target}: model={model.name} has "
            f"{model.shape.positions} positions"
        )
    return mistakes


def _lora_mistakes(config: Config) -> list[str]:
    lora = config.lora
    if isinstance(lora, BaselineConfig):
        return []
    mistakes = []
    way = lora.match if isinstance(lora, LoraConfig) else lora
    if isinstance(way, MtloraConfig | MtlLoraConfig) and not isinstance(config.task, MixtureTaskConfig):
        key = f"lora.match={way.name}" if isinstance(lora, LoraConfig) else f"lora={way.name}"
        mistakes.append(f"{key}: adapters for several tasks; task={config.task.name} is one, task=mixture is several")
    doubles = sorted({name for name in lora.targets if lora.targets.count(name) > 1})
    if doubles:
        mistakes.append(f"lora.targets={_show(lora.targets)}: {', '.join(doubles)} named twice")
    return [*mistakes, *_scale_mistakes(lora)] if isinstance(lora, LoraConfig) else mistakes


def _scale_mistakes(lora: LoraConfig) -> list[str]:
    mistakes = []
    if lora.match is not None and (lora.ranks or lora.redistribute > 1 or "adalora" in lora.variant):
        mistakes.append(f"lora.match={lora.match.name}: sets one rank for all layers; none by layer, none that moves")
    if lora.scale is not None and lora.alpha is not None:
        mistakes.append(f"lora.scale={lora.scale} and lora.alpha={lora.alpha}: give one of them, never both")
    if lora.scales and lora.alphas:
        mistakes.append("lora.scales and lora.alphas: give one of them, never both")
    return mistakes


# What these do looks at whole weights before training, or between steps.
_NOT_SPREAD = ("adalora", "eva", "lora_ga")


def _spread_mistakes(config: Config) -> list[str]:
    """What a base that is spread over devices cannot do."""
    if config.trainer.strategy != "fsdp":
        return []
    where, lora = "trainer.strategy=fsdp", config.lora
    mistakes = []
    if config.model.kind not in ("text", "generator"):
        mistakes.append(f"{where}: for transformers; model={config.model.name} is a {config.model.kind} model")
    if isinstance(lora, LoraConfig) and (found := [one for one in _NOT_SPREAD if one in lora.variant.split("+")]):
        mistakes.append(f"{where}: lora.variant={found[0]} needs whole weights on one device; trainer.strategy=ddp")
    elif not isinstance(lora, LoraConfig | BaselineConfig):
        mistakes.append(f"{where}: lora={lora.name} is not known to work there; lora=lora, or trainer.strategy=ddp")
    return mistakes


def _sweep_mistakes(config: Config, tree: Mapping[str, Any]) -> list[str]:
    sweep = config.sweep
    if sweep is None:
        return ["run=study: sweep is empty; give one, as in sweep=rank_alpha_lr"] if config.run == "study" else []
    spaces = {"sweep.nuisance": sweep.nuisance}
    spaces |= {f"sweep.baselines.{name}.nuisance": arm.nuisance for name, arm in sweep.baselines.items()}
    mistakes = [
        f"{place}.{key}={rule}"
        for place, space in spaces.items()
        for key, bounds in space.items()
        for rule in _range_mistakes(bounds)
    ]
    kinds: dict[str, set[bool]] = {}
    for space in spaces.values():
        for key, bounds in space.items():
            kinds.setdefault(key, set()).add(bounds.log)
    mistakes += [f"sweep: {key} is log in one arm and not in another" for key in kinds if len(kinds[key]) > 1]
    if not sweep.scientific and not sweep.baselines:
        mistakes.append("sweep.scientific: an empty search space")
    for key in (*sweep.scientific, *sweep.nuisance):
        try:
            apply_overrides(tree, {key: None})
        except ConfigError as error:
            mistakes.append(f"sweep: {error}")
    both = sorted(set(sweep.scientific) & set(sweep.nuisance))
    mistakes += [f"sweep.across: {key} is not scientific" for key in sweep.across or () if key not in sweep.scientific]
    return mistakes + [f"sweep: {key} is both scientific and nuisance" for key in both]


def _range_mistakes(bounds: Range) -> list[str]:
    shown = f"[{bounds.low:g}, {bounds.high:g}]"
    if not math.isfinite(bounds.low) or not bounds.low < bounds.high:
        return [f"{shown}: low must be below high"]
    if bounds.log and bounds.low <= 0:
        return [f"{shown}: a log range starts above 0"]
    return []
