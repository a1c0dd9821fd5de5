"""Points in time out of the cells of a column: numbers or dates, and what may be one or the other refused."""

import dataclasses
import datetime
import itertools
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.cuts import SplitRows, by_time
from harness.task.intake.dates import dates_by, found_dates, iso_dates
from harness.task.intake.scales import refuse_scales
from harness.task.intake.short_dates import refuse_short_dates

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
_ZONE = re.compile(r"[T ]\d{1,2}(?::?\d{2})?\S*?\s?(?:Z|[+-]\d{2}(?::?\d{2})?)$", re.IGNORECASE)
"""Of dates like 2024-05-31T10:00+02:00; the time before it keeps the day of 2024-05-31 apart."""
_DECIMAL = re.compile(r"[+-]?\d+\.(\d+)")


@dataclasses.dataclass(frozen=True)
class Moments:
    """The sort key of each row's time; and how times are read, if in an unusual way."""

    values: list[object]
    how: str = ""


def cut_by_time(
    where: str, column: str, cells: pd.Series, shares: Mapping[str, float], time_format: str | None
) -> tuple[SplitRows, dict[str, str]]:
    """The latest rows held out, and the first and the last time of each split that has rows, as they are written.

    Raises ConfigError for times whose order is not certain.
    """
    found = moments(where, column, cells, time_format)
    values, how = np.asarray(found.values), f", read as {found.how}" if found.how else ""
    parts, told = by_time(found.values, shares), {}
    if len(cells) and not len(parts["train"]):
        raise ConfigError(f"{where}: {_none_to_train_on(column, cells, shares)}")
    for split, places in parts.items():
        if len(places):
            first, last = (cells.iloc[places[at(values[places])]] for at in (np.argmin, np.argmax))
            told[split] = f"{first} to {last}{how}"
    return parts, told


def _none_to_train_on(column: str, cells: pd.Series, shares: Mapping[str, float]) -> str:
    """The message for times whose rows would all be held out."""
    times = cells.astype(str).value_counts(sort=False)
    said = listed(f"{time} of {count} rows" for time, count in times.items())
    rule = f"a smaller {' or '.join(f'task.{split}_share' for split in shares)}"
    if len(times) <= len(shares):
        rule = "task.time=null draws the rows; or give held-out rows in files, task.validation and task.test"
    return f"task.time={column}: none is left to train on: rows of one time stay together, and there are {said}; {rule}"


def moments(where: str, column: str, cells: pd.Series, time_format: str | None = None) -> Moments:
    """Points in time as numbers, or dates; never mixed. Raises ConfigError, with the rows, for others, and for those
    that may be in another order; `time_format`, `number` or as strptime has it, settles it, and so
    does `plain`: numbers, or dates like 2024-05-31 in UTC where no zone is said, as a former study was cut.
    """
    numbers = _numbers(cells)
    if time_format == "number":
        if (bad := numbers.isna()).any():
            said = f"{column} is no number in rows {listed(cells.index[bad])}, as {cells[bad].iloc[0]!r}"
            raise ConfigError(f"{where}: {said}; task.time_format=number")
        return Moments(numbers.tolist())
    plain = time_format == "plain"
    if time_format is not None and not plain:
        return Moments(_by_format(where, column, cells, time_format))
    if not numbers.isna().any():
        if not plain:
            _refuse_dates(where, column, [_written(cell) for cell in cells])
            refuse_short_dates(where, column, [str(cell).removesuffix(".0") for cell in cells])
            refuse_scales(where, column, numbers)
        return Moments(numbers.tolist())
    if not (dates := iso_dates(cells)).isna().any():
        if not plain:
            _refuse_zones(where, column, cells)
        return Moments(list(dates.astype("int64")))
    order, how = found_dates(where, column, cells, {"number": numbers, "date like 2024-05-31": dates})
    return Moments(order.tolist(), how)


def _refuse_zones(where: str, column: str, cells: pd.Series) -> None:
    """Raise ConfigError, with the rows, where only some times have a zone: the others' is not known."""
    zoned = cells.map(lambda cell: _ZONE.search(str(cell)) is not None)
    if zoned.all() or not zoned.any():
        return
    said = [f"rows {listed(cells.index[mine])}, as {str(cells[mine].iloc[0])!r}" for mine in (zoned, ~zoned)]
    rule = "write all of them with one, or none"
    raise ConfigError(f"{where}: {column} has a zone in {said[0]}, and none in {said[1]}; {rule}")


def _by_format(where: str, column: str, cells: pd.Series, time_format: str) -> list[object]:
    texts = cells.map(_written)
    if not re.search(r"[^%\w]|%%", time_format):  # digits alone, of which a number has lost the first
        wide = len(datetime.datetime(2000, 12, 31).strftime(time_format))
        texts = texts.map(lambda text: text.zfill(wide) if text.isdigit() else text)
    try:
        dates = dates_by(texts, time_format)
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(f"task.time_format={time_format}: {error}") from None
    if (bad := dates.isna()).any():
        said = f"{column} is not so written in {bad.sum()} rows ({listed(cells.index[bad])}), as {cells[bad].iloc[0]!r}"
        raise ConfigError(f"{where}: task.time_format={time_format}: {said}")
    return list(dates.astype("int64"))


def _numbers(cells: pd.Series) -> pd.Series:
    return pd.to_numeric(cells, errors="coerce").replace([np.inf, -np.inf], np.nan)


def _written(cell: object) -> str:
    """A number as it was written; a file may hold 6.2020 as 6.202, and 31.10 as 31.1."""
    if not isinstance(cell, float):
        return str(cell).strip()
    for text, what in ((f"{cell:.4f}", "months"), (f"{cell:.2f}", "days without a year")):
        if float(text) == cell and _DATES[what].fullmatch(text):
            return text
    return f"{cell:.15g}"


def _refuse_dates(where: str, column: str, cells: list[str]) -> None:
    """Raise ConfigError where numbers are ordered differently from the dates they may stand for."""
    rule = "write dates like 2024-05-31, months like 2024-05, or plain numbers; or say what they are by "
    rule += "task.time_format, as %m.%Y, or number, which takes them as numbers"
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
    """Two possible dates whose earlier one is not the smaller number."""
    parts = [{name: int(value) for name, value in date.groupdict().items()} for date in dates]
    keys = [tuple(part.get(name, 0) for name in ("year", "month", "day")) for part in parts]
    order = sorted({(float(date[0]), key, date[0]) for date, key in zip(dates, keys, strict=True)})
    for (number, key, text), (next_number, next_key, next_text) in itertools.pairwise(order):
        if next_key < key or (next_number == number and next_key != key):
            return text, next_text
    return None
