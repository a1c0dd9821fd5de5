"""Sentences as token ids, encoded once and cached; batches of like length, padded to the batch.

Shapes: B examples in a batch, L tokens of the longest of them.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from harness.system import assets
from harness.task.base import Inputs
from harness.task.ragged import cached, padded, starts_of
from harness.task.text import Split

# Batches are cut from sorted runs of this many batches: near-equal lengths, and still a random order of examples.
_RUN = 50


@dataclasses.dataclass(frozen=True)
class EncodedSplit(Inputs):
    """The token ids of a split end to end, where each sentence starts, the answers, and the id that pads a batch."""

    ids: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    pad_id: int

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sentence."""
        return np.diff(self.starts)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Ids (B, L), mask (B, L) with 1 on real tokens, labels (B), rows (B)."""
        ids, mask = padded(self.ids, self.starts, rows, self.pad_id)
        return {
            "ids": torch.from_numpy(ids.astype(np.int64)),
            "mask": torch.from_numpy(mask.astype(np.int64)),
            "labels": torch.from_numpy(self.labels[list(rows)]),
            "rows": torch.tensor(list(rows)),
        }


def encode(
    split: Split, tokenizer_file: Path, max_length: int, pad_id: int, spread: tuple[float, float] | None = None
) -> EncodedSplit:
    """Tokenise a split, or read it from the cache, where it lies under the digest of all that shapes it.

    With `spread`, a mean and a standard deviation, the answers are numbers, and standardised.
    """
    key = hashlib.sha256()
    for part in (assets.sha256_of(tokenizer_file), str(max_length), repr(split.texts)):
        key.update(part.encode() + b"\0")
    arrays = cached("tokens", key.hexdigest(), partial(_tokenise, split.texts, tokenizer_file, max_length))
    if spread is None:
        labels = np.array(split.labels, dtype=np.int64)
    else:
        labels = ((np.array(split.labels) - spread[0]) / spread[1]).astype(np.float32)
    return EncodedSplit(arrays["ids"], arrays["starts"], labels, pad_id)


def _tokenise(texts: Sequence[str], tokenizer_file: Path, max_length: int) -> dict[str, np.ndarray]:
    from tokenizers import Tokenizer  # imported where it is needed: a cached split needs no tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    encoded = [np.array(item.ids, dtype=np.int32) for item in tokenizer.encode_batch(list(texts))]
    return {"ids": np.concatenate(encoded), "starts": starts_of(encoded)}


class LengthBatches(Sampler[list[int]]):
    """Batches of near-equal length. The order is a function of (seed, epoch) alone; the epoch counts iterations.

    With `shuffle` off, every example comes once, longest first, so that a batch too large fails at once. With several
    devices (`world`), each rank takes every world-th batch in training, and every world-th example in evaluation, all
    of them on some rank; always the same number of batches on all, since a base spread over them is gathered for each.
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, seed: int, shuffle: bool, rank: int = 0, world: int = 1
    ) -> None:
        self.lengths, self.batch_size, self.seed, self.shuffle = lengths, batch_size, seed, shuffle
        self.rank, self.world, self.epoch, self.skip = rank, world, 0, 0

    def resume_at(self, batches: int) -> None:
        """Begin as if so many batches had been drawn."""
        self.epoch, self.skip = divmod(batches, len(self))

    def __len__(self) -> int:
        if self.shuffle:
            return -(-len(self.lengths) // self.batch_size) // self.world
        return -(-len(range(0, len(self.lengths), self.world)) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self.shuffle:
            mine = self._shuffled()[self.rank :: self.world][: len(self)]
        else:
            order = np.argsort(-self.lengths, kind="stable")[self.rank :: self.world]
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
