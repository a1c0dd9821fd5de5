"""The schema of a configuration: every key, its type and its rule. Tasks and models have files of their own."""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.launch import LaunchConfig
from harness.config.models import ModelConfig
from harness.config.multitask import Targets, TaskAdapterConfig
from harness.config.probe import ProbeConfig
from harness.config.scalars import CLOSED, Count, Flag, Natural, NotNegative, Number, Positive, Share, Text
from harness.config.tasks import TaskConfig

DEFAULT_SCALE = 2.0


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adaptation: y = Wx + b + s·BA·drop(x), s given as `scale`, or as `alpha` with s = alpha/rank.

    `ranks`, `scales` and `alphas` are ordered [pattern, value] pairs over layer names; the first match decides. With
    `match` the rank is the one that comes nearest to that way's number of parameters, and `rank` is not read.
    """

    name: Literal["lora"]
    variant: Text
    rank: Count
    scale: Positive | None
    alpha: Positive | None
    targets: Targets
    dropout: Share
    ranks: list[tuple[Text, Natural]] | None
    scales: list[tuple[Text, Positive]] | None
    alphas: list[tuple[Text, Positive]] | None
    conv_form: Literal["branch", "delta"]
    each_gate: Flag
    lr_ratio: Positive | None
    redistribute: Annotated[float, Strict(), Field(ge=1)]
    initial_rank: Count | None
    match: Annotated[TaskAdapterConfig, Field(discriminator="name")] | None
    calibration: Count

    @property
    def update_scale(self) -> float | None:
        """The scale s where it is given or the default of 2; None where alpha decides."""
        return self.scale or (None if self.alpha else DEFAULT_SCALE)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class PeftConfig:
    """Any method of PEFT by its type (VERA, LOHA, IA3, …) with that method's own arguments."""

    name: Literal["peft"]
    method: Text
    arguments: dict[str, Any] | None
    targets: Targets


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class BaselineConfig:
    """A part of the base is trained as it is: all of it, its biases (BitFit), its norms, or nothing but the head."""

    name: Literal["full", "bitfit", "norms", "head"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with warm-up and linear decay; `head_lr` null: the head learns at `lr`."""

    lr: Positive
    head_lr: Positive | None
    weight_decay: NotNegative
    warmup: Share
    clip: Positive | None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TrainerConfig:
    """How long, in what batches, and on what a trial runs.

    `score_train` scores training rows too, as many of the first as there are test rows: what over-fitting shows by.
    """

    epochs: Positive
    max_steps: Count | None
    batch_size: Count
    evaluations: Count
    objective: Literal["accuracy", "loss", "score"]
    patience: Count | None
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    strategy: Literal["auto", "ddp", "fsdp"]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    threads: Count | None
    score_train: Flag = False


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TrackingConfig:
    """The W&B mirror; auto: online where a key is found, else offline."""

    mode: Literal["auto", "online", "offline", "off"]
    project: Text
    entity: Text | None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class Range:
    """A nuisance dimension: an interval, uniform or log-uniform."""

    low: Number
    high: Number
    log: Flag = False


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ExtraArmConfig:
    """A further arm of the study: what it sets, and what is tuned for it."""

    set: dict[str, Any]
    nuisance: dict[str, Range]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SweepConfig:
    """What is searched: scientific values are compared, nuisance values are tuned for each of them alike.

    `across` names scientific keys that every baseline takes all values of, too.
    """

    scientific: dict[str, Annotated[list[Any], Field(min_length=1)]]
    nuisance: dict[str, Range]
    baselines: dict[str, ExtraArmConfig]
    trials: Count
    startup: Count
    prune_after: Count | None
    across: list[Text] | None = None


ClaimPart = Literal["rank", "cnn", "lstm", "translation", "little", "lr", "continual"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ClaimsConfig:
    """What claims are judged by: studies by their part in it, each as the words of the command that runs it.

    `run` false: a study that is not finished is left as it is, and what it would show can't be tested.
    """

    run: Flag
    studies: dict[ClaimPart, Annotated[list[Text], Field(min_length=1)]]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class Config:
    """One trial, or one study of trials, wholly resolved."""

    run: Literal["trial", "study", "worker", "status", "rebuild", "report", "count", "claims"]
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    results: Text
    seed: Natural
    task: Annotated[TaskConfig, Field(discriminator="reader")]
    model: Annotated[ModelConfig, Field(discriminator="kind")]
    lora: Annotated[LoraConfig | TaskAdapterConfig | PeftConfig | BaselineConfig, Field(discriminator="name")]
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    tracking: TrackingConfig
    launch: Annotated[LaunchConfig, Field(discriminator="name")]
    probe: ProbeConfig | None
    sweep: SweepConfig | None
    claims: ClaimsConfig | None = None
