"""Numbers that stand for times on several scales, as seconds beside milliseconds, so that they do not sort by time."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from harness.config import ConfigError
from harness.system.paths import listed

_EPOCHS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
_NOT_KNOWN = (0.0, -1.0)  # where a time is missing
_YEARS = (1800, 2100)


def refuse_scales(where: str, column: str, numbers: pd.Series) -> None:
    """Raise ConfigError, with the rows of each scale, where every number is a time on one, and none has them all."""
    rule = "task.time_format=number takes them as plain numbers"
    _refuse_short_years(where, column, numbers)
    known = numbers[~numbers.isin(_NOT_KNOWN)]
    masks = {name: found for name, is_on in _SCALES.items() if (found := is_on(known)).any()}
    if not masks or not np.any(list(masks.values()), axis=0).all() or any(found.all() for found in masks.values()):
        return
    rest, said = pd.Series(True, index=known.index), []
    for name, found in sorted(masks.items(), key=lambda item: -int(item[1].sum())):
        if (mine := found & rest).any():
            said.append(f"{name}, as {known[mine].iloc[0]:.15g} (rows {listed(known.index[mine])})")
            rest &= ~found
    raise ConfigError(
        f"{where}: {column} is on several scales, whose order is not that of times: {', and '.join(said)}; "
        f"write all as dates like 2024-05-31; {rule}"
    )


def _refuse_short_years(where: str, column: str, numbers: pd.Series) -> None:
    """Raise ConfigError for 98, 99, 00, 01: the end of one century and the beginning of the next, nothing between."""
    if not (_whole(numbers) & numbers.between(0, 99)).all():
        return
    late, early = numbers.between(60, 99), numbers.between(0, 40)
    if late.any() and early.any() and (late | early).all() and numbers.nunique() > 2:
        ends = [(numbers[mine].min(), numbers[mine].max(), numbers.index[mine]) for mine in (late, early)]
        rows = ", ".join(f"{first:02.0f} to {last:02.0f} in rows {listed(index)}" for first, last, index in ends)
        rule = "'task.time_format=\"%y\"' reads them so, number takes them as plain numbers"
        raise ConfigError(f"{where}: {column} may be years of two digits of two centuries ({rows}); {rule}")


def _whole(numbers: pd.Series) -> pd.Series:
    return numbers % 1 == 0


def _years(numbers: pd.Series) -> pd.Series:
    return _whole(numbers) & numbers.between(*_YEARS)


def _months(numbers: pd.Series) -> pd.Series:
    return _whole(numbers) & _years(numbers // 100) & (numbers % 100).between(1, 12)


def _days(numbers: pd.Series) -> pd.Series:
    return _whole(numbers) & _months(numbers // 100) & (numbers % 100).between(1, 31)


def _seconds_of_days(numbers: pd.Series) -> pd.Series:
    return _whole(numbers) & _days(numbers // 1e6)


def _epoch(unit: float) -> Callable[[pd.Series], pd.Series]:
    return lambda numbers: numbers.between(1e8 * unit, 4.2e9 * unit)  # 1973 to 2103


_SCALES: dict[str, Callable[[pd.Series], pd.Series]] = {
    **{f"{name} since 1970": _epoch(unit) for name, unit in _EPOCHS.items()},
    "years": _years,
    "months, YYYYMM": _months,
    "days, YYYYMMDD": _days,
    "times, YYYYMMDDhhmmss": _seconds_of_days,
    "days of a spreadsheet": lambda numbers: numbers.between(20_000, 80_000),  # 1954 to 2119
}
