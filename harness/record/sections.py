"""The sections of a trial's record. A field that is added here is in the record, in the tables and in trackers.

A field marked as a `TableColumn` has a unit and a direction. Fields that a trial did not reach are empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from harness.record.fields import Bytes, ColumnPrefix, Seconds, Section, TableColumn, fields_of, split

VERSION = 1
"""The version of the record's layout: raised where a field changes its place or meaning, not for a new field."""

State = Literal["complete", "pruned", "fail"]
Phase = Literal["search", "confirm"]
Matrix = list[list[float]]


@dataclass(frozen=True, kw_only=True)
class Lora(Section):
    """The adaptation of the base, patterns resolved; `scale` and `alpha` if all layers share them.

    `settings` are the further settings of the method, as the configuration has them.
    """

    name: Annotated[str, TableColumn(column="lora")] = ""
    variant: str | None = None
    rank: Annotated[int | None, TableColumn(column="rank")] = None
    alpha: Annotated[float | None, TableColumn(column="alpha")] = None
    scale: Annotated[float | None, TableColumn(column="scale")] = None
    targets: Annotated[list[str], TableColumn(column="targets")] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def is_low_rank(self) -> bool:
        """True if the base was adapted by LoRA or a variant of it."""
        return self.name == "lora"

    @property
    def trains_whole_base(self) -> bool:
        """True if the trial was full fine-tuning."""
        return self.name == "full"

    @property
    def trains_head_alone(self) -> bool:
        """True if only the head was trained."""
        return self.name == "head"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Lora":
        """From a method's settings by name; what has no field of its own goes into `settings`."""
        own, settings = split(given, (entry.name for entry in fields_of(cls)))
        return cls(**own, settings=settings)


@dataclass(frozen=True, kw_only=True)
class Optimizer(Section):
    """The optimiser's settings; `batch_size` counts the examples of one step on all devices."""

    lr: Annotated[float, TableColumn(column="lr")] = 0.0
    head_lr: Annotated[float | None, TableColumn(column="head_lr")] = None
    weight_decay: float | None = None
    warmup: float | None = None
    clip: float | None = None
    batch_size: int = 0
    name: str = "AdamW"
    arguments: dict[str, Any] | None = None
    schedule: str = "linear"
    decay: float | None = None


@dataclass(frozen=True, kw_only=True)
class Parameters(Section):
    """Parameter counts by tensor identity: a tensor that is used twice counts once.

    `other` is trained and belongs to neither adapter nor head. `groups` are the adapter's parameters that serve all
    tasks (`shared`) and those of each task; empty where no task has its own.
    """

    trainable: Annotated[int, TableColumn("parameters", "lower is better", column="trainable")] = field(init=False)
    adapter: Annotated[int, TableColumn("parameters", "lower is better")] = 0
    head: Annotated[int, TableColumn("parameters")] = 0
    other: Annotated[int, TableColumn("parameters")] = 0
    frozen: Annotated[int, TableColumn("parameters")] = 0
    total: Annotated[int, TableColumn("parameters")] = 0
    groups: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trainable", self.adapter + self.head + self.other)
        assert self.trainable + self.frozen == self.total, "the groups of parameters do not add up to the total"
        assert not self.groups or sum(self.groups.values()) == self.adapter, "the tasks' groups miss the adapter's sum"


@dataclass(frozen=True, kw_only=True)
class Memory(Section):
    """The peak of memory in training and its components, which add up to it; `activations` is what remains of it.

    `process` is what was held before the network was built; `kind` says what was measured. `step` is the most that
    the tensors of a step hold at once beside the weights, counted on the first training rows.
    """

    process: Bytes = 0
    parameters: Bytes = 0
    gradients: Bytes = 0
    optimizer: Bytes = 0
    activations: Bytes = 0
    train_peak: Bytes = 0
    eval_peak: Bytes = 0
    kind: Annotated[str, TableColumn()] = ""
    reserved: Annotated[int | None, TableColumn("bytes", "lower is better")] = None
    step: Annotated[int | None, TableColumn("bytes", "lower is better")] = None

    def __post_init__(self) -> None:
        known = self.process + self.parameters + self.gradients + self.optimizer + self.activations
        assert known == self.train_peak, "the components of memory do not add up to the peak"

    @property
    def above_process(self) -> int:
        """The peak in training above what the process held before, in bytes."""
        return self.train_peak - self.process

    @property
    def needed(self) -> int:
        """The memory by which trials are compared, in bytes: a step's count if there is one, else the measured peak."""
        return self.above_process if self.step is None else self.parameters + self.optimizer + self.step


