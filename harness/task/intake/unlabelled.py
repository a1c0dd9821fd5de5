"""Rows whose label is a word or a number that often means that there is none."""

import itertools
import re
from collections import Counter
from collections.abc import Collection, Sequence

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.labels import is_no_label, label_key, many_classes

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:E[+-]?\d+)?")
_STANDS_FOR_NONE = frozenset(("-1", "-9", "-99", "-100", "-999", "-9999"))
_ANSWERS = frozenset(("na", "n/a", "n.a.", "none", "unknown", "missing", "undefined", "not available"))
_LEAST = 10  # rows of a class that is as frequent as others
_RULE = "task.labels.unlabelled=leave_out leaves these rows out, keep takes it as a class"
_CODES = 5  # other names of at most three letters, as of countries and tongues


def unlabelled_rows(
    where: str,
    labels: Sequence[Collection[str]],
    rows: Sequence[object],
    *,
    policy: str,
    classes: int | None,
    declared: Collection[str] = (),
) -> list[int]:
    """The places of rows that are left out since a label of theirs, beside others, may mean that there is none.

    With `policy` keep there is none, nor where so many `classes` are asked for as there are with them, or `declared`
    ones have the name. Raises ConfigError, with the rows, where it is refuse and they are no class by their number.
    """
    every = [name for mine in labels for name in mine]
    odd = _unsettled(every, policy, classes, declared)
    if policy == "refuse":
        odd -= _as_frequent(every, odd)
    if not odd:
        return []
    places = [place for place, mine in enumerate(labels) if not odd.isdisjoint(mine)]
    if policy == "leave_out":
        return places
    found = {name: [row for row, mine in zip(rows, labels, strict=True) if name in mine] for name in sorted(odd)}
    said = "; ".join(f"{name!r} in {len(at)} rows ({listed(at)})" for name, at in found.items())
    number = "; task.answer=number reads numbers" if many_classes(every) else ""
    raise ConfigError(f"{where}: a label that often means that there is none, {said}; {_RULE}{number}")


def often_none(
    labels: Sequence[str], *, policy: str = "refuse", classes: int | None = None, declared: Collection[str] = ()
) -> list[str]:
    """Return warnings about classes that often stand for none, unless a setting decides it."""
    counts, odd = Counter(labels), _unsettled(labels, policy, classes, declared)
    if _is_scale(counts):
        odd -= _as_frequent(labels, odd, share=0.5)
    return [f"{name!r} ({counts[name]} rows) often means that there is no label; {_RULE}" for name in sorted(odd)]


def _unsettled(labels: Sequence[str], policy: str, classes: int | None, declared: Collection[str]) -> set[str]:
    names = set(labels)
    if policy == "keep" or classes == len(names):
        return set()
    marked = {name for name in names if is_marked(name)} if policy == "leave_out" else set()
    return stand_for_none(names).union(marked).difference(declared)


def is_marked(name: str) -> bool:
    """Return whether a name is marked as no class, as Speech Commands' _background_noise_ is."""
    return len(name) > 2 and name.startswith("_") and name.endswith("_")


def stand_for_none(names: Collection[str]) -> set[str]:
    """The names of classes that often mean none; empty if there are no others.

    -1 is a class beside 1 alone, and a negative number beside other ones; a sign is one beside other signs.
    """
    words = {name for name in names if is_no_label(name)}
    signs = {name for name in names if not any(map(str.isalnum, name))}
    if signs - words:
        words -= signs
    keys = {name: label_key(name) for name in names if name not in words}
    negative = {name for name, key in keys.items() if _NUMBER.fullmatch(key) and float(key) < 0}
    if len(negative) == 1 and set(map(_written, keys.values())) != {"-1", "1"}:
        words |= {name for name in negative if _written(keys[name]) in _STANDS_FOR_NONE}
    return words if len(words) < len(names) else set()


def _as_frequent(labels: Sequence[str], odd: Collection[str], share: float = 0.05) -> set[str]:
    """Odd names that are classes, as frequent as others: -1 beside 0, or 0 and 1, of which a `share` of all rows is
    enough, and answers beside words.

    Their rows stand among the others; test rows without labels, that were added to others, are the last.
    """
    if not labels:
        return set()
    counts = Counter(labels)
    runs = [label for label, _ in itertools.groupby(labels)]
    half = len(labels) / (2 * len(counts))
    found = set()
    for name in odd:
        minus = label_key(name) in ("-1", "-1.0")
        least = max(_LEAST, min(half, len(labels) * share) if minus else half)
        among = runs.count(name) > 1 or len(runs) == len(counts)
        if counts[name] >= least and among and (_is_opinion(counts) if minus else _answers(name, counts)):
            found.add(name)
    return found


def _is_opinion(names: Collection[str]) -> bool:
    return _is_scale(names) or {_written(label_key(name)) for name in names} == {"-1", "0"}


def _is_scale(names: Collection[str]) -> bool:
    return {_written(label_key(name)) for name in names} == {"-1", "0", "1"}


def _answers(word: str, names: Collection[str]) -> bool:
    """Return whether a word may be an answer, as others are words, and no program writes it for a missing value."""
    others = [name.strip() for name in names if not is_no_label(name)]
    if any(_NUMBER.fullmatch(name) for name in others):
        return False
    if word == "None":
        return all(name[:1].isupper() for name in others)
    if word == "nan":
        return sum(len(name) <= 3 for name in others) >= max(_CODES, len(others) / 2)
    return " ".join(word.split()).strip("()[]").casefold() in _ANSWERS


def _written(key: str) -> str:
    return f"{float(key):g}" if _NUMBER.fullmatch(key) else key
