"""The schema of a configuration: every key, its type and its rule. Tasks and models have files of their own."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.allocation import Allocation
from harness.config.guests import DottedPath
from harness.config.launch import LaunchConfig
from harness.config.layer_ranks import BudgetConfig, RanksConfig
from harness.config.lora import BaselineConfig, LoraConfig, PeftConfig
from harness.config.methods import Method
from harness.config.models import AnyModel
from harness.config.multitask import TaskAdapterConfig
from harness.config.probe import MaskedProbeConfig, PerplexityProbeConfig
from harness.config.scalars import (
    CLOSED,
    Count,
    Flag,
    Listed,
    Natural,
    NotNegative,
    Number,
    Positive,
    Seed,
    Share,
    Text,
    Weights,
)
from harness.config.space import Dimension, Values
from harness.config.tasks import AnyTask
from harness.config.tasks.base import TEXT_MEASURES

Usual = Literal["accuracy", "loss", "score"]
Metric = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.@/-]*$")]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OptimizerConfig:
    """An optimiser of torch.optim by its name, with arguments of its own, a warm-up and a schedule.

    `head_lr` null: the head learns at `lr`. `decay` is the share of the steps in which warmup-stable-decay comes down.
    """

    name: Text = "AdamW"
    arguments: dict[Text, Any] | None = None
    schedule: Literal["linear", "cosine", "constant", "warmup-stable-decay"] = "linear"
    decay: Annotated[float, Strict(), Field(gt=0, le=1)] = 0.2
    lr: Positive
    head_lr: Positive | None
    weight_decay: NotNegative
    warmup: Share
    clip: Positive | None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TrainerConfig:
    """The training of a trial: its length, batches and device.

    A step has `accumulate` batches of `batch_size` rows on each device, one after another: the same step as one of so
    many rows, with the memory of `batch_size`. With `batch_tokens` the rows of a step, and of a batch of evaluation,
    pass in as many parts as keep each at so many tokens, padding among them. `activation_checkpointing` computes a
    base's activations again in the backward pass, in place of keeping them.
    With `round_up` more steps than `max_steps` are made where evaluations would not be even, as before it was a bound.
    `score_train` scores training rows too, as many of the first as there are test rows: what over-fitting shows by.
    An `objective` that is a dotted path names a subclass of harness.task.GuestMeasure; any other name is a measure of
    the task. `measures` are scored beside it. `precision` fastest is settled with the base's attention where a trial or
    a study begins, by measured steps, which are then in `settled`. With `reuse_features` what a frozen base, or the
    layers below the first that is adapted, give a row is computed once, where it is always the same. With `cuda_graphs`
    a GPU is given the kernels of a step as one graph, for shapes of batches that come often; `pad_to_multiple_of` makes
    these fewer: the tokens of a training batch are padded to a multiple of it. With `pack_sequences` several examples
    stand in a row of a training batch, which are drawn at random, not by like length. `class_weights` are those of
    classes in the loss of training: by name, or balanced, as each has rows; null: all alike.
    """

    epochs: Positive
    max_steps: Count | None
    batch_size: Count
    evaluations: Count
    objective: Usual | DottedPath | Metric
    patience: Count | None
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    strategy: Literal["auto", "ddp", "fsdp"]
    precision: Literal["auto", "fastest", "32-true", "bf16-mixed", "16-mixed"]
    threads: Count | None
    score_train: Flag = False
    activation_checkpointing: Flag = False
    round_up: Flag = False
    accumulate: Count = 1
    batch_tokens: Count | None = None
    measures: list[DottedPath | Metric] = field(default_factory=list)
    settled: dict[str, Any] | None = None
    reuse_features: Flag = False
    cuda_graphs: Flag = True
    pad_to_multiple_of: Count | None = None
    pack_sequences: Flag = False
    class_weights: Literal["balanced"] | Weights | None = None

    @property
    def rows_of_step(self) -> int:
        """The training rows of one step on each device."""
        return self.batch_size * self.accumulate

    @property
    def sharded(self) -> bool:
        """True if the devices share out the weights between them (FSDP)."""
        return self.strategy == "fsdp"

    @property
    def text_measures(self) -> tuple[str, ...]:
        """The names among the objective and the measures that score written texts."""
        return tuple(name for name in dict.fromkeys((self.objective, *self.measures)) if name in TEXT_MEASURES)

    @property
    def own_measures(self) -> tuple[str, ...]:
        """The dotted paths of measures of the user's own."""
        return tuple(dict.fromkeys(name for name in (self.objective, *self.measures) if ":" in name))


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TrackingConfig:
    """The mirror of trials in a tracker; auto: W&B online where a key is found, else offline.

    `adapters` uploads adapters as artifacts, `system` has W&B watch processor, memory and GPU.
    """

    mode: Literal["auto", "online", "offline", "off"]
    project: Text
    entity: Text | None
    name: Literal["wandb", "tensorboard", "mlflow", "trackio", "csv"] = "wandb"
    adapters: Flag = False
    system: Flag = False

    @property
    def extra(self) -> str | None:
        """The extra of pyproject.toml that the tracker needs."""
        return self.name if self.name in ("tensorboard", "mlflow", "trackio") and self.mode != "off" else None

    def mistakes(self) -> list[str]:
        """Keys of W&B's that another tracker would pass over."""
        if self.name == "wandb":
            return []
        asked = {"adapters": self.adapters, "system": self.system}
        return [f"tracking.{key}=true: of tracking=wandb; tracking={self.name} has none" for key in asked if asked[key]]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ExtraArmConfig:
    """A further arm of the study: what it sets, and what is tuned for it."""

    set: dict[str, Any]
    nuisance: dict[str, Dimension]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ConfirmConfig:
    """The trials after the search with fresh seeds: the `top` arms on validation, and every baseline.

    `margin` is the difference, in units of the score, that is too small to matter. `set` are dotted keys that these
    trials have otherwise, such as a longer training. `orders`: with each seed the tasks are learned in another order.
    `reference` is the baseline that others are compared with; null: full fine-tuning, or without it the best arm.
    """

    top: Count = 3
    seeds: Annotated[int, Strict(), Field(ge=2)] = 3
    margin: Positive = 0.01
    set: dict[str, Any] = field(default_factory=dict)
    orders: Flag = False
    reference: Text | None = None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SweepConfig:
    """The search: scientific values are compared, nuisance values are tuned for each of them alike.

    In the mode `joint` all are dimensions of one space; `trials` are those of that space, and `baseline_trials` those
    of each baseline, null: as many.
    The first `startup` trials of an arm are drawn evenly; `sampler` proposes the later ones, Optuna's TPE where it is
    null, from trials that are more than `lag` before, null: none in the compared mode, 4 in the joint one. `pruner`
    ends trials early, once `prune_after` others have come as far; where it is null, those below their arm's median.
    Both have a `name` and arguments. The first trials of each arm but the baselines have the values of `enqueue`.
    `history` names studies whose trials the sampler learns from, too, and `history_keys` the keys that parameters of
    studies by other programs are; with `transfer` an arm that is compared learns
    from those of its neighbours, moved to its own level.
    `ranks` makes ranks by group of layers dimensions beside the nuisance values, under a `budget`.
    `allocate` adds an arm for each way to allocate ranks under the budget, beside the baselines and tuned as the others
    are; the value names the study that it reads, null: none. `profiles` are their ranks, found when the study is begun.
    `objectives` are figures of the records with their directions; null: the validation score alone. `constraints` are
    figures with what they may be at most.
    `across` names scientific keys that every baseline takes all values of, too. `test` scores the trials of the search
    on the test split, which is otherwise read by those that confirm alone; `confirm` null: nothing is confirmed.
    """

    scientific: dict[str, Values]
    nuisance: dict[str, Dimension]
    baselines: dict[str, ExtraArmConfig]
    trials: Count
    startup: Count
    prune_after: Count | None
    mode: Literal["compared", "joint"] = "compared"
    baseline_trials: Count | None = None
    ranks: RanksConfig | None = None
    budget: BudgetConfig | None = None
    objectives: dict[Text, Literal["maximize", "minimize"]] | None = None
    constraints: dict[Text, Number] | None = None
    sampler: Method | None = None
    pruner: Method | None = None
    lag: Natural | None = None
    enqueue: list[dict[Text, Any]] | None = None
    history: Listed | None = None
    history_keys: dict[Text, Text] | None = None
    transfer: Flag = False
    allocate: dict[Allocation, Text | None] | None = None
    profiles: dict[Allocation, list[tuple[Text, Natural]]] | None = None
    across: list[Text] | None = None
    test: Flag = False
    confirm: ConfirmConfig | None = ConfirmConfig()


