"""The schema of a configuration: every key, its type and its rule; overlays by dotted key; the fingerprint."""

import copy
import dataclasses
import difflib
import hashlib
import json
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Tree = dict[str, Any]

_CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)
# Strict scalars: "8", 8.0 and true are not the rank 8.
Count = Annotated[int, Strict(), Field(ge=1)]
Natural = Annotated[int, Strict(), Field(ge=0)]
Flag = Annotated[bool, Strict()]
Number = Annotated[float, Strict()]
Positive = Annotated[float, Strict(), Field(gt=0)]
NotNegative = Annotated[float, Strict(), Field(ge=0)]
Share = Annotated[float, Strict(), Field(ge=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]
HeldOut = Annotated[float, Strict(), Field(gt=0, le=0.4)]


DEFAULT_SCALE = 2.0


class ConfigError(Exception):
    """A mistake of the user's, one line each: key, value, rule and, where there is one, the nearest valid name."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class AssetConfig:
    """Where a file or folder comes from, and the SHA-256 that proves it.

    `sha256` is the digest of the whole (a package archive, a file), or one digest for each file of a hub repository;
    null for a hub file means: the digest that the hub declares for the pinned revision.
    """

    address: Text
    sha256: Text | dict[str, Text | None] | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class TextTaskConfig:
    """What every text classification task has."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    data: Text | None
    classes: Annotated[int, Strict(), Field(ge=2)] | None
    split_seed: Natural
    max_length: Annotated[int, Strict(), Field(ge=2)]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class GlueTaskConfig(TextTaskConfig):
    """A GLUE-like single-sentence task: a folder of TSV files, or the hub's Parquet files."""

    reader: Literal["glue"]
    asset: AssetConfig
    stand_in: Text | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class RatedTaskConfig(TextTaskConfig):
    """Sentences with mean human ratings in −4…4; positive where the rating is above 0 (Hutto and Gilbert, 2014)."""

    reader: Literal["rated"]
    asset: AssetConfig
    file: Text
    validation_share: HeldOut
    test_share: HeldOut


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class TableTaskConfig(TextTaskConfig):
    """A user's own CSV, TSV, JSONL or Parquet file with named columns."""

    reader: Literal["table"]
    text: Text
    label: Text
    validation: Text | None
    test: Text | None
    validation_share: HeldOut
    test_share: HeldOut


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class ShapeConfig:
    """The dimensions of a transformer encoder, enough to build it without its weights."""

    hidden: Count
    layers: Count
    heads: Count
    ffn: Count
    vocabulary: Count
    positions: Count
    types: Count


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class ModelConfig:
    """A pretrained encoder, how its tokens become one vector, and the head on top."""

    name: Text
    family: Literal["bert", "roberta"]
    shape: ShapeConfig
    weights: AssetConfig
    pooling: Literal["mean", "first", "pooler"]
    head: Literal["linear", "dense"]
    dropout: Share


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adaptation: y = Wx + b + s·BA·drop(x), s given as `scale`, or as `alpha` with s = alpha/rank."""

    name: Literal["lora"]
    rank: Count
    scale: Positive | None
    alpha: Positive | None
    targets: Annotated[list[Text], Field(min_length=1)]
    dropout: Share

    @property
    def update_scale(self) -> float:
        """The scale s: as given, or alpha/rank, or the default of 2."""
        return self.scale or (self.alpha / self.rank if self.alpha else DEFAULT_SCALE)


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class FullConfig:
    """Full fine-tuning: every weight is trained."""

    name: Literal["full"]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class HeadConfig:
    """A frozen base: only the head is trained."""

    name: Literal["head"]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with warm-up and linear decay; `head_lr` null: the head learns at `lr`."""

    lr: Positive
    head_lr: Positive | None
    weight_decay: NotNegative
    warmup: Share
    clip: Positive | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class TrainerConfig:
    """How long, in what batches, and on what a trial runs."""

    epochs: Positive
    max_steps: Count | None
    batch_size: Count
    evaluations: Count
    objective: Literal["accuracy", "loss"]
    patience: Count | None
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    threads: Count | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class TrackingConfig:
    """The W&B mirror; auto: online where a key is found, else offline."""

    mode: Literal["auto", "online", "offline", "off"]
    project: Text
    entity: Text | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class Range:
    """A nuisance dimension: an interval, uniform or log-uniform."""

    low: Number
    high: Number
    log: Flag = False


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class BaselineConfig:
    """A further arm of the study: what it sets, and what is tuned for it."""

    set: dict[str, Any]
    nuisance: dict[str, Range]


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class SweepConfig:
    """What is searched: scientific values are compared, nuisance values are tuned for each of them alike."""

    scientific: dict[str, Annotated[list[Any], Field(min_length=1)]]
    nuisance: dict[str, Range]
    baselines: dict[str, BaselineConfig]
    trials: Count
    startup: Count
    prune_after: Count | None


@dataclass(config=_CLOSED, frozen=True, kw_only=True)
class Config:
    """One trial, or one study of trials, wholly resolved."""

    run: Literal["trial", "study", "report", "count"]
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    results: Text
    seed: Natural
    task: Annotated[GlueTaskConfig | RatedTaskConfig | TableTaskConfig, Field(discriminator="reader")]
    model: ModelConfig
    lora: Annotated[LoraConfig | FullConfig | HeadConfig, Field(discriminator="name")]
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    tracking: TrackingConfig
    sweep: SweepConfig | None


_ADAPTER: TypeAdapter[Config] = TypeAdapter(Config)


def check(tree: Mapping[str, Any]) -> Config:
    """The typed configuration of a resolved tree.

    Raises ConfigError with every mistake: an unknown key, a wrong type, a value outside its rule, two keys at odds.
    """
    try:
        config = _ADAPTER.validate_python(dict(tree))
    except ValidationError as error:
        raise ConfigError(*(_mistake(tree, item) for item in error.errors())) from None
    mistakes = [*_length_mistakes(config), *_lora_mistakes(config.lora), *_sweep_mistakes(config, tree)]
    if mistakes:
        raise ConfigError(*mistakes)
    return config


def plain(config: Any) -> Tree:
    """A configuration object as a plain tree: what is written to files and hashed."""
    tree: Tree = dataclasses.asdict(config)
    return tree


def to_yaml(tree: Mapping[str, Any]) -> str:
    """A tree as YAML, its keys in the order of the schema."""
    text: str = yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True)
    return text


