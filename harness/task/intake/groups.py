"""Groups of rows, as those of one author: read of every split that is given; in training or held out, never both."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from harness.config import ConfigError, names_in
from harness.system.paths import listed
from harness.task.intake.held import shortened
from harness.task.intake.labels import is_gap, says_none
from harness.task.intake.look_alike import without_accents
from harness.task.intake.table import Table

_WHOLE = re.compile(r"(-?\d+)\.0+")
_PARTED = re.compile(r"[,;|&/+]")
_LISTED = re.compile(r"[;|]|^\[.*\]$")
_ADDRESS = re.compile(r"<([^<>\s]+@[^<>\s]+)>$")
_NOBODY = frozenset(("[deleted]", "[removed]", "deleted", "anonymous", "anon", "guest"))
_ROWS_SHOWN = 3  # of a group, in each split

Groups = Mapping[Any, object]
"""The group of each row, by its number; of a row without one a gap."""


def reads_groups(split: str, table: Table, column: str | None, leaks: str) -> bool:
    """Return whether the groups of a split are read; if groups may be shared, a held-out table need not have them.

    Raises ConfigError for one that has no such column, or lacks one that a template names.
    """
    if column is None:
        return False
    there = [str(name) for name in table.frame.columns]
    absent = [name for name in names_in(column) if name not in there]
    if split == "train" or not absent:
        return True
    if leaks == "allow":
        return False
    raise ConfigError(
        f"task.group={column}: {table.path} has no column {absent[0]}, and its groups cannot be told from those of "
        f"training; task.leaks=allow takes it all the same; columns: {listed(there)}"
    )


def group_names(where: str, column: str, cells: Iterable[tuple[object, object]]) -> list[str | None]:
    """Groups as text; `cells` with their rows. Raises ConfigError for lists and the like."""
    named: list[str | None] = []
    for row, cell in cells:
        if isinstance(cell, list | tuple | dict | set | bytes):
            raise ConfigError(f"{where}: row {row}: {column} is {str(cell)[:40]!r} ({type(cell).__name__}), no group")
        named.append(None if is_gap(cell) else str(cell))
    return named


def group_keys(groups: Iterable[object]) -> list[str | None]:
    """The keys of groups; None of a row without one."""
    return [None if is_gap(group) else group_key(str(group)) for group in groups]


def group_key(name: str) -> str:
    """Return a group's normalised name: 1, 1.0 (pandas' form beside a gap) and "1" are one; Ann and " ann", too."""
    text = " ".join(name.split()).casefold()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def shared_groups(where: str, column: str | None, splits: Mapping[str, Groups], leaks: str) -> list[str]:
    """Return warnings about groups in two splits, rows without one, and names that are treated as one.

    Raises ConfigError, with `where`, for those of training in a held-out split, unless rows may leak.
    """
    if column is None:
        return []
    names: dict[str, str] = {}
    rows = {split: _rows_of(groups, names) for split, groups in splits.items()}
    told = [*without_group(f"task.group={column}", splits), *_respelled(column, splits), *_joined(column, splits)]
    for first, second in combinations(rows, 2):
        if not (shared := [group for group in rows[second] if group in rows[first]]):
            continue
        count = sum(len(rows[second][group]) for group in shared)
        places = ((first, rows[first]), (second, rows[second]))
        said = listed(f"{shortened(repr(group))}: {_some(places, group)}" for group in shared)
        line = f"{len(shared)} groups of {second}, which are {count} of its rows, stand in {first} too ({said})"
        if leaks == "refuse" and "train" in (first, second):
            raise ConfigError(f"{where} task.group={column}: {line}; task.leaks=allow takes them all the same")
        told.append(f"task.group={column}: {line}")
    return told


def without_group(named: str, splits: Mapping[str, Groups]) -> list[str]:
    """Return warnings about rows without a group, as `named` by a key and its column, and names treated as one."""
    told = []
    for split, groups in splits.items():
        rows = [row for row, group in groups.items() if is_gap(group)]
        if len(rows) == len(groups):
            told.append(f"{split}: no row has a group ({named})")
        elif rows:
            said = f"{len(rows)} of {len(groups)} rows have no group, and each is taken for one of its own"
            told.append(f"{split}: {said} ({named}; rows {listed(rows)})")
    words = Counter(str(cell) for groups in splits.values() for cell in groups.values() if not is_gap(cell))
    return told + [
        f"{named}: {name!r} ({count} rows) often means that there is no group, and is taken for one"
        for name, count in words.items()
        if says_none(name) or name.strip().casefold() in _NOBODY
    ]


def _respelled(column: str, splits: Mapping[str, Groups]) -> list[str]:
    """Return warnings about names that differ in case, blanks or number format, and are one group."""
    names: dict[str, dict[str, None]] = {}
    for group in (group for groups in splits.values() for group in groups.values() if not is_gap(group)):
        names.setdefault(group_key(str(group)), {})[str(group)] = None
    told = []
    if several := [list(found) for found in names.values() if len(found) > 1]:
        said = listed(" and ".join(shortened(repr(name)) for name in found[:_ROWS_SHOWN]) for found in several)
        how = "are written in several ways, which differ in case, blanks or number format"
        told.append(f"task.group={column}: {len(several)} groups {how}: {said}")
    numbers = {name: name.lstrip("0") or "0" for name in names if name.isdecimal()}
    if padded := {name: number for name, number in numbers.items() if name != number and number in names}:
        said = listed(f"{name!r} and {number!r}" for name, number in padded.items())
        told.append(f"task.group={column}: {said} are two groups each: is it one number?")
    others: dict[str, list[str]] = {}
    for name in names:
        others.setdefault(_bare(name), []).append(name)
    if alike := [found for found in others.values() if len(found) > 1]:
        said = listed(" and ".join(shortened(repr(next(iter(names[key])))) for key in found) for found in alike)
        told.append(f"task.group={column}: {said} are groups of their own: are they one each?")
    return told


def _bare(name: str) -> str:
    """A group without accents, the sign before a name or behind a path, and what stands around an address."""
    inside = _ADDRESS.search(name)
    plain = inside[1] if inside else name.removeprefix("@").rstrip("/")
    return without_accents(plain) or name


def _joined(column: str, splits: Mapping[str, Groups]) -> list[str]:
    """Messages about cells that name several groups, one of them in another cell, too."""
    cells = [str(cell) for groups in splits.values() for cell in groups.values() if not is_gap(cell)]
    names = {group_key(cell): cell for cell in reversed(cells)}
    parts = {key: _groups_in(key) for key in names}
    counts = Counter(part for found in parts.values() for part in found)
    several = [key for key, found in parts.items() if len(found) > 1 and any(counts[part] > 1 for part in found)]
    sure = [key for key in several if _LISTED.search(key) or names.keys() >= parts[key]]  # Smith, John has a comma
    if not sure:
        return []
    said = listed(shortened(repr(names[key])) for key in sorted(sure))
    return [f"task.group={column}: {len(sure)} names are of several groups, and each is one of its own: {said}"]


def _groups_in(name: str) -> set[str]:
    """The keys of the groups that a cell names."""
    return {group_key(part.strip(" '\"")) for part in _PARTED.split(name.strip("[] "))}


def _rows_of(groups: Groups, names: dict[str, str]) -> dict[str, list[object]]:
    """The rows of each group, under the name that `names` have for its key; new ones are added to these."""
    rows: dict[str, list[object]] = {}
    for row, group in groups.items():
        if not is_gap(group):
            key = group_key(str(group))
            rows.setdefault(names.setdefault(key, str(group)), []).append(row)
    return rows


def _some(places: Iterable[tuple[str, Mapping[str, list[object]]]], group: str) -> str:
    """The first rows of a group in two splits."""
    return " and ".join(
        f"{split} {', '.join(map(str, rows[group][:_ROWS_SHOWN]))}{', …' if len(rows[group]) > _ROWS_SHOWN else ''}"
        for split, rows in places
    )
