"""Labels that are numbers, however they are written: 1000 and 1,000, 1.5 and 1,5, −5 and -5, 50 % and 50%."""

import re
import unicodedata
from decimal import Decimal, InvalidOperation

_DASHES = re.compile(r"[\u2010-\u2015\u2212\ufe58\ufe63\uff0d](?=\s?[.,]?\d)")  # in ranges, too
_PARTED = re.compile(r"\d{1,3}(?:(?P<mark>[ ,.'’])\d{3})(?:(?P=mark)\d{3})*(?:[.,]\d+)?")
_WITH_UNIT = re.compile(
    r"(?P<sign>[^\w\s.,'’+-]?)\s*(?P<number>[+-]?(?:\d[\d .,'’]*|[.,]\d+)(?:e[+-]?\d+)?)\s*(?P<unit>\D*)"
)
_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?")


def number_readings(label: str) -> list[str]:
    """Return the numbers that a label in lower case may mean, with unit, the likelier first; empty if it means none.

    For `1,000` these are a thousand and one, for `1.000` one and a thousand.
    """
    text = _DASHES.sub("-", "".join(map(_digit, label))).replace("\u2044", "/")
    found = _WITH_UNIT.fullmatch(text)
    if found is None:
        return [text] if text != label else []
    readings = [value for form in _forms(found["number"].strip()) if (value := _value(form)) is not None]
    return list(dict.fromkeys(f"{found['sign']}{value}{found['unit'].strip()}" for value in readings))


def _forms(number: str) -> list[str]:
    """A number with a point before its decimals, as a comma and a point in it may mean it."""
    sign, digits = (number[0], number[1:]) if number[:1] in ("+", "-") else ("", number)
    parted = _PARTED.fullmatch(digits)
    if parted is None:
        return [sign + digits.replace(",", ".")]
    mark = parted["mark"]
    whole = digits.replace(mark, "").replace(",", ".")
    single = digits.count(mark) == 1 and len(digits.partition(mark)[2]) == 3
    decimal = digits.replace(",", ".")
    forms = {".": [decimal, whole], ",": [whole, decimal]}.get(mark, [whole]) if single else [whole]
    return [sign + form for form in forms]


def _value(form: str) -> str | None:
    if not _PLAIN.fullmatch(form):
        return None
    try:
        number = Decimal(form)
    except InvalidOperation:
        return None
    return str(number.normalize() + 0) if number.is_finite() else None


def _digit(character: str) -> str:
    """A digit of any script as one of ours."""
    return str(unicodedata.decimal(character)) if unicodedata.category(character) == "Nd" else character
