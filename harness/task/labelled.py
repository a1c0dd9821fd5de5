"""The common base of tasks whose rows are labelled with a class, with several of them or none, or with a number."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.config import ConfigError, LabelSets
from harness.system.paths import listed
from harness.task.base import Task, described, source_described
from harness.task.constants import Batches, of_classes, of_numbers, of_sets
from harness.task.intake.scored import scored_alone, with_head

if TYPE_CHECKING:
    from harness.task.metrics import Metrics


class LabelledTask(Task):
    """A labelled task: it has no `classes` if the answer is a number; a row may have `several` of them, or none."""

    if TYPE_CHECKING:  # fields of the subclasses; a property here would be their default

        @property
        def source(self) -> str: ...

        @property
        def splits(self) -> Mapping[str, Sized]: ...

        @property
        def several(self) -> bool: ...

    @abstractmethod
    def labels(self, split: str) -> tuple[Any, ...]:
        """Classes, 0…classes−1, or numbers, or sets of classes, in the order of the rows."""

    def answers(self, split: str) -> np.ndarray:
        """Classes (N), sets of them as ones and zeros (N, C), or standardised numbers (N), as a model is trained on."""
        labels, spread = self.labels(split), self.spread
        if self.several:
            return sets_of(labels, len(self.classes))
        if spread is None:
            return np.array(labels, dtype=np.int64)
        return ((np.array(labels) - spread[0]) / spread[1]).astype(np.float32)

    @property
    def outputs(self) -> int:
        return LabelSets(len(self.classes)) if self.several else len(self.classes) or 1

    @property
    def spread(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the training split's numbers, by which they are standardised; 1 of those that
        are all the same.
        """
        if self.classes:
            return None
        numbers = np.array(self.labels("train"))
        return float(numbers.mean()), float(numbers.std()) or 1.0

    def metrics(self) -> "Metrics":
        """The metrics of its kind of label; errors of numbers are in the labels' own unit."""
        if self.several:
            from harness.task.metrics import LabelSetMetrics

            return LabelSetMetrics(len(self.classes))
        if self.spread is None:
            return super().metrics()
        from harness.task.metrics import RegressionMetrics

        return RegressionMetrics(*self.spread)

    def values(self, split: str) -> Sequence[float]:
        return () if self.classes else self.labels(split)

    def label_sets(self, split: str) -> Sequence[Sequence[str]]:
        sets = self.labels(split) if self.several else ()
        return [[self.classes[number] for number in numbers] for numbers in sets]

    def constants(self, split: str) -> Mapping[str, Batches]:
        train, held = self.labels("train"), self.labels(split)
        if self.several:
            count = len(self.classes)
            return of_sets(sets_of(train, count), sets_of(held, count), self.classes)
        if self.spread is not None:
            return of_numbers(train, held, self.spread)
        return of_classes(train, held, self.classes)

    def described_labels(self) -> dict[str, object]:
        """Return the record's entry for the data, with the score of chance."""
        if self.several:
            return self._described_sets()
        if self.spread is None:
            labels = {name: np.array(self.labels(name), dtype=int) for name in self.splits}
            return described(self.name, self.source, self.sha256, self.classes, labels)
        held = {name: np.array(self.labels(name)) for name in self.splits if name != "train"}
        errors = {name: float(np.sqrt(np.mean((labels - self.spread[0]) ** 2))) for name, labels in held.items()}
        return source_described(self.name, self.source, self.sha256, self.splits) | {
            "mean": self.spread[0],
            "sd": self.spread[1],
            "mean_predictor": {"answer": self.spread[0]} | errors,
        }

    def _described_sets(self) -> dict[str, object]:
        sets = {name: sets_of(self.labels(name), len(self.classes)) for name in self.splits}
        shares = sets["train"].mean(0)
        usual = shares > 0.5 if (shares > 0.5).any() else shares == shares.max()
        return source_described(self.name, self.source, self.sha256, self.splits) | {
            "labels": {name: found.sum(0).astype(int).tolist() for name, found in sets.items()},
            "classes": list(self.classes),
            "usual_labels": {
                "labels": [name for name, often in zip(self.classes, usual, strict=True) if often],
                **{name: f1_of_one_answer(found, usual) for name, found in sets.items() if name != "train"},
            },
        }


