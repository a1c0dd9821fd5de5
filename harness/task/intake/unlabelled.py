"""Rows whose label is a word or a number that often means that there is none."""

import itertools
import re
from collections.abc import Collection, Sequence

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.labels import is_no_label, label_key, many_classes

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:E[+-]?\d+)?")
_STANDS_FOR_NONE = frozenset(("-1", "-9", "-99", "-100", "-999", "-9999"))


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
    ones have the name, nor of -1 that is about as frequent as 0 and 1. Raises ConfigError, with the rows, where it is
    refuse.
    """
    names = {name for mine in labels for name in mine}
    odd = stand_for_none(names).difference(declared)
    if _are_opinions([name for mine in labels for name in mine]):
        odd = odd.difference(name for name in names if label_key(name) == "-1")
    if not odd or policy == "keep" or classes == len(names):
        return []
    places = [place for place, mine in enumerate(labels) if not odd.isdisjoint(mine)]
    if policy == "leave_out":
        return places
    found = {name: [row for row, mine in zip(rows, labels, strict=True) if name in mine] for name in sorted(odd)}
    said = "; ".join(f"{name!r} in {len(at)} rows ({listed(at)})" for name, at in found.items())
    rule = "task.labels.unlabelled=leave_out leaves these rows out, keep takes it as a class"
    number = "; task.answer=number reads numbers" if many_classes([name for mine in labels for name in mine]) else ""
    raise ConfigError(f"{where}: a label that often means that there is none, {said}; {rule}{number}")


def stand_for_none(names: Collection[str]) -> set[str]:
    """Those of the names of classes that often stand for none; nothing where there are no others.

    -1 is a class beside 1 alone, and a negative number beside other ones.
    """
    words = {name for name in names if is_no_label(name)}
    keys = {name: label_key(name) for name in names if name not in words}
    negative = {name for name, key in keys.items() if _NUMBER.fullmatch(key) and float(key) < 0}
    if len(negative) == 1 and set(map(_written, keys.values())) != {"-1", "1"}:
        words |= {name for name in negative if _written(keys[name]) in _STANDS_FOR_NONE}
    return words if len(words) < len(names) else set()


def _are_opinions(labels: Sequence[str]) -> bool:
    """Whether labels are -1, 0 and 1, as of opinions: each has its rows, and those of -1 stand among the others.

    Test rows without labels, that were added to others, are the last ones.
    """
    written = [_written(label_key(label)) for label in labels]
    if set(written) != {"-1", "0", "1"} or written.count("-1") < len(written) / 6:
        return False
    runs = [label for label, _ in itertools.groupby(written)]
    return runs.count("-1") > 1 or len(runs) == 3


def _written(key: str) -> str:
    return f"{float(key):g}" if _NUMBER.fullmatch(key) else key
