"""The configuration of adapters for several tasks on one base."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from harness.config.adaptation import Adaptation, only_for_mixtures, repeated_targets
from harness.config.scalars import CLOSED, Count, Natural, Positive, Share, Text


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Targets = Annotated[Annotated[list[Text], Field(min_length=1)], BeforeValidator(_listed)]
"""Names of layers; one alone need not stand in brackets."""


def _in_pairs(task_ranks: list[tuple[str, int]] | dict[str, int] | None) -> list[tuple[str, int]] | None:
    """Ranks by pattern; by task they are in the order of the names, which no match depends on."""
    if not isinstance(task_ranks, dict):
        return task_ranks
    return [(re.escape(task), rank) for task, rank in sorted(task_ranks.items())]


class TaskAdaptation(Adaptation):
    """An adapter for each of several tasks."""

    targets: list[str]

    @property
    def takes_rows_of_all_tasks(self) -> bool:
        return False

    def mistakes(self, task: str, is_mixture: bool) -> list[str]:
        return [*only_for_mixtures(f"lora={self.name}", task, is_mixture), *repeated_targets(self.targets)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TaskForkConfig(TaskAdaptation):
    """A shared update on every target, and one for each task in the last blocks. Both scales are s itself.

    `task_ranks` are ordered [pattern, rank] pairs over task names, the first match decides, or ranks by task; of others
    `task_rank`.
    """

    name: Literal["task_fork"]
    rank: Count
    task_rank: Natural
    task_ranks: list[tuple[Text, Natural]] | dict[Text, Natural] | None
    scale: Positive
    task_scale: Positive
    targets: Targets
    dropout: Share
    blocks: Count
    mode: Literal["task", "both"]

    def identity(self) -> dict[str, Any]:
        former = {"name": "mtlora"}  # as it was called before MTLoRA was as published
        return super().identity() | former | {"task_ranks": self.rank_pairs}

    @property
    def rank_pairs(self) -> list[tuple[str, int]] | None:
        """The ranks of tasks as pairs of a pattern and a rank."""
        return _in_pairs(self.task_ranks)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class MtloraConfig(TaskAdaptation):
    """MTLoRA: a shared update on every target, and one for each task in the last block of every stage.

    Both scales are s itself. `task_ranks` are ordered [pattern, rank] pairs over task names, the first match decides,
    or ranks by task; of others `task_rank`. `train` names what of the base is trained beside the updates; null: all of
    it that it has.
    """

    stands_alone: ClassVar[bool] = True

    name: Literal["mtlora"]
    rank: Count
    task_rank: Count
    task_ranks: list[tuple[Text, Count]] | dict[Text, Count] | None
    scale: Positive
    task_scale: Positive
    targets: Targets
    dropout: Share
    mode: Literal["task", "both"]
    train: list[Literal["norms", "patch_embed", "position_bias", "merging"]] | None

    @property
    def takes_rows_of_all_tasks(self) -> bool:
        return True

    @property
    def rank_pairs(self) -> list[tuple[str, int]] | None:
        """The ranks of tasks as pairs of a pattern and a rank."""
        return _in_pairs(self.task_ranks)

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"task_ranks": self.rank_pairs}


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class MtlLoraConfig(TaskAdaptation):
    """MTL-LoRA: A and `ups` B in common, a matrix for each task between them, and each task's shares of the B.

    `task_matrix` diagonal: of each task's matrix the diagonal alone is there.
    """

    name: Literal["mtl_lora"]
    rank: Count
    scale: Positive
    targets: Targets
    dropout: Share
    ups: Count
    temperature: Positive
    task_matrix: Literal["full", "diagonal"] = "full"

    def identity(self) -> dict[str, Any]:
        tree = super().identity()
        if self.task_matrix == "full":  # trials from before there was this key are the same trials
            del tree["task_matrix"]
        return tree


TaskAdapterConfig = TaskForkConfig | MtloraConfig | MtlLoraConfig
