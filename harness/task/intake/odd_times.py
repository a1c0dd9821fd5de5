"""Times that programs write where none is known: told, since rows of them come first or last of all."""

import re
from collections.abc import Iterable

import pandas as pd

from harness.system.paths import listed
from harness.task.intake.moments import moments

_DATES = {(12, 31, 9999): "9999-12-31", (1, 1, 1900): "1900-01-01", (1, 1, 1970): "1970-01-01", (1, 1, 1): "0001-01-01"}
_WHOLE = {99991231: "99991231", 19000101: "19000101", 19700101: "19700101"}
_FUTURE = 2090  # a year that few times are of
_SINCE_1970 = {0: "0", -1: "-1"}
_EPOCH = 1e8  # seconds since 1970 of 1973; times that are meant are later


def odd_times(column: str, parts: Iterable[pd.Series], time_format: str | None) -> list[str]:
    """Return warnings about rows of all `parts` whose time is such a date, or one of 2090 or later, or 0 or -1 where
    others are seconds since 1970: if they are farther from all others than those are apart, or more than twice as many
    as of any other time.
    """
    cells = pd.concat(list(parts))
    values = pd.Series(moments("", column, cells, time_format).values, index=cells.index, dtype=float)
    told, names = list[str](), _names(cells)
    others = values[names.isna()]
    for name in names.dropna().unique():
        mine = values[names == name]
        if len(others) and (_is_far(mine, others) or len(mine) > 2 * others.value_counts().iloc[0]):
            place = "before" if mine.iloc[0] < others.median() else "after"
            said = f"{column} is {name}, as where no time is known, in {len(mine)} rows ({listed(mine.index)})"
            told.append(f"{said}: they come {place} the others, and are in no order that is known")
    return told


def _names(cells: pd.Series) -> pd.Series:
    """Return the description of each such time; none for others."""
    numbers = pd.to_numeric(cells, errors="coerce")
    if numbers.isna().any():
        return cells.map(_of_date)
    known = numbers[~numbers.isin(list(_SINCE_1970))]
    since = _SINCE_1970 if len(known) and known.min() > _EPOCH else {}
    to_come = numbers.between(_FUTURE * 10_000, 99991231)
    future = {number: f"{number:.0f}" for number in numbers[to_come]} if _days_of(numbers[~to_come]) else {}
    return numbers.map(lambda number: (future | _WHOLE | since).get(number))


def _days_of(numbers: pd.Series) -> bool:
    """Return whether they are days as 20240531."""
    return len(numbers) > 0 and bool(numbers.between(1800 * 10_000, _FUTURE * 10_000).all())


def _of_date(cell: object) -> str | None:
    parts = sorted(map(int, re.findall(r"\d+", str(cell))[:3]))
    if len(parts) != 3:
        return None
    known = _DATES.get((parts[0], parts[1], parts[2]))
    return known or (str(cell).strip()[:10] if _FUTURE <= parts[2] <= 9999 else None)


def _is_far(mine: pd.Series, others: pd.Series) -> bool:
    first, last, spread = others.min(), others.max(), others.max() - others.min()
    return bool(mine.max() < first - spread or mine.min() > last + spread)
