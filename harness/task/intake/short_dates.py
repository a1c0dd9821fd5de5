"""Dates of digits alone whose year is short or missing, as 311220 and 3112: numbers in another order than theirs."""

import pandas as pd

from harness.config import ConfigError
from harness.task.intake.dates import dates_by

_FORMATS = {"%d%m%y": "%y%m%d", "%m%d%y": "%y%m%d", "%d%m": "%y%m"}
"""How they may be written, and what else that may be, whose order is that of numbers."""
_SURE = 20  # different numbers that are all dates by more than chance, where none begins with 0
_YEARS = (1970, 2040)
_LATEST = 27  # a year of two digits up to which times are expected


def refuse_short_dates(where: str, column: str, cells: list[str]) -> None:
    """Raise ConfigError where whole numbers are all dates of such a format, in another order."""
    texts = pd.Series(sorted(set(cells), key=lambda cell: (len(cell), cell)), dtype=object)
    if not texts.map(lambda text: text.isascii() and text.isdigit()).all():
        return
    for written, otherwise in _FORMATS.items():
        padded = texts.str.zfill(2 * written.count("%"))
        if _are_dates(texts, padded, written) and not _are_rather(padded, otherwise):
            dates = _dates(padded, written)
            places = [at for at in range(1, len(dates)) if dates[at] < dates[at - 1]]
            if places:
                earlier, later = texts[places[0] - 1], texts[places[0]]
                rule = f"'task.time_format=\"{written}\"' reads them so, number takes them as plain numbers"
                said = f"{earlier} and {later}, may be days written {written} and no numbers, whose order is another"
                raise ConfigError(f"{where}: {column}, as {said}; {rule}")


def _dates(padded: pd.Series, written: str) -> pd.Series:
    """Dates; those without a year of one that has a 29 February."""
    return dates_by(padded, written) if "%y" in written else dates_by(padded + "2000", f"{written}%Y")


def _are_dates(texts: pd.Series, padded: pd.Series, written: str) -> bool:
    wide = 2 * written.count("%")
    if (padded.str.len() != wide).any() or (texts.str.len() < wide - 1).any():
        return False
    has_zeros = texts.str.startswith("0").any() and (texts.str.len() == wide).all()
    dates = _dates(padded, written)
    return bool((has_zeros or len(texts) >= _SURE) and dates.dt.year.between(*_YEARS).all())


def _are_rather(padded: pd.Series, otherwise: str) -> bool:
    """Return whether they are dates of the other format, too, without a future year, and without more years than days,
    unless all are at the beginning, the middle or the end of a month.
    """
    first, last = (padded.str[place].astype(int) for place in (slice(2), slice(-2, None)))
    if dates_by(padded, otherwise).isna().any() or ((first > _LATEST) & (first < 50)).any():
        return False
    usual = last.isin((1, 15, *range(28, 32))).all()
    return bool("%d" not in otherwise or usual or last.max() - last.min() >= first.max() - first.min())
