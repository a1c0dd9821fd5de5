"""One class under two names that no rule of spelling joins: numbers beside words, dates of spreadsheets, typos."""

import itertools
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.labels import is_no_label
from harness.task.intake.one_class import told_as_one

_RANGE = re.compile(r"\d{1,2}\s?[-/]\s?\d{1,2}")
_MONTH = "(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_DATE = re.compile(rf"\d{{1,2}}-{_MONTH}|{_MONTH}-\d{{1,2}}")
_UNDECIDED = frozenset(("skip", "skipped", "unsure", "not sure", "don't know", "undecided"))
_BESIDE_UNDECIDED = frozenset(("refused", "refusal", "no answer", "not applicable", "inapplicable"))
"""Answers of surveys, which may be classes where nobody is undecided."""
_SHORTEST, _LONGEST = 5, 50  # letters of a name that may be misspelled
_TOLD = 10  # misspelled names
_SHARE = 0.5  # of the rows that a class has on average: skip is a class beside run and jump
_OFTEN = 10  # rows of the right name for each of a misspelled one


def settle_codings(where: str, labels: Sequence[str], rows: Sequence[object], normalise: bool | None) -> list[str]:
    """Return warnings about classes that may be one under two names, or none.

    Raises ConfigError, with the rows, where they are one for certain, unless `normalise` is false, which takes them as
    they are.
    """
    found = Counter(labels)
    dates = _as_dates(found), "dates beside ranges, as spreadsheets make of 1-2"
    rule = "task.labels.normalise=false takes them as they are"
    numbers, beside, certain = _numbers_for(labels)
    for names, said in (dates, (numbers if certain else [], beside)):
        if not names or normalise is False:
            continue
        at = "; ".join(f"{name!r} in rows {listed(_rows_of(name, labels, rows))}" for name in names[:5])
        if normalise is None:
            raise ConfigError(f"{where}: labels that are {said}, of one class each: {at}; mend the file, or {rule}")
        return [f"labels are {said}: {at}"]
    codings = [f"labels are {beside}: of one class each? {rule}"] if numbers and normalise is not False else []
    rare = [name for name in sorted(found) if found[name] < _SHARE * len(labels) / len(found)]
    undecided = [name for name in rare if " ".join(name.split()).casefold() in _UNDECIDED]
    undecided += [name for name in rare if undecided and " ".join(name.split()).casefold() in _BESIDE_UNDECIDED]
    return (
        codings
        + told_as_one(found, normalise)
        + [
            f"{name!r} ({found[name]} rows: {listed(_rows_of(name, labels, rows))}) often means that nobody decided"
            for name in undecided
        ]
        + _told_misspelled(found, labels, rows)
    )


def _told_misspelled(counts: Mapping[str, int], labels: Sequence[str], rows: Sequence[object]) -> list[str]:
    """Return warnings about the first names that may be misspelled, and the number of further ones."""
    near = _misspelled(counts)
    told = [
        f"{rare!r} ({counts[rare]} rows: {listed(_rows_of(rare, labels, rows))}) is a letter away from {usual!r} "
        f"({counts[usual]} rows)"
        for rare, usual in list(near.items())[:_TOLD]
    ]
    more = f"{len(near) - _TOLD} more labels are a letter away from others that are frequent"
    return [*told, more] if len(near) > _TOLD else told


def _rows_of(name: str, labels: Sequence[str], rows: Sequence[object]) -> list[object]:
    return [row for row, label in zip(rows, labels, strict=True) if label == name]


def _as_dates(names: Collection[str]) -> list[str]:
    """Names that are dates where others are ranges of small numbers."""
    ranges = [name for name in names if _RANGE.fullmatch(name.strip())]
    return sorted(name for name in names if _DATE.fullmatch(name.strip())) if ranges else []


def _numbers_for(labels: Sequence[str]) -> tuple[list[str], str, bool]:
    """Names that are 0, 1, … or 1, 2, … where as many others are words, its message, and whether it is certain.

    It is of 1, 2, … where their rows are not among those of the others, as where two files were joined; among them
    they may be one scale with words, and are with words of two letters: PK, K, 1 and 2 are grades.
    """
    names = set(labels)
    numbers = sorted((name for name in names if name.isdecimal()), key=int)
    words = [name for name in names if name.isalpha() and not is_no_label(name)]
    counted = [int(name) for name in numbers]
    pairs = len(numbers) == len(words) > 1 and len(names) == 2 * len(words) and max(map(len, words)) > 1
    from_one = counted == list(range(1, len(words) + 1))
    certain = counted == list(range(len(words))) or (from_one and _are_joined(labels))
    if not pairs or not (certain or (from_one and max(map(len, words)) > 2)):
        return [], "", False
    return numbers, f"numbers beside as many words ({listed(map(repr, sorted(words)))})", certain


def _are_joined(labels: Sequence[str]) -> bool:
    """Return whether rows of numbers and rows of words are concatenated, and not sorted by class."""
    kinds = sum(1 for _ in itertools.groupby(labels, str.isdecimal))
    return kinds == 2 and sum(1 for _ in itertools.groupby(labels)) > len(set(labels))


def _misspelled(counts: Mapping[str, int]) -> dict[str, str]:
    """Rare names that have a letter more, less, another or elsewhere than a frequent one, with that."""
    near: dict[str, list[str]] = {}
    for name in counts:
        for edit in _shorter(name):
            near.setdefault(edit, []).append(name)
    found = {}
    for rare, count in sorted(counts.items()):
        others = {name for edit in _shorter(rare) for name in near[edit] if counts[name] >= _OFTEN * count}
        if others:
            found[rare] = min(others)
    return found


def _shorter(name: str) -> set[str]:
    """A name of letters, and it without one of them."""
    if not _SHORTEST <= len(name) <= _LONGEST or any(character.isdigit() for character in name):
        return set()
    return {name, *(name[:place] + name[place + 1 :] for place in range(len(name)))}
