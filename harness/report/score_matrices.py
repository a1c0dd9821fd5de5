"""The contribution of test rows to the score of each confirming trial, for the comparison of arms."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.record import SHARES, Record, headline_metric, headline_score
from harness.report import group_values
from harness.report.continual import final_items
from harness.report.table import item_sizes, outcomes, predictions, sign, texts
from harness.report.two_level import Floats
from harness.system.study_files import ANSWERS

AGREES = 1e-6
"""How far a measure that is computed from predictions may be from the recorded one."""
AGREES_IN_ORDER = 1e-4
"""The same of measures of an order of rows: probabilities are written with so many digits, and have ties."""


@dataclass(frozen=True)
class ScoreMatrices:
    """The scores of each arm (seeds, columns), higher is better, whose mean is the arm's score.

    A column is a test row, one of so many `groups` of them, or, where `rows` that count are 0, all of them together;
    then `why` says why.
    """

    values: dict[str, Floats]
    rows: int
    groups: int = 0
    why: str = ""


class _NoRows(Exception):
    """The reason why test rows cannot be counted."""


def score_matrices(shared: Mapping[str, Sequence[Record]], folder: Path) -> ScoreMatrices:
    """The score matrices of trials that have the same seeds in every arm, in the same order."""
    try:
        found = {name: [_columns(entry, folder) for entry in entries] for name, entries in shared.items()}
        sizes = {(rows, groups) for entries in found.values() for _, rows, groups in entries}
        if len(sizes) > 1:
            raise _NoRows("trials were scored on other numbers of rows")
    except _NoRows as reason:
        alone = {
            name: np.array([[sign(entry) * headline_score(entry, "test")] for entry in entries])
            for name, entries in shared.items()
        }
        return ScoreMatrices(alone, 0, why=str(reason))
    ((rows, groups),) = sizes
    values = {name: np.array([each for each, _, _ in entries], dtype=np.float64) for name, entries in found.items()}
    return ScoreMatrices(values, rows, groups)


def _columns(entry: Record, folder: Path) -> tuple[Sequence[float], int, int]:
    """The values of rows or of groups of them, how many rows there are, and in how many groups: 0 where in none."""
    items = score_items(entry, folder)
    if items is not None:
        return items, len(items), 0
    if entry.continual:
        raise _NoRows("its tasks have no right answers for each row, or predictions are missing")
    measured, groups = _measured(entry, folder)
    recorded = headline_score(entry, "test")
    near = AGREES_IN_ORDER if headline_metric(entry) in ("auroc", "average_precision") else AGREES
    if abs(measured[0] - recorded) > near * max(1.0, abs(recorded)):
        raise _NoRows(f"predictions of trial {entry.trial} give {measured[0]:.6f}, its record {recorded:.6f}")
    if not np.isfinite(measured).all():
        raise _NoRows("without some of the rows a class has none")
    values = group_values.group_values(measured, groups)
    return (sign(entry) * (values - values.mean() + recorded)).tolist(), len(groups), len(values)


def score_items(entry: Record, folder: Path) -> list[float] | None:
    """Return each item's contribution to the score, which is their mean; None if the score has no such form."""
    if entry.continual:
        return final_items(entry, folder)
    items = outcomes(entry, folder)
    if items is None:
        return None
    if headline_metric(entry) not in SHARES:
        scale = len(items) / math.fsum(item_sizes(entry, folder))
        items = [value * scale for value in items]
    return [sign(entry) * value for value in items]


def _measured(entry: Record, folder: Path) -> tuple[Floats, group_values.Whole]:
    """The measure of all test rows and without each group of them, and the group of each row."""
    name = headline_metric(entry)
    if ":" in name:
        raise _NoRows(f"{name} is a measure of the user's own")
    if name in ("bleu", "chrf"):
        return _of_texts(name, entry, folder)
    rows = predictions(entry, folder)
    if not rows:
        raise _NoRows(f"predictions of trial {entry.trial} are missing")
    groups = group_values.groups_of(len(rows))
    found = _of_rows(name, rows, groups)
    if found is None and "label" in rows[0] and (shares := _shares(entry, folder)) is not None:
        found = group_values.of_shares(name, _numbers(rows, "label").astype(np.int64), shares, groups)
    if found is None:
        raise _NoRows(f"what each row has to do with {name} is in no file of trial {entry.trial}")
    return found, groups


def _of_texts(name: str, entry: Record, folder: Path) -> tuple[Floats, group_values.Whole]:
    rows = texts(entry, folder)
    if not rows:
        raise _NoRows(f"the texts that trial {entry.trial} wrote are missing")
    groups = group_values.groups_of(len(rows))
    written, wanted = ([row[side] for row in rows] for side in ("written", "wanted"))
    return group_values.of_texts(name, written, wanted, groups), groups


_OF_TAGS = ("right", "found", "there", "right_tokens", "all_tokens")
"""Counts of spans and of tokens that rows of tagged tokens have."""


def _of_rows(name: str, rows: Sequence[Mapping[str, str]], groups: group_values.Whole) -> Floats | None:
    if name == "perplexity" and {"loss", "tokens"} <= rows[0].keys():
        tokens = _numbers(rows, "tokens")
        return group_values.perplexity(_numbers(rows, "loss") * tokens, tokens, groups)
    if {"right", "found", "there"} <= rows[0].keys():
        counts = np.stack([_numbers(rows, column) for column in _OF_TAGS], 1)
        return group_values.of_tags(name, counts, groups)
    if "class_1" in rows[0]:
        marks = np.stack([_numbers(rows, column) for column in rows[0] if column.startswith("class_")], 1)
        return group_values.of_sets(name, marks.astype(np.int64), groups)
    if not {"label", "predicted"} <= rows[0].keys() or "task" in rows[0]:
        return None
    labels, predicted = _numbers(rows, "label"), _numbers(rows, "predicted")
    found = group_values.of_numbers(name, labels, predicted, groups)
    if found is not None:
        return found
    return group_values.of_classes(name, labels.astype(np.int64), predicted.astype(np.int64), groups)


def _numbers(rows: Sequence[Mapping[str, str]], column: str) -> Floats:
    return np.array([float(row[column]) for row in rows])


def _shares(entry: Record, folder: Path) -> Floats | None:
    """The probability of each class for each test row, where it was written."""
    path = folder / Path(entry.adapter.path).parent / ANSWERS
    if not path.exists():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    places = [place for place, name in enumerate(header) if name.startswith("p(")]
    return np.array([[float(row[place]) for place in places] for row in rows])
