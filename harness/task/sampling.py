"""Batches of rows of near-equal length, in an order that the seed decides, and what of a batch goes into one pass."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

# Batches are cut from sorted runs of this many batches: near-equal lengths, and still a random order of examples.
_RUN = 50


class LengthBatches(Sampler[list[int]]):
    """Batches of near-equal length. The order is a function of (seed, epoch) alone; the epoch counts iterations.

    With `shuffle` off, every example comes once, longest first, so that a batch too large fails at once. With several
    processes (`world`), each takes every world-th batch in training, and every world-th example in evaluation, so that
    none is left out. All processes get the same number of batches, since a base spread over them is gathered for each.
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, seed: int, *, shuffle: bool, process_index: int = 0, world: int = 1
    ) -> None:
        self.lengths, self.batch_size, self.seed, self.shuffle = lengths, batch_size, seed, shuffle
        self.process_index, self.world, self.epoch, self.skip = process_index, world, 0, 0

    def resume_at(self, batches: int) -> None:
        """Begin as if so many batches had been drawn."""
        self.epoch, self.skip = divmod(batches, len(self))

    def __len__(self) -> int:
        if self.shuffle:
            return -(-len(self.lengths) // self.batch_size) // self.world
        return -(-len(range(0, len(self.lengths), self.world)) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self.shuffle:
            mine = self._shuffled()[self.process_index :: self.world][: len(self)]
        else:
            order = np.argsort(-self.lengths, kind="stable")[self.process_index :: self.world]
            even = [piece.tolist() for piece in np.array_split(order, len(self))]
            mine = self._split(order) if self.world == 1 else even
        self.epoch += 1
        skip, self.skip = self.skip, 0
        yield from mine[skip:]

    def _split(self, order: np.ndarray) -> list[list[int]]:
        return [order[start : start + self.batch_size].tolist() for start in range(0, len(order), self.batch_size)]

    def _shuffled(self) -> list[list[int]]:
        draw = np.random.default_rng([self.seed, self.epoch])
        order = draw.permutation(len(self.lengths))
        run = _RUN * self.batch_size
        pieces = [order[start : start + run] for start in range(0, len(order), run)]
        batches = [
            batch for piece in pieces for batch in self._split(piece[np.argsort(self.lengths[piece], kind="stable")])
        ]
        return [batches[index] for index in draw.permutation(len(batches))]


def pieces_of(lengths: np.ndarray, tokens: int, rows: Sequence[int]) -> list[list[int]]:
    """The rows, longest first, in pieces of at most so many tokens, padding counted; one that is longer is alone."""
    pieces: list[list[int]] = []
    room = 0
    for row in sorted(rows, key=lambda row: -int(lengths[row])):
        if not room:
            pieces.append([])
            room = max(1, tokens // max(1, int(lengths[row])))
        pieces[-1].append(row)
        room -= 1
    return pieces
