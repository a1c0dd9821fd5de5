"""What every task has in common, and what a split looks like to a model."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor


class Task(Protocol):
    """Real data in three fixed splits, train, validation and test, that share no item."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def outputs(self) -> int:
        """How many classes there are; 0 where the answer is text."""

    @property
    def sha256(self) -> str:
        """The digest of all it holds, labels and splits included."""

    def describe(self) -> dict[str, object]:
        """Name, source, digest, rows by split, labels by class: what a record keeps of the data."""


class Inputs(Protocol):
    """A split as a model reads it."""

    @property
    def lengths(self) -> np.ndarray:
        """What each row costs, in tokens or frames; ones where all rows cost alike."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> int:
        """The row number itself: rows become tensors a batch at a time."""

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The inputs of a batch under the names its model knows, `labels` (B, …), and `rows` (B), their numbers."""
