"""Tasks that are learned one after another."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.config import ConfigError, ContinualTaskConfig, Tokens
from harness.task.base import Inputs, Losses, Task
from harness.task.replay import losses_of_rows
from harness.task.several import SeveralTasks, read_parts
from harness.task.wrapped_inputs import WrappedInputs

if TYPE_CHECKING:
    from harness.task.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class ContinualTask(SeveralTasks):
    """Tasks by name in the order they are learned, with one head for all of them or one for each.

    `learn` is as the configuration has it.
    Raises ConfigError where they share a head and their classes are not the same.
    """

    name: str
    parts: dict[str, Task]
    shared: bool
    learn: str

    def __post_init__(self) -> None:
        if self.shared and (len({part.classes for part in self.parts.values()}) > 1 or not self.classes):
            raise ConfigError("task.heads=shared: the tasks have not the same classes; task.heads=separate")

    @property
    def losses(self) -> Losses | None:
        """The losses of rows of several tasks with a head each; None where the mean over the rows is enough."""
        apart = self.learn == "replay" and not self.shared
        return losses_of_rows(list(self.head_outputs().values())) if apart else None

    @property
    def continual(self) -> "ContinualTask":
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the first task."""
        return next(iter(self.parts.values())).classes

    @property
    def outputs(self) -> int | dict[str, int]:
        """The outputs of the one head, or of each task's head."""
        outputs = self.head_outputs()
        return next(iter(outputs.values())) if self.shared else outputs

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        """The inputs of the first task; `inputs_by_task` gives those of every task."""
        return next(iter(self.inputs_by_task(split, tokens).values()))

    def inputs_by_task(self, split: str, tokens: Tokens | None) -> dict[str, Inputs]:
        """Batches say by `tasks` which task they are of."""
        return {
            name: OneOfTasks(part.inputs(split, tokens), number)
            for number, (name, part) in enumerate(self.parts.items())
        }

    def metrics(self) -> "Metrics":
        """The metrics of the first task."""
        return next(iter(self.parts.values())).metrics()

    def constant_scores(self, split: str, metrics: "Callable[[], Metrics]") -> dict[str, dict[str, float]]:
        """The mean over tasks of what always answering the same to each of them scores."""
        found = [next(iter(part.constant_scores(split, part.metrics).values()), {}) for part in self.parts.values()]
        shared = [name for name in found[0] if all(name in scores for scores in found)]
        means = {name: math.fsum(scores[name] for scores in found) / len(found) for name in shared}
        return {"always answering the same to a task": means} if means else {}


def read_continual(config: ContinualTaskConfig) -> ContinualTask:
    """Read every task, in the order they are learned. Raises ConfigError where one is scored on what another learns."""
    parts = read_parts(config.chosen)
    return ContinualTask(config.name, parts, config.heads == "shared", config.learn)


class OneOfTasks(WrappedInputs):
    """A split of one task whose batches say which of the tasks it is."""

    def __init__(self, own: Inputs, task: int) -> None:
        super().__init__(own)
        self.task = task

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The part's batch, with `tasks` (B), the number of the task."""
        return self.own.batch(rows) | {"tasks": torch.full((len(rows),), self.task)}

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self.own.training_batch(rows) | {"tasks": torch.full((len(rows),), self.task)}
