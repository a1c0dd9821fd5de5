"""Cells of a table that say which split a row is in: by its name, or as yes and no in a column like is_train."""

import re
from collections import Counter
from collections.abc import Iterable

from harness.task.base import SPLITS
from harness.task.intake.folders import split_named
from harness.task.intake.labels import is_gap

_LONGEST = 32  # characters of a split's name
_DECISION = re.compile(r"(?:is|in|for)(?=[_\W]|[A-Z])[_\W]*(.+)")
_CALLED = re.compile(
    r"(?:data|cv|k|train|outer|inner)?[\W_]*(fold|split|partition|set|subset)s?[\W_]*(?:id|nr|no|\d+)?"
)
_CODE = re.compile(r"[^\W\d_]{0,9}[\W_]*\d{1,2}(?:\.0)?|[^\W\d_]{1,2}")
_MOST = 20  # splits, or folds
_TRUE, _FALSE = ("true", "yes", "y", "t", "1"), ("false", "no", "n", "f", "0")


_OF_CONTESTS = {"trial": "validation", "publictest": "validation", "privatetest": "test"}  # of SemEval, of Kaggle
_PLAIN = frozenset(("train", "training", "validation", "valid", "val", "dev", "test", "testing"))


def named_split(cell: object) -> str | None:
    """The split that a cell names; None where it names none."""
    if not isinstance(cell, str) or len(cell) > _LONGEST:
        return None
    return _OF_CONTESTS.get(cell.strip().casefold()) or split_named(cell)


def is_plain(cell: str) -> bool:
    """Return whether a cell can only mean the split that is found for it, as val or dev, unlike eval or trial."""
    return cell.strip().casefold() in _PLAIN


def decided_about(column: str) -> str | None:
    """The split that a column of yes and no decides about by its name, as is_train and isTest; None of others."""
    match = _DECISION.fullmatch(column.strip())
    return split_named(match[1]) if match else None


def may_decide(column: str, cells: Iterable[object]) -> bool:
    """Return whether a column of yes and no is named train or test, alone; it may be a vehicle, or an examination."""
    said = {decision(str(cell)) for cell in cells if not is_gap(cell)}
    return split_named(column) is not None and said == {True, False}


def names_training(cells: Iterable[object]) -> bool:
    """Return whether a half or more of a column's cells are one name for training, and the others one or two names."""
    counts = Counter(cell for cell in cells if isinstance(cell, str) and not is_gap(cell))
    named = [cell for cell in counts if named_split(cell) == "train"]
    return len(named) == 1 and 1 < len(counts) <= len(SPLITS) and 2 * counts[named[0]] >= counts.total()


def decision(cell: str) -> bool | None:
    """Return whether a cell means yes or no; None if it means neither."""
    word = cell.strip().casefold().removesuffix(".0")
    return True if word in _TRUE else False if word in _FALSE else None


def may_number_splits(column: str, cells: Iterable[object]) -> bool:
    """Return whether a column named split, fold or set has few repeating codes, as 0 or fold2; split any words."""
    called = _CALLED.fullmatch(column.strip().casefold())
    if called is None:
        return False
    counts = Counter(str(cell).strip() for cell in cells if not is_gap(cell))
    few = 1 < len(counts) <= min(_MOST, counts.total() / 2)
    return few and (called[1] == "split" or all(map(_CODE.fullmatch, counts)))


def may_name_splits(column: str, cells: Iterable[object]) -> bool:
    """Return whether a column could hold the rows' splits, judged by its name and some of its cells."""
    said = [cell for cell in cells if not is_gap(cell)]
    named = decided_about(column) is not None or split_named(column) is not None
    called = _CALLED.fullmatch(column.strip().casefold()) is not None
    return named or called or (bool(said) and all(map(named_split, said)))
