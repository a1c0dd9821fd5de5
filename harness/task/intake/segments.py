"""Columns of a table of files that select a part of each row's file: they are not read, and a warning says so."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from harness.config import ConfigError
from harness.task.intake.labels import is_gap
from harness.task.intake.table import Table

_UNITS = ("", "s", "sec", "seconds", "time", "times", "ms", "frame")
_BEGINS = {f"{name}{unit}" for name in ("start", "begin", "onset", "offset", "segmentstart", "tmin") for unit in _UNITS}
_ENDS = {f"{name}{unit}" for name in ("end", "stop", "duration", "segmentend", "tmax", "offset") for unit in _UNITS}
_BOX = re.compile("(bbox|boundingbox|box|roi)(.*)")
_CORNERS = frozenset(
    (*("xmin", "ymin", "xmax", "ymax", "x0", "y0", "x1", "y1", "x2", "y2"), *("xtl", "ytl", "xbr", "ybr"))
) | {"left", "top", "right", "bottom"}
_SIDES = frozenset(("", "es", "x", "y", "w", "h", "width", "height"))
_WITH_SIDES = [
    {across, down, *sides}
    for across, down in (("x", "y"), ("left", "top"), ("xmin", "ymin"))
    for sides in (("w", "h"), ("width", "height"))
]


@dataclasses.dataclass(frozen=True)
class FileParts:
    """The parts of a file that a row may be: `columns` finds the columns that say which `part` of a `whole` it is."""

    whole: str
    part: str
    columns: Callable[[Table], Sequence[str]]


def of_parts(parts: FileParts, where: str, table: Table, digests: Iterable[str], *, settled: bool) -> list[str]:
    """Return warnings about columns of parts, `digests` being of rows' files; empty if each is the whole file.

    Raises ConfigError, unless it is `settled`, where rows are parts of one file: each would be the whole of it.
    """
    if not (columns := parts.columns(table)):
        return []
    every = list(digests)
    names = " and ".join([*filter(None, [", ".join(columns[:-1])]), columns[-1]])
    verb = "are" if len(columns) > 1 else "is"
    said = f"column{'s' * (len(columns) > 1)} {names} {verb} not read: a row is the whole of its {parts.whole}"
    if len(set(every)) < len(every) and not settled:
        files = f"{len(every)} rows are of {len(set(every))} {parts.whole}s"
        rule = f"write each {parts.part} to a file of its own, or leave these columns out"
        once = f"task.duplicates=first takes a {parts.whole} once, with its first label"
        raise ConfigError(f"{where}: {said}, and {files}; {rule}; {once}")
    return [said]


def _segments(table: Table) -> list[str]:
    """The column where a segment begins and the one where it ends, or says how long it is."""
    named = _named(table)
    begin = next((place for name, place in named.items() if name in _BEGINS), None)
    if begin is None or _are_zero(table.frame.iloc[:, begin]):
        return []
    ends = [place for name, place in named.items() if name in _ENDS and place != begin]
    return [str(table.frame.columns[place]) for place in (begin, *ends[:1])] if ends else []


def _boxes(table: Table) -> list[str]:
    """The columns that say where in a picture something is: corners, a corner and sides, or one of a usual name."""
    named = _named(table)
    marked = [
        place for name, place in named.items() if (found := _BOX.fullmatch(name)) and found[2] in _CORNERS | _SIDES
    ]
    corners = [place for name, place in named.items() if name in _CORNERS]
    sides = next((names for names in _WITH_SIDES if names <= named.keys()), ())
    places = marked or (corners if len(corners) > 3 else sorted(named[name] for name in sides))
    return [str(table.frame.columns[place]) for place in places]


SEGMENTS = FileParts("recording", "segment", _segments)
BOXES = FileParts("picture", "box", _boxes)


def _named(table: Table) -> dict[str, int]:
    """The place of each column by the letters and digits of its name, without a unit in brackets."""
    names = [re.sub(r"\(.*\)", "", str(name)).casefold() for name in table.frame.columns]
    return {re.sub(r"[\W_]", "", name): place for place, name in enumerate(names)}


def _are_zero(cells: pd.Series) -> bool:
    numbers = pd.to_numeric(cells[[not is_gap(cell) for cell in cells]], errors="coerce")
    return bool(len(numbers)) and bool((numbers == 0).all())
