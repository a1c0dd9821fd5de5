"""The specifications of adapters for several tasks on one base, apart from any network."""

import dataclasses
import functools
import re
from typing import ClassVar, Literal

from harness.lora.errors import SpecError
from harness.lora.spec import LoraSpec

PARTS = ("norms", "patch_embed", "position_bias", "merging")
"""What MTLoRA can train of the base beside its updates."""


@dataclasses.dataclass(frozen=True)
class ForkSpec:
    """A shared update on every target, and updates of each task where the tasks fork. Both scales are s itself.

    `task_ranks` are ordered pairs of a pattern of task names and a rank, the first match decides, else `task_rank`. In
    mode `task` what a task computes is without the shared term, in mode `both` it has it too.
    """

    least_task_rank: ClassVar[int] = 0
    stands_alone: ClassVar[bool] = False
    """Whether its tasks share a stream, so that no other adapter can lie beside it."""

    rank: int
    task_rank: int
    scale: float
    task_scale: float
    targets: tuple[str, ...]
    task_ranks: tuple[tuple[str, int], ...] = ()
    dropout: float = 0.0
    mode: Literal["task", "both"] = "task"

    def __post_init__(self) -> None:
        _ = self.shared
        if self.task_rank < self.least_task_rank:
            raise SpecError(f"task_rank {self.task_rank}: must be at least {self.least_task_rank}")
        if not self.task_scale > 0:
            raise SpecError(f"task_scale {self.task_scale}: must be above 0")
        if self.mode not in ("task", "both"):
            raise SpecError(f"mode {self.mode}: task or both")
        for pattern, rank in self.task_ranks:
            try:
                re.compile(pattern)
            except re.error as error:
                raise SpecError(f"task_ranks {pattern}: {error}") from None
            if rank < self.least_task_rank:
                raise SpecError(f"task_ranks {pattern}: rank {rank} must be at least {self.least_task_rank}")

    @functools.cached_property
    def shared(self) -> LoraSpec:
        """The specification of what serves all tasks; it refuses what is no rank or scale."""
        return LoraSpec(self.rank, self.scale, self.targets, self.dropout)

    def rank_of(self, task: str) -> int:
        """The rank of a task's own updates; 0: it has none."""
        found = (rank for pattern, rank in self.task_ranks if re.fullmatch(pattern, task))
        return next(found, self.task_rank)


@dataclasses.dataclass(frozen=True)
class TaskForkSpec(ForkSpec):
    """Tasks fork in the last `blocks` blocks, and a row's stream is its task's from there on.

    A task with rank 0 stays with the shared update. W is applied to the task's stream, and task streams pass through
    later attention: this is not MTLoRA as published.
    """

    blocks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks < 1:
            raise SpecError(f"blocks {self.blocks}: must be at least 1")


@dataclasses.dataclass(frozen=True)
class MtloraSpec(ForkSpec):
    """MTLoRA (Agiza et al., CVPR 2024): tasks fork in the last block of every stage, beside a shared stream.

    Modes are the published `matrix` (task) and `matrixv2` (both). `train` names the PARTS of the base that are trained
    as well; None: all that the network has, but for a patch merging with an update of its own.
    """

    least_task_rank: ClassVar[int] = 1
    stands_alone: ClassVar[bool] = True

    train: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.train or () if name not in PARTS]:
            raise SpecError(f"train {unknown[0]}: valid: {', '.join(PARTS)}")


@dataclasses.dataclass(frozen=True)
class MtlLoraSpec:
    """MTL-LoRA (Yang et al., AAAI 2025): A and `ups` B in common; of each task a matrix Λ between, and shares of the B.

    `scale` is s itself. The shares are a softmax at `temperature`. The defaults of both are the paper's. Λ is a whole
    matrix, or with `task_matrix` diagonal, R numbers (the published code has both).
    """

    stands_alone: ClassVar[bool] = False

    rank: int
    scale: float
    targets: tuple[str, ...]
    ups: int = 3
    temperature: float = 0.1
    dropout: float = 0.0
    task_matrix: Literal["full", "diagonal"] = "full"

    def __post_init__(self) -> None:
        _ = self.shared
        if self.ups < 1:
            raise SpecError(f"ups {self.ups}: must be at least 1")
        if not self.temperature > 0:
            raise SpecError(f"temperature {self.temperature}: must be above 0")
        if self.task_matrix not in ("full", "diagonal"):
            raise SpecError(f"task_matrix {self.task_matrix}: full or diagonal")

    @functools.cached_property
    def shared(self) -> LoraSpec:
        """The specification of what serves all tasks; it refuses what is no rank or scale."""
        return LoraSpec(self.rank, self.scale, self.targets, self.dropout)


TaskSpec = TaskForkSpec | MtloraSpec | MtlLoraSpec