Command = Literal[
    "trial",
    "study",
    "confirm",
    "repeat",
    "worker",
    "status",
    "rebuild",
    "report",
    "analyse",
    "watch",
    "wandb_workspace",
    "data",
    "show",
    "count",
    "targets",
    "export",
    "predict",
    "attribute",
    "evaluate",
    "allocate",
]
SHAPES_ALONE = ("count", "targets")
"""The commands that need neither data nor weights."""
ROWS_ALONE = ("data", "show")
"""The commands that read rows as a model reads them, and train nothing."""


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class Config:
    """One trial, or one study of trials, wholly resolved.

    `top`, `seeds`, `margin`, `orders` and `reference` are of run=confirm; null: as the study's own `sweep.confirm`
    says. `trial` is of run=repeat and of those that take a trial up again, `format` and `push` of run=export,
    `adapter` and `split` of run=evaluate, `input` and `output` of run=predict and
    run=attribute, `output` of run=export, too; `port` is of run=watch,
    `method`, `parameters` and `steps` of run=allocate.
    """

    run: Command | DottedPath
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=200)]
    results: Text
    seed: Seed
    task: AnyTask
    model: AnyModel
    lora: Annotated[LoraConfig | TaskAdapterConfig | PeftConfig | BaselineConfig, Field(discriminator="name")]
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    tracking: TrackingConfig
    launch: Annotated[LaunchConfig, Field(discriminator="name")]
    probe: Annotated[MaskedProbeConfig | PerplexityProbeConfig, Field(discriminator="name")] | None
    sweep: SweepConfig | None
    top: Count | None = None
    seeds: Annotated[int, Strict(), Field(ge=2)] | None = None
    margin: Positive | None = None
    orders: Flag | None = None
    reference: Text | None = None
    trial: Natural | Literal["best"] | None = None
    input: Text | None = None
    output: Text | None = None
    format: Literal["adapter", "merged"] | None = None
    push: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    adapter: Text | None = None
    split: Literal["validation", "test", "all"] | None = None
    port: Annotated[int, Strict(), Field(ge=1, le=65535)] | None = None
    method: Allocation | None = None
    parameters: Count | None = None
    steps: Count | None = None
    arguments: dict[str, Any] | None = None
