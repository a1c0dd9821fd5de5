"""Sentences as token ids, encoded once and cached; batches padded to their longest.

Shapes: B examples in a batch, L tokens of the longest of them.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.system import assets
from harness.task.base import Inputs
from harness.task.ragged import cached, padded, starts_of


@dataclasses.dataclass(frozen=True)
class Split:
    """Sentences and their answers in a fixed order: classes, 0…classes−1, or numbers."""

    texts: tuple[str, ...]
    labels: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.texts)


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

    @property
    def padding(self) -> Mapping[str, int]:
        return {"ids": self.pad_id}

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
