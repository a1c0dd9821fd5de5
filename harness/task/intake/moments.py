"""Points in time out of the cells of a column: numbers or dates, and what is one or the other refused."""

import itertools
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.labels import is_gap

_MONTH = r"(?P<month>0?[1-9]|1[0-2])"
_DAY = r"(?P<day>0?[1-9]|[12]\d|3[01])"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_DATES = {
    "months": re.compile(rf"{_MONTH}\.?{_YEAR}"),
    "days": re.compile(rf"{_DAY}{_MONTH}{_YEAR}"),
    "days behind their months": re.compile(rf"{_MONTH}{_DAY}{_YEAR}"),
    "days without a year": re.compile(rf"{_DAY}\.(?P<month>0[1-9]|1[0-2])"),
    "months or weeks of a year": re.compile(rf"{_YEAR}\.(?P<month>[0-4]?\d|5[0-3])"),
}
"""What numbers may stand for, and how those are written then."""
_DECIMAL = re.compile(r"[+-]?\d+\.(\d+)")


def moments(where: str, column: str, cells: pd.Series) -> list[object]:
    """Points in time as numbers, or dates; never mixed. Raises ConfigError, with the rows, for others, and for numbers
    that may be dates in another order.
    """
    numbers = _numbers(cells)
    if not numbers.isna().any():
        _refuse_dates(where, column, [_written(cell) for cell in cells])
        return numbers.tolist()
    dates = _dates(cells)
    bad = numbers.isna() if numbers.count() > dates.count() else dates.isna()
    if bad.any():
        rows = listed(cells.index[bad])
        raise ConfigError(f"{where}: {column} is neither a number nor a date like 2024-05-31 in rows {rows}")
    return list(dates.astype("int64"))


def _numbers(cells: pd.Series) -> pd.Series:
    return pd.to_numeric(cells, errors="coerce").replace([np.inf, -np.inf], np.nan)


def _dates(cells: pd.Series) -> pd.Series:
    written = cells.map(lambda cell: None if is_gap(cell) or isinstance(cell, int | float) else str(cell))
    return pd.to_datetime(written, errors="coerce", utc=True, format="ISO8601")


def _written(cell: object) -> str:
    """A number as it was written; a file may hold 6.2020 as 6.202, and 31.10 as 31.1."""
    if not isinstance(cell, float):
        return str(cell).strip()
    for text, what in ((f"{cell:.4f}", "months"), (f"{cell:.2f}", "days without a year")):
        if float(text) == cell and _DATES[what].fullmatch(text):
            return text
    return f"{cell:.15g}"


def _refuse_dates(where: str, column: str, cells: list[str]) -> None:
    """Raise ConfigError where the order of numbers is not that of what they may stand for."""
    rule = "write dates like 2024-05-31, months like 2024-05, or plain numbers"
    for what, written in _DATES.items():
        found = [match for cell in cells if (match := written.fullmatch(cell))]
        if len(found) == len(cells) and (odd := _out_of_order(found)):
            said = f"{odd[0]} and {odd[1]}, may be {what} and not numbers, whose order is another"
            raise ConfigError(f"{where}: {column}, as {said}; {rule}")
    ends = {parted[1]: cell for cell in cells if (parted := _DECIMAL.fullmatch(cell))}
    if len(set(map(len, ends))) > 1 and (odd_ends := [end for end in ends if len(end) > 1 and end.endswith("0")]):
        said = f"{ends[odd_ends[0]]} beside {next(ends[end] for end in ends if len(end) != len(odd_ends[0]))}"
        raise ConfigError(f"{where}: {column}, as {said}, may be counted behind the point, and no number; {rule}")


def _out_of_order(dates: list[re.Match[str]]) -> tuple[str, str] | None:
    """Two of what may be dates, of which the earlier is not the smaller number."""
    parts = [{name: int(value) for name, value in date.groupdict().items()} for date in dates]
    keys = [tuple(part.get(name, 0) for name in ("year", "month", "day")) for part in parts]
    order = sorted({(float(date[0]), key, date[0]) for date, key in zip(dates, keys, strict=True)})
    for (number, key, text), (next_number, next_key, next_text) in itertools.pairwise(order):
        if next_key < key or (next_number == number and next_key != key):
            return text, next_text
    return None


def ranges(cells: Mapping[str, pd.Series]) -> dict[str, str]:
    """The first and the last time of each split that has rows, as they are written; all are numbers, or dates."""
    found = {}
    for split, mine in cells.items():
        if len(mine):
            numbers = _numbers(mine)
            order = np.argsort((_dates(mine) if numbers.isna().any() else numbers).to_numpy(), kind="stable")
            found[split] = f"{mine.iloc[order[0]]} to {mine.iloc[order[-1]]}"
    return found
