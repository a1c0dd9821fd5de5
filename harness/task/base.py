"""What every task has in common, and what a split looks like to a model."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset


class Task(Protocol):
    """Real data in three fixed splits, train, validation and test, that share no item."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def outputs(self) -> int | dict[str, int]:
        """How many classes there are, 1 for a number, 0 where the answer is text; by task, where there are several."""

    @property
    def sha256(self) -> str:
        """The digest of all it holds, labels and splits included."""

    def describe(self) -> dict[str, object]:
        """Name, source, digest, rows by split, labels by class: what a record keeps of the data."""


def described(
    name: str, source: str, sha256: str, classes: Sequence[str], labels: Mapping[str, Sequence[int] | np.ndarray]
) -> dict[str, object]:
    """What a record keeps of labelled data; `labels` are those of each split."""
    counts = {split: np.bincount(numbers, minlength=len(classes)) for split, numbers in labels.items()}
    return {
        "name": name,
        "source": source,
        "sha256": sha256,
        "rows": {split: len(numbers) for split, numbers in labels.items()},
        "labels": {split: count.tolist() for split, count in counts.items()},
        "classes": list(classes),
    }


class Inputs(Dataset[int]):
    """A split as a model reads it. Its items are row numbers: rows become tensors a batch at a time."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """What each row costs, in tokens or frames; ones where all rows cost alike."""

    @abstractmethod
    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The inputs of a batch under the names its model knows, `labels` (B, …), and `rows` (B), their numbers."""

    def sample(self, count: int) -> range:
        """Some rows that go into one batch, at most `count`."""
        return range(min(count, len(self)))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> int:
        return index
