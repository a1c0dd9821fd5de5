"""The configuration of adapters for several tasks on one base."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.config.adaptation import Adaptation, only_for_mixtures, repeated_targets
from harness.config.scalars import CLOSED, Count, Natural, Positive, Share, Text

Targets = Annotated[list[Text], Field(min_length=1)]


class TaskAdaptation(Adaptation):
    """An adapter for each task of a mixture."""

    targets: list[str]

    def mistakes(self, task: str, is_mixture: bool) -> list[str]:
        return [*only_for_mixtures(f"lora={self.name}", task, is_mixture), *repeated_targets(self.targets)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class MtloraConfig(TaskAdaptation):
    """MTLoRA: a shared update on every target, and one for each task in the last blocks. Both scales are s itself.

    `task_ranks` are ordered [pattern, rank] pairs over task names; the first match decides, else `task_rank`.
    """

    name: Literal["mtlora"]
    rank: Count
    task_rank: Natural
    task_ranks: list[tuple[Text, Natural]] | None
    scale: Positive
    task_scale: Positive
    targets: Targets
    dropout: Share
    blocks: Count
    mode: Literal["task", "both"]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class MtlLoraConfig(TaskAdaptation):
    """MTL-LoRA: A and `ups` B in common, a matrix for each task between them, and each task's shares of the B."""

    name: Literal["mtl_lora"]
    rank: Count
    scale: Positive
    targets: Targets
    dropout: Share
    ups: Count
    temperature: Positive


TaskAdapterConfig = MtloraConfig | MtlLoraConfig
