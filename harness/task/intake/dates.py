"""Dates as people write them: the format that every row of a column has, found or refused."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.labels import is_gap, is_no_label

_MARKS = (".", "/", "-", " ")
_DIGITS = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%Y{0}%m{0}%d", "%d{0}%m{0}%y", "%m{0}%d{0}%y", "%y{0}%m{0}%d")
_WORDS = (
    *("%d {0} %Y", "%d. {0} %Y", "%d-{0}-%Y", "%d/{0}/%Y", "{0} %d, %Y", "{0} %d %Y", "%Y-{0}-%d", "%Y {0} %d"),
    *("%d-{0}-%y", "%d {0} %y", "{0} %d, %y", "{0} %Y", "{0}-%Y", "%Y {0}", "%Y-{0}"),
    *("%a, %d {0} %Y", "%a {0} %d %Y", "%A, %d {0} %Y", "%A, {0} %d, %Y"),
)
_MONTHS = ("%m/%Y", "%Y/%m", "%m-%Y")
_TIMES = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %H:%M:%S %z", " %I:%M %p", " %I:%M:%S %p"),
    *(", %H:%M", ", %H:%M:%S", ", %I:%M %p"),
)
_FORMATS = (
    *(date.format(mark) + time for date in _DIGITS for mark in _MARKS for time in _TIMES),
    *(date.format(month) + time for date in _WORDS for month in ("%b", "%B") for time in _TIMES),
    *_MONTHS,
    "%a %b %d %H:%M:%S %z %Y",
    "%a %b %d %H:%M:%S %Y",
)
_ZONE = r" ([A-Z]{3,4})(?: \d{4})?$"  # as PDT; of one, which all rows have, the order is that of the times
_SAMPLE = 40  # cells that are looked at to find formats that may be
_PARTS = {"Q": "quarters", "W": "weeks", "H": "halves of years"}
_PART = re.compile(
    r"(?P<year>\d{4})[-/ ]?(?P<kind>[QWH])(?P<part>\d{1,2})|(?P<k>[QWH])(?P<p>\d{1,2})[-/ ]?(?P<y>\d{4})"
)


def iso_dates(cells: pd.Series) -> pd.Series:
    """Dates like 2024-05-31, with or without a time; others are none."""
    written = cells.map(lambda cell: None if is_gap(cell) or isinstance(cell, int | float) else str(cell))
    return pd.to_datetime(written, errors="coerce", utc=True, format="ISO8601")


def dates_by(texts: pd.Series, time_format: str) -> pd.Series:
    """Dates of a format; others are none."""
    return pd.to_datetime(texts, errors="coerce", utc=True, format=time_format)


def found_dates(where: str, column: str, cells: pd.Series, usual: Mapping[str, pd.Series]) -> tuple[pd.Series, str]:
    """Return the values that rows are ordered by, and the format that all of them have.

    `usual` names what cells other than dates of such a format are. Raises ConfigError, with the rows, if no format
    fits, or if several fit and give different dates.
    """
    texts = cells.map(lambda cell: None if is_gap(cell) or isinstance(cell, int | float) else str(cell).strip())
    if (parts := _parts_of_years(texts)) is not None:
        return parts
    found = {name: dates_by(texts, name) for name in _likely(texts)}
    whole = {name: dates for name, dates in found.items() if not dates.isna().any()}
    if not whole:
        kinds = {**usual, **{f"date of the format {name}": dates for name, dates in found.items()}}
        raise ConfigError(f"{where}: {_of_no_format(column, cells, kinds)}")
    (first, dates), *others = whole.items()
    for other, otherwise in others:
        if (odd := dates != otherwise).any():
            rows = listed(cells.index[odd])
            said = f"{column}, as {texts[odd].iloc[0]!r}, may be written {first} or {other} (rows {rows})"
            raise ConfigError(f'{where}: {said}; \'task.time_format="{first}"\' or "{other}" says which')
    return dates.astype("int64"), first


def _parts_of_years(texts: pd.Series) -> tuple[pd.Series, str] | None:
    found = [_PART.fullmatch(text.upper()) if isinstance(text, str) else None for text in texts]
    kinds = {(part["kind"] or part["k"]) if part else None for part in found}
    if len(kinds) != 1 or None in kinds:
        return None
    keys = [int(part["year"] or part["y"]) * 100 + int(part["part"] or part["p"]) for part in found if part]
    return pd.Series(keys, index=texts.index), _PARTS[str(kinds.pop())]


def _likely(texts: pd.Series) -> list[str]:
    """The formats that half of some cells have."""
    there = texts.dropna()
    some = there.iloc[np.linspace(0, len(there) - 1, min(_SAMPLE, len(there))).astype(int)]
    zones = set(there.str.extract(_ZONE, expand=False))
    zoned = [f"%a %b %d %H:%M:%S {zone} %Y" for zone in zones] + [
        f"{name} {zone}" for name in _FORMATS for zone in zones
    ]
    names = (*_FORMATS, *zoned) if len(zones) == 1 and not pd.isna(next(iter(zones))) else _FORMATS
    return [name for name in names if len(some) and dates_by(some, name).notna().sum() * 2 >= len(some)]


def _of_no_format(column: str, cells: pd.Series, kinds: Mapping[str, pd.Series]) -> str:
    """Describe the rows that differ from most others."""
    what, most = max(kinds.items(), key=lambda item: int(item[1].count()))
    bad = most.isna()
    said = f"{listed(cells.index[bad])}, as {_shown(cells[bad].iloc[0])}"
    rule = "task.time_format says how all are written, as '\"%d.%m.%Y %H:%M\"'"
    if all(is_gap(cell) or is_no_label(str(cell)) or str(cell).strip() == "NaT" for cell in cells[bad]):
        rule = "no key reads a row without a time: fill them, or take these rows out"
    if not most.count():
        return f"{column} is neither a number nor a date like 2024-05-31 in rows {said}; {rule}"
    others = [f"a {name} in rows {listed(cells.index[them])}" for name, them in _rest(kinds, bad).items()]
    beside = f" ({', '.join(others)})" if others else ""
    return f"{column} is a {what} in {most.count()} rows, and none in rows {said}{beside}; {rule}"


def _rest(kinds: Mapping[str, pd.Series], bad: pd.Series) -> dict[str, pd.Series]:
    """Return the kinds of the rows that differ from most others."""
    found = {}
    for name, values in kinds.items():
        if (mine := bad & values.notna()).any():
            found[name] = mine
            bad = bad & ~mine
    return found


def _shown(cell: object) -> str:
    return "an empty cell" if is_gap(cell) else repr(str(cell)[:40])