def lay_over(tree: Mapping[str, Any], values: Mapping[str, Any]) -> Tree:
    """A copy of `tree` in which every dotted key of `values` is set; a key that is not there is an error."""
    result = copy.deepcopy(dict(tree))
    for key, value in values.items():
        *path, last = key.split(".")
        node: Any = result
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise ConfigError(f"{key}: no such key{nearest(key, dotted_keys(tree))}")
        node[last] = value
    return result


def dotted_keys(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every key of a tree, inner nodes too, written with dots."""
    keys = []
    for key, value in tree.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            keys += dotted_keys(value, f"{prefix}{key}.")
    return keys


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where no valid name is near."""
    found = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def fingerprint(config: Config, identity: Mapping[str, str]) -> str:
    """Sixteen hex digits that two trials share only if they are the same experiment.

    What does not change the outcome stays out: names, paths, tracking, thread count. `identity` holds what
    only the machine can tell: the digests of data, weights and tokenizer, the device and the precision.
    """
    tree = plain(config)
    for key in ("run", "study", "results", "tracking", "sweep"):
        del tree[key]
    del tree["trainer"]["threads"]
    for key in ("data", "asset", "stand_in", "validation", "test"):
        tree["task"].pop(key, None)
    del tree["model"]["weights"], tree["model"]["name"], tree["task"]["name"]
    del tree["trainer"]["accelerator"], tree["trainer"]["precision"]
    if isinstance(config.lora, LoraConfig):
        tree["lora"] |= {"scale": config.lora.update_scale, "alpha": None}
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


def _length_mistakes(config: Config) -> list[str]:
    # RoBERTa counts its positions from the padding id on, which costs it two.
    longest = config.model.shape.positions - (2 if config.model.family == "roberta" else 0)
    if config.task.max_length > longest:
        return [f"task.max_length={config.task.max_length}: model={config.model.name} has {longest} positions"]
    return []


def _lora_mistakes(lora: LoraConfig | FullConfig | HeadConfig) -> list[str]:
    if not isinstance(lora, LoraConfig):
        return []
    mistakes = []
    if lora.scale is not None and lora.alpha is not None:
        mistakes.append(f"lora.scale={lora.scale} and lora.alpha={lora.alpha}: give one of them, never both")
    doubles = sorted({name for name in lora.targets if lora.targets.count(name) > 1})
    if doubles:
        mistakes.append(f"lora.targets={_show(lora.targets)}: {', '.join(doubles)} named twice")
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
            lay_over(tree, {key: None})
        except ConfigError as error:
            mistakes.append(f"sweep: {error}")
    both = sorted(set(sweep.scientific) & set(sweep.nuisance))
    return mistakes + [f"sweep: {key} is both scientific and nuisance" for key in both]


def _range_mistakes(bounds: Range) -> list[str]:
    shown = f"[{bounds.low:g}, {bounds.high:g}]"
    if not math.isfinite(bounds.low) or not bounds.low < bounds.high:
        return [f"{shown}: low must be below high"]
    if bounds.log and bounds.low <= 0:
        return [f"{shown}: a log range starts above 0"]
    return []