@dataclass(frozen=True, kw_only=True)
class OutOfMemory(Section):
    """The facts known when memory ran out: bytes requested and reached, and the limit `of` what."""

    asked: Annotated[int | None, TableColumn("bytes")] = None
    reached: Annotated[int | None, TableColumn("bytes")] = None
    limit: Annotated[int | None, TableColumn("bytes")] = None
    of: Annotated[str | None, TableColumn()] = None


@dataclass(frozen=True, kw_only=True)
class Time(Section):
    """Seconds; the first steps warm up and are in neither the medians nor the rate.

    `step_cpu_s` is of the processor, over all threads; `load` is the machine's highest load average in training, of
    all its processes over a minute.
    """

    step_median_s: Annotated[float | None, TableColumn("s", "lower is better")] = None
    examples_per_s: Annotated[float | None, TableColumn("1/s", "higher is better")] = None
    train_s: Annotated[float | None, TableColumn("s", "lower is better")] = None
    total_s: Seconds = 0.0
    step_cpu_s: Annotated[float | None, TableColumn("s", "lower is better")] = None
    load: Annotated[float | None, TableColumn("processes")] = None


@dataclass(frozen=True, kw_only=True)
class Flops(Section):
    """Floating-point operations of a forward pass and of a whole step on so many `examples`."""

    forward: Annotated[int, TableColumn("FLOP", "lower is better")] = 0
    step: Annotated[int, TableColumn("FLOP", "lower is better")] = 0
    examples: Annotated[int, TableColumn("rows")] = 0


@dataclass(frozen=True, kw_only=True)
class Merge(Section):
    """The merged network against the adapter beside its layer, on a batch of so many rows: logits and latency.

    Empty of trials of a search that are not scored on test, unless an objective or a constraint is about it.
    """

    max_logit_difference: Annotated[float | None, TableColumn("", "lower is better")] = None
    max_logit: Annotated[float | None, TableColumn()] = None
    latency_merged_s: Annotated[float | None, TableColumn("s", "lower is better")] = None
    latency_apart_s: Annotated[float | None, TableColumn("s", "lower is better")] = None
    batch: Annotated[float | None, TableColumn("rows")] = None
    latency_base_s: Annotated[float | None, TableColumn("s", "lower is better")] = None


@dataclass(frozen=True, kw_only=True)
class Continual(Section):
    """Tasks learned one after another: R[i][j] on validation and test is the score on task j after i tasks."""

    tasks: list[str] = field(default_factory=list)
    learn: str = ""
    heads: str = ""
    val: Matrix = field(default_factory=list)
    test: Matrix = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ContinualSummary(Section):
    """Figures of the test matrix; the overlap of the tasks' updates; the parameters that all tasks need in the end."""

    acc: Annotated[float, TableColumn("score", "higher is better")] = 0.0
    bwt: Annotated[float, TableColumn("score", "higher is better")] = 0.0
    fwt: Annotated[float, TableColumn("score", "higher is better")] = 0.0
    forgetting: Annotated[float, TableColumn("score", "lower is better")] = 0.0
    new: Annotated[float, TableColumn("score", "higher is better")] = 0.0
    overlap: Annotated[float, TableColumn("", "lower is better")] = 0.0
    kept: Annotated[int, TableColumn("parameters", "lower is better")] = 0


