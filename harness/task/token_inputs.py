"""Rows of tokens as pieces of a model's own, the first piece of each token carrying its tag.

Shapes: B rows in a batch, L pieces of the longest, W tokens of the longest.
"""

import dataclasses
import hashlib
from collections.abc import Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.system import assets
from harness.task.batches import TokenRows, cut_rows
from harness.task.ignored import IGNORED
from harness.task.ragged import cached, padded, starts_of


@dataclasses.dataclass(frozen=True)
class TokenInputs(TokenRows):
    """Pieces and the places of tokens' first pieces, each end to end, and where rows start; `tags` go with `places`.

    `cut` counts the rows that had more pieces than are read.
    """

    ids: np.ndarray
    starts: np.ndarray
    places: np.ndarray
    place_starts: np.ndarray
    tags: np.ndarray
    pad_id: int
    cut: int

    def row_labels(self) -> Sequence[Hashable]:
        return [tuple(row.tolist()) for row in np.split(self.tags, self.place_starts[1:-1])]

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Ids and mask (B, L); labels (B, L), IGNORED but at tokens' first pieces; rows (B).

        For all tokens, read or not: tags (B, W), IGNORED past the end, and places (B, W), −1: not read, −2: no token.
        """
        ids, mask = padded(self.ids, self.starts, rows, self.pad_id)
        places, _ = padded(self.places, self.place_starts, rows, -2)
        tags, _ = padded(self.tags, self.place_starts, rows, IGNORED)
        labels = np.full(ids.shape, IGNORED, dtype=np.int64)
        row, column = np.nonzero(places >= 0)
        labels[row, places[row, column]] = tags[row, column]
        found = {"ids": ids, "mask": mask, "labels": labels, "tags": tags, "places": places}
        tensors = {name: torch.from_numpy(values.astype(np.int64)) for name, values in found.items()}
        return tensors | {"rows": torch.tensor(list(rows))}


def encode_tokens(
    rows: Sequence[Sequence[str]], tags: Sequence[Sequence[int]], tokenizer_file: Path, max_length: int, pad_id: int
) -> TokenInputs:
    """Pieces of rows of tokens, from the cache where they lie under the digest of all that shapes them.

    The tokens are read as one text with blanks between them, as the model was trained on texts. Raises ConfigError
    where rows are cut to fewer than two pieces of their own.
    """
    key = hashlib.sha256()
    for part in (assets.sha256_of(tokenizer_file), str(max_length), repr(tuple(map(tuple, rows))), "tagged"):
        key.update(part.encode() + b"\0")
    arrays = cached("tokens", key.hexdigest(), partial(_tokenise, rows, tokenizer_file, max_length))
    cut = cut_rows(arrays, len(rows), max_length, "rows")
    numbers = np.array([tag for row in tags for tag in row], dtype=np.int64)
    places = arrays["places"], arrays["place_starts"]
    return TokenInputs(arrays["ids"], arrays["starts"], *places, numbers, pad_id, cut)


def _tokenise(rows: Sequence[Sequence[str]], tokenizer_file: Path, max_length: int) -> dict[str, np.ndarray]:
    from tokenizers import Tokenizer  # imported where it is needed: a cached split needs no tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    found = tokenizer.encode_batch([" ".join(row) for row in rows])
    ids = [np.array(item.ids, dtype=np.int32) for item in found]
    places = [_first_pieces(row, item) for row, item in zip(rows, found, strict=True)]
    return {
        "ids": np.concatenate(ids),
        "starts": starts_of(ids),
        "places": np.concatenate(places),
        "place_starts": starts_of(places),
        "cut": np.array(sum(bool(item.overflowing) for item in found)),
        "special": np.array(tokenizer.num_special_tokens_to_add(is_pair=False)),
    }


def _first_pieces(row: Sequence[str], encoding: Any) -> np.ndarray:
    """The place of the first piece of each token; −1 where no piece begins in it."""
    owners = np.repeat(np.arange(len(row)), [len(token) + 1 for token in row])  # of each character
    text = " ".join(row)
    places = np.full(len(row), -1, dtype=np.int32)
    for place, ((begin, end), special) in enumerate(zip(encoding.offsets, encoding.special_tokens_mask, strict=True)):
        while begin < end and text[begin] == " ":  # some pieces hold the blank before them
            begin += 1
        if special or begin >= end:
            continue
        if places[owners[begin]] < 0:
            places[owners[begin]] = place
    return places
