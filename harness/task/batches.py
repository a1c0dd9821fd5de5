"""Sentences as token ids, encoded once and cached; batches padded to their longest.

Shapes: B examples in a batch, L tokens of the longest of them.
"""

import dataclasses
import hashlib
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.config import ConfigError
from harness.system import assets
from harness.task.base import Inputs
from harness.task.ragged import cached, padded, starts_of

_FEWEST = 2  # tokens of its own that a cut text is left with


@dataclasses.dataclass(frozen=True)
class Split:
    """Sentences and their answers in a fixed order: classes, 0…classes−1, or numbers, or sets
    of classes.

    `pairs` are the second sentences of each row, where a row has two.
    """

    texts: tuple[str, ...]
    labels: tuple[Any, ...]
    pairs: tuple[str, ...] = ()

    @property
    def contents(self) -> tuple[str, ...]:
        """The inputs of each row as one text."""
        if not self.pairs:
            return self.texts
        return tuple(f"{text}\0{pair}" for text, pair in zip(self.texts, self.pairs, strict=True))

    def __len__(self) -> int:
        return len(self.texts)


class TokenRows(Inputs):
    """Rows of token ids: ids end to end, where each row starts, and how many rows were cut."""

    ids: np.ndarray
    starts: np.ndarray
    pad_id: int
    cut: int

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""
        return np.diff(self.starts)

    @property
    def padding(self) -> Mapping[str, int]:
        return {"ids": self.pad_id}

    def truncated(self) -> dict[str, int]:
        return {"text": self.cut} if self.cut else {}

    def token_rows(self) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        return ((self.ids, self.starts),)


@dataclasses.dataclass(frozen=True)
class EncodedSplit(TokenRows):
    """The token ids of a split end to end, where each sentence starts, the answers, and the id that pads a batch.

    `cut` counts the sentences that had more tokens than are read; `types` say of each token of a row of two sentences
    which of them it is in, `groups` of each row which group is scored as a whole.
    """

    ids: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    pad_id: int
    cut: int = 0
    types: np.ndarray | None = None
    groups: np.ndarray | None = None

    def row_labels(self) -> Sequence[Hashable]:
        if self.labels.ndim > 1:
            return [tuple(row) for row in self.labels.tolist()]
        return [] if self.labels.dtype.kind == "f" else self.labels.tolist()

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Ids (B, L), mask (B, L) with 1 on real tokens, labels (B), rows (B); of two sentences `types` (B, L), and of
        rows that are scored together `groups` (B).
        """
        ids, mask = padded(self.ids, self.starts, rows, self.pad_id)
        further = {}
        if self.types is not None:
            found, _ = padded(self.types, self.starts, rows, 0)
            further["types"] = torch.from_numpy(found.astype(np.int64))
        if self.groups is not None:
            further["groups"] = torch.from_numpy(self.groups[list(rows)])
        return further | {
            "ids": torch.from_numpy(ids.astype(np.int64)),
            "mask": torch.from_numpy(mask.astype(np.int64)),
            "labels": torch.from_numpy(self.labels[list(rows)]),
            "rows": torch.tensor(list(rows)),
        }


def encode(
    split: Split, tokenizer_file: Path, max_length: int, pad_id: int, answers: np.ndarray | None = None
) -> EncodedSplit:
    """Tokenise a split, or read it from the cache, where it lies under the digest of all that shapes it.

    `answers` are what a model is trained on; None: the numbers of the rows' classes. Raises ConfigError where sentences
    are cut to fewer than two tokens of their own.
    """
    key = hashlib.sha256()
    for part in (assets.sha256_of(tokenizer_file), str(max_length), repr(split.texts), "with cuts"):
        key.update(part.encode() + b"\0")
    if split.pairs:
        key.update(repr(split.pairs).encode())
    arrays = cached("tokens", key.hexdigest(), partial(_tokenise, split, tokenizer_file, max_length))
    labels = np.array(split.labels, dtype=np.int64) if answers is None else answers
    cut = cut_rows(arrays, len(split), max_length, "texts")
    return EncodedSplit(arrays["ids"], arrays["starts"], labels, pad_id, cut, arrays.get("types"))


def cut_rows(arrays: Mapping[str, np.ndarray], rows: int, max_length: int, what: str) -> int:
    """Count the rows with more tokens than are read. Raises ConfigError if fewer than two are kept of each."""
    cut, special = int(arrays["cut"]), int(arrays["special"])
    own = max_length - special
    if cut and own < _FEWEST:
        raise ConfigError(
            f"task.max_length={max_length}: it leaves {cut} of {rows} {what} {own} tokens of their own, beside "
            f"{special} special ones; {_FEWEST} at least"
        )
    return cut


def _tokenise(split: Split, tokenizer_file: Path, max_length: int) -> dict[str, np.ndarray]:
    from tokenizers import Tokenizer  # imported where it is needed: a cached split needs no tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    rows = list(zip(split.texts, split.pairs, strict=True)) if split.pairs else list(split.texts)
    found = tokenizer.encode_batch(rows)
    encoded = [np.array(item.ids, dtype=np.int32) for item in found]
    types = [np.array(item.type_ids, dtype=np.int8) for item in found] if split.pairs else []
    return ({"types": np.concatenate(types)} if types else {}) | {
        "ids": np.concatenate(encoded),
        "starts": starts_of(encoded),
        "cut": np.array(sum(bool(item.overflowing) for item in found)),
        "special": np.array(tokenizer.num_special_tokens_to_add(is_pair=bool(split.pairs))),
    }