@dataclass(frozen=True, kw_only=True)
class TaskGradients(Section):
    """The relation between the gradients of several tasks on their shared parameters, at each evaluation.

    Each of the `steps` has `cosines` [i][j] of the gradients of tasks i and j, their `norms` and `losses`, on the first
    `rows` training rows of each task, in evaluation mode. Above 0, a small step for one lowers the other's loss.
    """

    tasks: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    cosines: list[Matrix] = field(default_factory=list)
    norms: Matrix = field(default_factory=list)
    losses: Matrix = field(default_factory=list)
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class Probe(Section):
    """The base's loss on general text before and after training, of hidden tokens or of the next one, and the change.

    `low` and `high` are the change's 95 % interval over passages.
    """

    before: Annotated[float | None, TableColumn("nats", "lower is better")] = None
    after: Annotated[float | None, TableColumn("nats", "lower is better")] = None
    low: float | None = None
    high: float | None = None
    change: Annotated[float | None, TableColumn("nats", "lower is better")] = field(init=False)

    def __post_init__(self) -> None:
        both = self.before is not None and self.after is not None
        object.__setattr__(self, "change", self.after - self.before if both else None)  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Adapter(Section):
    """The adapter by layer, and its files: folder relative to the study's, bytes, digests.

    `kept_ranks` are [layer, rank] pairs as lora.ranks takes them, where training masked some. `task_similarity` [i][j]
    is the share of directions that the updates of tasks i and j have in common, the mean over layers.
    """

    effective_rank_mean: Annotated[float | None, TableColumn(column="effective_rank_mean")] = field(init=False)
    ranks: dict[str, int] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    effective_ranks: dict[str, float] = field(default_factory=dict)
    kept_ranks: list[list[Any]] = field(default_factory=list)
    task_similarity: Matrix = field(default_factory=list)
    path: str = ""
    bytes: Annotated[int | None, TableColumn("bytes", "lower is better")] = None
    sha256: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = self.effective_ranks.values()
        object.__setattr__(self, "effective_rank_mean", sum(found) / len(found) if found else None)


@dataclass(frozen=True, kw_only=True)
class Steps(Section):
    """Optimiser steps: planned, made, the one whose weights were kept, and the one that the trial went on from."""

    planned: Annotated[int, TableColumn("steps")] = 0
    made: Annotated[int, TableColumn("steps")] = 0
    best: Annotated[int, TableColumn("steps")] = 0
    resumed: Annotated[int | None, TableColumn("steps")] = None


@dataclass(frozen=True, kw_only=True)
class Seeds(Section):
    """The seeds of all randomness."""

    trial: Annotated[int, TableColumn(column="seed")] = 0
    split: int = 0

    def __bool__(self) -> bool:
        return True  # 0 is a seed


@dataclass(frozen=True, kw_only=True)
class Data(Section):
    """The data: rows by split, what splits share, and, of several tasks, the data of each.

    `sd` is that of numeric answers; `cut` counts the texts and recordings that were shortened; `details` are those of
    its kind.
    """

    name: str = ""
    source: str = ""
    sha256: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    sd: float | None = None
    shared: dict[str, Any] = field(default_factory=dict)
    speakers: dict[str, list[str]] = field(default_factory=dict)
    cut: dict[str, Any] = field(default_factory=dict)
    tasks: "dict[str, Data]" = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Data":
        """Build the section from a task's description of its data; keys without a field go into `details`."""
        own, details = split(described, (entry.name for entry in fields_of(cls)))
        tasks = {name: cls.of(part) for name, part in own.pop("tasks", {}).items()}
        return cls(**own, tasks=tasks, details=details)


