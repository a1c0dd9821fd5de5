"""Tasks that are learned one after another."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harness.config import ConfigError
from harness.task.base import Inputs, Task
from harness.task.mixture import MixtureTask


@dataclasses.dataclass(frozen=True)
class ContinualTask:
    """Tasks by name in the order they are learned, with one head for all of them or one for each.

    Raises ConfigError where they share a head and their classes are not the same.
    """

    mixture: MixtureTask
    shared: bool

    def __post_init__(self) -> None:
        classes = {getattr(part, "classes", ()) for part in self.parts.values()}
        if self.shared and (len(classes) > 1 or not next(iter(classes))):
            raise ConfigError("task.heads=shared: the tasks have not the same classes; task.heads=separate")

    @property
    def name(self) -> str:
        """As in the configuration."""
        return self.mixture.name

    @property
    def parts(self) -> dict[str, Task]:
        """The tasks."""
        return self.mixture.parts

    @property
    def outputs(self) -> int | dict[str, int]:
        """Of the one head, or of each task's."""
        outputs = self.mixture.outputs
        return next(iter(outputs.values())) if self.shared else outputs

    @property
    def sha256(self) -> str:
        """As a mixture's: the digest of the parts' digests, in their order."""
        return self.mixture.sha256

    def describe(self) -> dict[str, object]:
        """As a mixture."""
        return self.mixture.describe()


@dataclasses.dataclass(frozen=True)
class OneOfTasks(Inputs):
    """A split of one task whose batches say which of the tasks it is."""

    part: Inputs
    task: int

    @property
    def lengths(self) -> np.ndarray:
        """As the part says."""
        return self.part.lengths

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """As the part's, with `tasks` (B), the number of the task."""
        return self.part.batch(rows) | {"tasks": torch.full((len(rows),), self.task)}
