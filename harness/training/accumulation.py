"""The rows of one step as several micro-batches, whose gradients add up to those of one large batch.

Shapes: B rows of a micro-batch, L tokens of a row, T tasks that the rows have answers of.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.task.base import Inputs
from harness.task.ignored import IGNORED


def in_parts(inputs: Inputs, count: int, rows: Sequence[int]) -> dict[str, Any]:
    """`parts`: the rows as at most `count` micro-batches of even sizes; `rows`: the numbers of all of them.

    `shares`: of each part, for each of its tasks in the order of their numbers, the share of the step's examples, or
    of its labelled tokens. A mean loss times its share, summed over the parts, is the mean loss of the step.
    """
    return _in_pieces(inputs, [piece.tolist() for piece in np.array_split(np.array(rows), min(count, len(rows)))], rows)


def in_parts_of(inputs: Inputs, tokens: int, rows: Sequence[int]) -> dict[str, Any]:
    """Split a batch into as many micro-batches as keep each at `tokens`; one batch if all rows fit."""
    pieces = inputs.pieces(tokens, rows)
    return inputs.training_batch(rows) if len(pieces) == 1 else _in_pieces(inputs, pieces, rows)


def _in_pieces(inputs: Inputs, pieces: Sequence[Sequence[int]], rows: Sequence[int]) -> dict[str, Any]:
    parts = [inputs.training_batch(piece) for piece in pieces]
    found = [_labels_by_task(part) for part in parts]
    whole: dict[int, float] = {}
    for counts in found:
        for task, labels in counts.items():
            whole[task] = whole.get(task, 0.0) + labels
    # Without any labels the mean is NaN, as for one batch without any.
    shares = [[labels / whole[task] if whole[task] else math.nan for task, labels in each.items()] for each in found]
    return {"parts": parts, "shares": shares, "rows": torch.tensor(list(rows))}


def _labels_by_task(batch: dict[str, Tensor]) -> dict[int, float]:
    """Count the labels of each task's mean loss: rows, or tokens that are not left out; or their weights."""
    labels = batch["labels"]
    if "weights" in batch:
        return {0: float(batch["weights"].sum())}
    counts_B = torch.ones(len(labels)) if labels.ndim == 1 else (labels != IGNORED).flatten(1).sum(1)
    tasks_B = batch.get("tasks", torch.zeros(len(labels), dtype=torch.long))
    return {task: float(counts_B[tasks_B == task].sum()) for task in tasks_B.unique().tolist()}