@dataclass(frozen=True, kw_only=True)
class Base(Section):
    """The pretrained network: name, address and digest of its weights; both `fresh` where they are drawn.

    `quantization` is how its linear layers were held, None as floats, but for those that `quantization_skip` names.
    """

    name: str = ""
    address: str = ""
    sha256: str = ""
    quantization: Annotated[str | None, TableColumn(column="quantization")] = None
    quantization_skip: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Provenance(Section):
    """The provenance of a result: versions, revision, machine.

    `inputs` are the digests of data and weights, with device and precision, that go into the fingerprint;
    `environment` holds the other influences on the result when the trial ended: code, libraries, processor, threads;
    it is empty in older records. `arithmetic` has the precision and the attention of a step, and `why` if
    trainer.precision=fastest measured it.
    """

    versions: dict[str, str] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    arithmetic: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record(Section):
    """The record of a trial: configuration, costs and scores. Sizes in bytes, times in seconds, accuracies in 0…1.

    `phase` is confirm for a finalist of the search that was trained again with a fresh seed. `scores` are by split and
    metric; a split like test@4 is that of a nested adapter cut to rank 4. `dead` names the trained tensors that never
    got a gradient; `notes` say what of the training is easily overlooked. `pack_size` is the most trials that its
    worker trained at once while it had this one; above 1, `memory` and `time` are of all of them. `attempt` counts how
    often the trial was begun. `reports` holds [step, objective] of each evaluation on validation, empty where another
    trial's result was looked up. The order of the fields is that of the columns of a table.
    """

    schema_version: int = VERSION
    study: str
    trial: Annotated[int, TableColumn()]
    arm: Annotated[str, TableColumn()]
    attempt: int = 1
    phase: Annotated[Phase, TableColumn()] = "search"
    point: dict[str, Any] = field(default_factory=dict)
    objective: str
    state: Annotated[State, TableColumn()]
    lora: Annotated[Lora, ColumnPrefix("", settings=True)] = Lora()
    optimizer: Annotated[Optimizer, ColumnPrefix("", settings=True)] = Optimizer()
    parameters: Annotated[Parameters, ColumnPrefix("params", tracked="params")] = Parameters()
    scores: Annotated[dict[str, dict[str, float]], ColumnPrefix("")] = field(default_factory=dict)
    memory: Annotated[Memory, ColumnPrefix("memory")] = Memory()
    out_of_memory: Annotated[OutOfMemory, ColumnPrefix("memory")] = OutOfMemory()
    time: Annotated[Time, ColumnPrefix("")] = Time()
    flops: Annotated[Flops, ColumnPrefix("flops")] = Flops()
    merge: Annotated[Merge, ColumnPrefix("merge")] = Merge()
    continual: Continual = Continual()
    continual_summary: Annotated[ContinualSummary, ColumnPrefix("continual", tracked="continual")] = ContinualSummary()
    probe: Annotated[Probe, ColumnPrefix("probe")] = Probe()
    task_gradients: TaskGradients = TaskGradients()
    adapter: Annotated[Adapter, ColumnPrefix("adapter")] = Adapter()
    dead: Annotated[list[str], TableColumn()] = field(default_factory=list)
    notes: Annotated[list[str], TableColumn()] = field(default_factory=list)
    steps: Annotated[Steps, ColumnPrefix("steps")] = Steps()
    pack_size: Annotated[int, TableColumn("trials")] = 1
    fingerprint: Annotated[str, TableColumn()] = ""
    task: Annotated[str, TableColumn()]
    model: Annotated[str, TableColumn()]
    reason: Annotated[str, TableColumn()] = ""
    seeds: Annotated[Seeds, ColumnPrefix("")] = Seeds()
    data: Data = Data()
    base: Annotated[Base, ColumnPrefix("")] = Base()
    provenance: Provenance = Provenance()
    command: str = ""
    reports: Matrix = field(default_factory=list)

    def __bool__(self) -> bool:
        return True

    @property
    def rate(self) -> float:
        """The learning rate that the trial is shown by: the head's where nothing else was trained."""
        return (self.lora.trains_head_alone and self.optimizer.head_lr) or self.optimizer.lr

    def score(self, split: str, metric: str) -> float:
        """A score that the trial has. Raises KeyError otherwise."""
        return self.scores[split][metric]
