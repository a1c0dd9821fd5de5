"""A split that is read as another one is, but for what is added to its batches.

Shapes: B rows of a batch, L tokens of the longest row.
"""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Sampler

from harness.task.base import Inputs, Piece
from harness.task.ignored import IGNORED


class WrappedInputs(Inputs):
    """The split `own`, as it is."""

    def __init__(self, own: Inputs) -> None:
        self.own = own

    @property
    def lengths(self) -> np.ndarray:
        return self.own.lengths

    @property
    def training_lengths(self) -> np.ndarray:
        return self.own.training_lengths

    @property
    def padding(self) -> Mapping[str, int]:
        return self.own.padding

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self.own.batch(rows)

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self.own.training_batch(rows)

    def batches(
        self, size: int, seed: int, *, shuffle: bool, process_index: int, world: int, rows: int | None
    ) -> Sampler[list[int]]:
        return self.own.batches(size, seed, shuffle=shuffle, process_index=process_index, world=world, rows=rows)

    def pieces(self, tokens: int, rows: Sequence[int]) -> list[list[int]]:
        return self.own.pieces(tokens, rows)

    def sample(self, count: int) -> range:
        return self.own.sample(count)

    def of_every_task(self, count: int) -> list[range]:
        return self.own.of_every_task(count)

    def truncated(self) -> dict[str, int]:
        return self.own.truncated()

    def token_rows(self) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        return self.own.token_rows()

    def by_part(self) -> Sequence[Inputs]:
        return self.own.by_part()

    def row_labels(self) -> Sequence[Hashable]:
        return self.own.row_labels()

    def wanted_texts(self, answers: Sequence[str]) -> Sequence[str]:
        return self.own.wanted_texts(answers)

    def example(self, row: int) -> list[Piece]:
        return self.own.example(row)

    def shown(self) -> list[str]:
        return self.own.shown()


class PaddedInputs(WrappedInputs):
    """Rows whose training batches are padded to a multiple of so many tokens: batches of fewer shapes."""

    def __init__(self, own: Inputs, multiple: int) -> None:
        super().__init__(own)
        self._multiple = multiple

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        batch = self.own.training_batch(rows)
        if "ids" not in batch:
            return batch
        tokens = batch["ids"].shape[1]
        fill = {"labels": IGNORED, **self.padding}
        return {
            name: _padded(tensor, -tokens % self._multiple, fill.get(name, 0)) if _of_tokens(tensor, tokens) else tensor
            for name, tensor in batch.items()
        }


def _of_tokens(tensor: Tensor, tokens: int) -> bool:
    """Return whether a tensor (B, L, …) has a value for each token; labels of sets of classes are floats (B, C)."""
    return tensor.ndim > 1 and tensor.shape[1] == tokens and not tensor.is_floating_point()


def _padded(tensor: Tensor, more: int, fill: int) -> Tensor:
    return F.pad(tensor, (*[0, 0] * (tensor.ndim - 2), 0, more), value=fill)