def sets_of(labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Rows' sets of classes as ones and zeros (N, C)."""
    found = np.zeros((len(labels), classes), dtype=np.float32)
    for row, numbers in enumerate(labels):
        found[row, list(numbers)] = 1
    return found


def f1_of_one_answer(sets_NC: np.ndarray, answer_C: np.ndarray) -> float:
    """F1 of all decisions together of one answer for all rows."""
    right = float(sets_NC[:, answer_C].sum())
    return 2 * right / (float(sets_NC.sum()) + len(sets_NC) * int(answer_C.sum()))


Labels = dict[str, tuple[Any, ...]]
"""The labels of each split's rows."""


def numbered_labels(
    where: str, labels: Mapping[str, Sequence[Any]], *, answer: str, wanted: int | None, positive: str | None = None
) -> tuple[tuple[str, ...], Labels]:
    """The classes of training, none where the `answer` is a number, and the labels by the numbers of these.

    `where` opens an error's line; `wanted` is the number of classes that is expected, None for any; the `positive` one
    of two is the second. Raises ConfigError for labels that training has not, and where there is nothing to tell apart.
    """
    if answer == "number":
        return (), _numbers(where, labels)
    return _sets(wanted, where, labels) if answer == "labels" else _classes(wanted, where, labels, positive)


def names_told(labels: Mapping[str, Sequence[Any]], answer: str) -> list[str]:
    """The names of classes that the rows of all splits have, once a row; none where the `answer` is a number."""
    cells = [cell for mine in labels.values() for cell in mine] if answer != "number" else []
    return [name for cell in cells for name in cell] if answer == "labels" else cells


def _numbers(where: str, labels: Mapping[str, Sequence[Any]]) -> Labels:
    found = {}
    for name, mine in labels.items():
        numbers = pd.to_numeric(pd.Series(mine, dtype=object), errors="coerce").to_numpy(dtype=float)
        if not (finite := np.isfinite(numbers)).all():
            raise ConfigError(f"{where}: label {mine[int(np.argmin(finite))]!r} is no number")
        found[name] = tuple(numbers.tolist())
    if len(set(found["train"])) < 2 and not scored_alone():
        raise ConfigError(f"{where}: all numbers of the training split are the same")
    return found


def _classes(
    wanted: int | None, where: str, labels: Mapping[str, Sequence[Any]], positive: str | None
) -> tuple[tuple[str, ...], Labels]:
    """Labels mapped to 0…n−1 by the training set's classes."""
    number = _numbered(wanted, where, labels, "classes")
    if positive is not None:
        if positive not in number or len(number) != 2:
            raise ConfigError(f"{where} task.positive={positive}: one of two classes is expected; {listed(number)}")
        number = dict(sorted(number.items(), key=lambda item: item[0] == positive))
        number = {name: place for place, name in enumerate(number)}
    return tuple(number), {name: tuple(number[label] for label in mine) for name, mine in labels.items()}


def _sets(wanted: int | None, where: str, labels: Mapping[str, Sequence[Any]]) -> tuple[tuple[str, ...], Labels]:
    """Sets of labels mapped to numbers by the training set's classes."""
    names = {split: [label for cell in mine for label in cell] for split, mine in labels.items()}
    number = _numbered(wanted, where, names, "labels")
    return tuple(number), {
        split: tuple(tuple(sorted(number[label] for label in cell)) for cell in mine) for split, mine in labels.items()
    }


def _numbered(wanted: int | None, where: str, labels: Mapping[str, Sequence[str]], what: str) -> dict[str, int]:
    """The number of each class that training has, `what` they are called. Raises ConfigError as numbered_labels."""
    classes = sorted(with_head(labels["train"]), key=_natural)
    if len(classes) < 2:
        all_are = f", all {len(labels['train'])} are {classes[0]!r}" if classes else ""
        rule = "at least 2 are needed, to be learned and to be scored: any score on one is without meaning"
        raise ConfigError(f"{where}: the training split has {len(classes)} {what}{all_are}; {rule}")
    if wanted is not None and wanted != len(classes):
        raise ConfigError(f"{where}: {len(classes)} {what} in the training split, task.classes={wanted}")
    for split, mine in labels.items():
        if unknown := sorted(set(mine) - set(classes)):
            raise ConfigError(f"{where}: {split}: absent from training: {listed(map(repr, unknown))}")
    return {label: index for index, label in enumerate(classes)}


def _natural(label: str) -> tuple[int, float, str]:
    try:
        number = float(label)
    except ValueError:
        return (1, 0.0, label)
    return (0, number, label) if number == number else (1, 0.0, label)  # nan has no place among numbers
