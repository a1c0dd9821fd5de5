"""Labels that are numbers: how their points and commas are read, and the warnings about them."""

import math
import re
from collections.abc import Mapping, Sequence

from harness.config import ConfigError
from harness.system.paths import listed

_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}\.\d{3}")


def without_unit(cells: Mapping[object, object]) -> tuple[dict[object, object], str]:
    """Numbers without the unit that stands beside every one of them, as in $4,399 or 45 %, and where it stands; empty
    where there is none.
    """
    parts = {row: _MEASURED.fullmatch(str(cell).strip()) for row, cell in cells.items() if isinstance(cell, str)}
    units = {(found[2].strip(), found[4].strip()) for found in parts.values() if found}
    if len(units) != 1 or len(parts) < len(cells) or not all(parts.values()):
        return dict(cells), ""
    marks = zip(units.pop(), ("before", "behind"), strict=True)
    numbers = {row: f"{found[1]}{found[3]}" for row, found in parts.items() if found}
    return {**numbers}, " and ".join(f"{mark!r} {where} them" for mark, where in marks if mark)


def number_labels(
    where: str, name: str, cells: Mapping[object, object], *, decimal_comma: bool, decimal: str | None = None
) -> list[str]:
    """Labels that are numbers, as text. Raises ConfigError, with their rows, for others.

    With `decimal_comma`, a comma is one where no label has a point. All with three digits behind it may be
    thousands, and are refused, as are whole numbers beside some with a point and three digits. `decimal` settles it.
    """
    labels = written = [str(cell) for cell in cells.values()]
    if decimal is not None:
        labels = [_with_point(cell, decimal) if isinstance(cell, str) else str(cell) for cell in cells.values()]
    elif decimal_comma:
        _refuse_thousands(where, name, cells)
    commas = [label for label in labels if "," in label]
    thousands = all(_MAY_BE_PARTED.fullmatch(label.strip()) for label in commas)  # 0,143 is none
    if decimal is None and decimal_comma and not thousands and not any("." in label for label in labels):
        labels = [label.replace(",", ".") for label in labels]
    bad = [(row, cell) for row, cell, label in zip(cells, written, labels, strict=True) if not _is_number(label)]
    if bad:
        rule = _number_rule(bad[0][1], bool(commas), bool(commas) and thousands)
        rows = listed(row for row, _ in bad)
        raise ConfigError(f"{where}: {name} is no number in {len(bad)} rows ({rows}), as {bad[0][1][:40]!r}{rule}")
    return labels


def _number_rule(label: str, commas: bool, thousands: bool) -> str:
    """Describe how a label that is no number would be read; `thousands` may be what all commas separate."""
    if (parts := _MEASURED.fullmatch(label.strip())) and (
        around := [part.strip() for part in (parts[2], parts[4]) if part.strip()]
    ):
        return f"; {' and '.join(map(repr, around))} beside it is not beside every number: all of one unit are read"
    if not commas or label.strip(_OF_NUMBERS):
        return ""
    if thousands:
        what = "with three digits behind each comma it may part thousands"
        return f"; {what}; 'task.labels.decimal=\",\"' reads it as decimal, task.labels.decimal=. as that of thousands"
    if "." in label:
        mark = max(",.", key=label.rfind)
        return (
            f"; 'task.labels.decimal=\"{mark}\"' reads its {'comma' if mark == '.' else 'point'} as that of thousands"
        )
    rule = "a decimal comma is read where no label has a point, and the separator is another"
    return f"; {rule}; task.labels.decimal says which of them it is"


_MEASURED = re.compile(r"([+-]?)([^\d.,+-]*)([+-]?[\d.,']*\d)(\D*)")  # a number with what it is of: $4,399, 45 %, 2 kg
_OF_NUMBERS = "+-.,0123456789"


def _with_point(number: str, decimal: str) -> str:
    """A number with a point before its decimals, without what parts its thousands."""
    mark = "," if decimal == "." else "."
    plain = number.strip()
    parted = re.fullmatch(rf"([+-]?\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+)({re.escape(decimal)}\d*)?", plain)
    whole = parted[1].replace(mark, "") + (parted[2] or "") if parted else plain
    return whole if mark in whole else whole.replace(decimal, ".")


def _refuse_thousands(where: str, name: str, cells: Mapping[object, object]) -> None:
    """Raise ConfigError where some numbers have a point and three digits, and all others are whole and below 1000."""
    if not all(isinstance(cell, str) and _PARTED_OR_WHOLE.fullmatch(cell.strip()) for cell in cells.values()):
        return
    rows = [row for row, cell in cells.items() if "." in str(cell)]
    if 0 < len(rows) < len(cells):
        rule = "task.labels.decimal=. reads the point as decimal, 'task.labels.decimal=\",\"' as that of thousands"
        first = str(cells[rows[0]])
        raise ConfigError(
            f"{where}: {name}, as {first}, may have thousands in {len(rows)} rows ({listed(rows)}); {rule}"
        )


_MAY_BE_PARTED = re.compile(r"[^,]*[1-9][^,]*,\d{3}")
_PARTED_OR_WHOLE = re.compile(r"-?(?:[1-9]\d{0,2}(?:\.\d{3})?|0)")
_CODES = ((77, 88, 99), (97, 98, 99), (777, 888, 999), (997, 998, 999))
_MISSING = (*(-(10**n - 1.0) for n in range(1, 6)), *(10**n - 1.0 for n in range(3, 6)), -1.0)


def odd_numbers(
    name: str, cells: Sequence[object], labels: Sequence[str], comma: bool, *, settled: bool = False
) -> list[str]:
    """Return warnings about numbers: how commas and points are read, and a number far from all others, as is written
    for a missing one. With `comma`, another separator than commas parts the columns; `settled` is the decimal point.
    """
    told = []
    if settled:
        pass
    elif any("," in str(cell) for cell in cells):
        told.append(f"the comma in numbers of {name} is read as a decimal point")
    elif comma and all(isinstance(cell, str) and _THOUSANDS.fullmatch(cell.strip()) for cell in cells):
        told.append(f"the point in numbers of {name}, which all have three digits behind it, is a decimal point")
    numbers = sorted(map(float, labels))
    for value in {numbers[0], numbers[-1]} & set(_MISSING) if numbers else ():
        rest = [number for number in numbers if number != value]
        count = len(numbers) - len(rest)
        if count > 1 and len(set(rest)) > 1 and min(abs(value - rest[0]), abs(value - rest[-1])) > rest[-1] - rest[0]:
            told.append(f"{value:g} ({count} rows) is far from all other numbers of {name}: is a number missing there?")
    return told + _survey_codes(name, numbers)


def _survey_codes(name: str, numbers: Sequence[float]) -> list[str]:
    """Return warnings about two or three numbers that mean no answer in surveys, as 77, 88 and 99 beside 0 to 10."""
    for codes in _CODES:
        counts = {code: numbers.count(code) for code in codes if code in numbers}
        rest = [number for number in numbers if number not in codes]
        if len(counts) > 1 and rest and min(counts) - rest[-1] > max(rest[-1] - rest[0], rest[-1]):
            said = listed(f"{code} ({count} rows)" for code, count in counts.items())
            rule = "where it is none, empty these cells, and task.gaps=leave_out leaves them out"
            return [
                f"{said} are far from all other numbers of {name}, as surveys write that there is no answer; {rule}"
            ]
    return []


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label)) and "_" not in label and label.strip().isascii()
    except ValueError:
        return False
