"""Constant answers, given without reading a row, as outputs that a task's own metrics score.

Shapes: N rows of a split, W tokens of the longest, C classes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from harness.system.paths import listed
from harness.task.ignored import IGNORED

if TYPE_CHECKING:
    from harness.task.metrics import Metrics

Batches = Iterable[tuple[Tensor, Mapping[str, Tensor]]]
"""Outputs, and of their batch what metrics read beside them."""

_SURE = 10.0
"""The logit of what is answered."""
_ROWS = 256
_MOST_TAGS = 5
"""That begin a span, and are tried as the answer for every token."""


def scored(metrics: "Metrics", batches: Batches) -> dict[str, float]:
    """The scores of outputs; none where a measure has no value for them, or metrics of a guest's own read more."""
    from harness.task.metrics import MeasureError  # torchmetrics is slow to import, and counting needs none

    try:
        for outputs, batch in batches:
            metrics.update(outputs, batch)
        return metrics.compute_and_reset()
    except (MeasureError, KeyError):
        return {}


def of_classes(
    train: Sequence[int] | np.ndarray, held: Sequence[int] | np.ndarray, names: Sequence[str]
) -> dict[str, Batches]:
    """The shares of classes in training, whose answer is the most frequent one; with two classes the other one, too."""
    outputs = _log_shares(np.asarray(train), len(names))
    labels = torch.from_numpy(np.asarray(held, dtype=np.int64))
    ((most, _),) = Counter(np.asarray(train).tolist()).most_common(1)
    if int(outputs.argmax()) != most:  # of several that are as frequent, the first in training
        outputs[most] += 1e-4
    found = {f"always answering the most frequent class, {names[most]}": _same(outputs, labels)}
    if len(names) == 2:
        other = _SURE * torch.nn.functional.one_hot(torch.tensor(1 - most), 2).float()
        found[f"always answering the class {names[1 - most]}"] = _same(other, labels)
    return found


def of_numbers(train: Sequence[float], held: Sequence[float], spread: tuple[float, float]) -> dict[str, Batches]:
    """The mean of training and its median; labels are standardised by `spread`, as inputs have them."""
    (mean, sd), median = spread, float(np.median(train))
    labels = torch.from_numpy(((np.array(held) - mean) / sd).astype(np.float32))
    return {
        f"always answering the mean of training, {mean:.4g}": _same(torch.zeros(1), labels),
        f"always answering the median of training, {median:.4g}": _same(torch.tensor([(median - mean) / sd]), labels),
    }


def of_sets(train: np.ndarray, held: np.ndarray, names: Sequence[str]) -> dict[str, Batches]:
    """Constant answers to sets of classes (N, C), as ones and zeros: what most rows have, the most frequent class, as
    many of the most frequent as give the best F1 of all decisions in training, and all of them.
    """
    shares = np.clip(train.mean(0, dtype=np.float64), 1e-6, 1 - 1e-6)
    odds = np.log(shares) - np.log1p(-shares)
    ((usual, _),) = Counter(map(tuple, train.tolist())).most_common(1)
    sure = [shares == shares.max(), np.array(usual) > 0, _best_by_f1(train), np.full(len(names), True)]
    found: dict[str, Batches] = {}
    for outputs in [odds, *(np.where(answered, _SURE, -_SURE) for answered in sure)]:
        said = [name for name, logit in zip(names, outputs, strict=True) if logit > 0]
        found.setdefault(
            _said_of(said, len(names)), _same(torch.from_numpy(outputs.astype(np.float32)), torch.from_numpy(held))
        )
    return found


def _best_by_f1(train: np.ndarray) -> np.ndarray:
    """The most frequent labels, as many as give the best F1 of all decisions together: 2·right / (answered + there)."""
    counts = train.sum(0, dtype=np.float64)
    order = np.argsort(-counts, kind="stable")
    answered = np.arange(1, len(counts) + 1) * len(train)
    most = int(np.argmax(2 * np.cumsum(counts[order]) / (answered + counts.sum()))) + 1
    return np.isin(np.arange(len(counts)), order[:most])


def _said_of(labels: Sequence[str], classes: int) -> str:
    if not labels:
        return "always answering no label"
    if len(labels) == classes:
        return "always answering every label"
    return f"always answering the label{'s' * (len(labels) > 1)} {listed(labels)}"


def of_tags(train: Iterable[Sequence[int]], held: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Batches]:
    """The shares of training, of which the most frequent tag is the answer for every token; and of the tags that begin
    a span, each of the most frequent.
    """
    tags = np.concatenate([np.array(row, dtype=np.int64) for row in train])
    outputs = _log_shares(tags, len(names))
    found: dict[str, Batches] = {
        f"always answering the most frequent tag, {names[int(outputs.argmax())]}": _tagged(outputs, held)
    }
    begins = [number for number, _ in Counter(tags.tolist()).most_common() if names[number].startswith("B-")]
    for number in begins[:_MOST_TAGS]:
        sure = _SURE * torch.nn.functional.one_hot(torch.tensor(number), len(names)).float()
        found.setdefault(f"always answering the tag {names[number]}", _tagged(sure, held))
    return found


def _tagged(outputs: Tensor, rows: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
    for start in range(0, len(rows), _ROWS):
        part = [torch.tensor(row, dtype=torch.int64) for row in rows[start : start + _ROWS]]
        tags = torch.nn.utils.rnn.pad_sequence(part, batch_first=True, padding_value=IGNORED)
        places = torch.where(tags == IGNORED, -2, torch.arange(tags.shape[1]).expand_as(tags))
        yield outputs.expand(*tags.shape, -1), {"labels": tags, "tags": tags, "places": places}


def of_options(train: Sequence[int], held: Sequence[int], counts: Sequence[int]) -> dict[str, Batches]:
    """The place that is right most often in training, of questions with so many options; each is a text of a token."""
    ((most, _),) = Counter(train).most_common(1)
    question = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    place = torch.cat([torch.arange(count) for count in counts])
    chosen = torch.where(place == most, _SURE, -_SURE)
    batch = {
        "labels": torch.zeros(len(place), 1, dtype=torch.int64),
        "answers": torch.tensor(held),
        "rows": torch.arange(len(counts)),
        "question": question,
        "place": place,
        "sizes": torch.ones(len(place), dtype=torch.float64),
    }
    outputs = torch.stack([chosen, -chosen], 1)[:, None]
    return {f"always answering the most frequent place, option {most + 1}": [(outputs, batch)]}


def _log_shares(labels: np.ndarray, classes: int) -> Tensor:
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(np.log(np.maximum(counts, 0.5) / len(labels)).astype(np.float32))


def _same(outputs: Tensor, labels: Tensor) -> Batches:
    """One output (C) for all rows."""
    return [(outputs.expand(len(labels), -1), {"labels": labels})]
