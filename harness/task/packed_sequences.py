"""Several short examples laid end to end in one row of a training batch, for causal language models.

Shapes: B examples, R rows, L tokens of the longest example, W tokens of the longest row, T labels of a row or example.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler

from harness.task.ignored import IGNORED
from harness.task.sampling import LengthBatches
from harness.task.wrapped_inputs import WrappedInputs


class PackedSequences(WrappedInputs):
    """Examples whose training batches are packed: steps are of examples at random, since none is padded to another."""

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        batch = self.own.training_batch(rows)
        return packed(batch, shared_out(batch["mask"].sum(1).tolist()), self.padding.get("ids", 0))

    def batches(
        self, size: int, seed: int, *, shuffle: bool, process_index: int, world: int, rows: int | None
    ) -> Sampler[list[int]]:
        """In training in an order that the seed alone decides."""
        if not shuffle:
            return super().batches(size, seed, shuffle=False, process_index=process_index, world=world, rows=rows)
        alike = np.ones_like(self.lengths[:rows])
        return LengthBatches(alike, size, seed, shuffle=True, process_index=process_index, world=world)

    def pieces(self, tokens: int, rows: Sequence[int]) -> list[list[int]]:
        """The rows in pieces of at most so many tokens of their own; one that is longer is alone."""
        return first_fit(self.training_lengths, tokens, rows)


def packed(batch: dict[str, Tensor], groups: Sequence[Sequence[int]], fill: int) -> dict[str, Tensor]:
    """A padded batch with the examples of each group in one row: ids and `positions` (R, W), which begin again at 0
    with each example, labels and `places` (R, T), IGNORED beyond a row's own; `rows` (B) are those of the batch.

    There is no mask: a token of filling is an example by itself, as its position says. No example's first token is a
    label of the one before, since each brings the labels of its own tokens.
    """
    laid = [_laid(batch, group) for group in groups]
    fills = {"ids": fill, "positions": 0, "labels": IGNORED, "places": 0}
    found = {
        name: pad_sequence([row[name] for row in laid], batch_first=True, padding_value=value)
        for name, value in fills.items()
    }
    return found | {"rows": batch["rows"]}


def _laid(batch: dict[str, Tensor], group: Sequence[int]) -> dict[str, Tensor]:
    """The examples of a group end to end."""
    lengths = [int(batch["mask"][example].sum()) for example in group]
    starts = np.cumsum([0, *lengths]).tolist()
    known = [batch["labels"][example] != IGNORED for example in group]
    each = list(zip(group, lengths, starts, known, strict=False))
    return {
        "ids": torch.cat([batch["ids"][example, :length] for example, length, _, _ in each]),
        "positions": torch.cat([torch.arange(length) for length in lengths]),
        "labels": torch.cat([batch["labels"][example, mine] for example, _, _, mine in each]),
        "places": torch.cat([batch["places"][example, mine] + start for example, _, start, mine in each]),
    }


def shared_out(lengths: Sequence[int]) -> list[list[int]]:
    """Examples by number in rows that have the least room left, and are less than twice as long as the longest example.

    They are no wider than that: attention costs the square of it.
    """
    fewest = max(1, sum(lengths) // max(lengths))
    possible = (_evenly(lengths, count) for count in range(fewest, len(lengths) + 1))
    _, _, rows = min((len(rows) * width, width, rows) for rows, width in possible)
    return rows


def _evenly(lengths: Sequence[int], count: int) -> tuple[list[list[int]], int]:
    """So many rows, each example in the one that is shortest so far, longest first; and how long the longest row is."""
    rows: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for example in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        row = filled.index(min(filled))
        rows[row].append(example)
        filled[row] += lengths[example]
    return rows, max(filled)


def first_fit(lengths: np.ndarray, most: int, rows: Sequence[int]) -> list[list[int]]:
    """The rows, longest first, each in the first piece that it keeps at `most` tokens; one that is longer is alone."""
    pieces: list[list[int]] = []
    rooms: list[int] = []
    for row in sorted(rows, key=lambda row: -int(lengths[row])):
        length = int(lengths[row])
        place = next((number for number, room in enumerate(rooms) if length <= room), len(pieces))
        if place == len(pieces):
            pieces.append([])
            rooms.append(most)
        pieces[place].append(row)
        rooms[place] -= length
    return pieces
