"""The number that is a text's final answer, as English, European and LaTeX texts write numbers."""

import re
from decimal import Decimal
from fractions import Fraction

_MARKED = re.compile(r"####(.*)")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_BLANKS = "[ \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}'\N{RIGHT SINGLE QUOTATION MARK}]"
_COMMAS = r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?!\d)"  # also the Indian 1,00,000
_DIGITS = "|".join(
    [
        r"[1-9]\d{0,2}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})(?![.,]?\d)",  # 1.250,50 and 1.250.000
        rf"[1-9]\d{{0,2}}(?:{_BLANKS}\d{{3}})+(?!\d)(?:[.,]\d+)?",  # 1 250.50 and 1 250,50
        rf"{_COMMAS}(?:\.\d+)?",
        r"(?<!\d,)\d+,\d+(?![.,]?\d)",  # 2,5; but 1,2,3 are several numbers
        r"\d+(?:\.\d+)?|\.\d+",
    ]
)
_FRACTION = re.compile(rf"\\[dt]?frac\s*(?:\{{(-?(?:{_DIGITS}))\}}|(\d))\s*(?:\{{({_DIGITS})\}}|(\d))")
_THIN = re.compile(r"\\[,!;]|\\(?=\$)")  # what LaTeX writes inside a number, and before a dollar sign
# The degree of an angle, and the power of a unit or a variable, belong to no number.
_RAISED = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|(?<=[A-Za-z])(\}?)\s*\^\s*(?:\{-?\d+\}|-?\d+)")
# Between factors, dividend and divisor, base and exponent; a star only beside numbers, as it marks lists and bold type.
_OPERATOR = (
    r"\\(?:times|cdot|div)|[\^\N{MULTIPLICATION SIGN}\N{DOT OPERATOR}\N{DIVISION SIGN}]"
    r"|(?<=[\d%)])\*{1,2}(?=[\d($])|(?<=[\d%)] )\*(?= [\d($])"
)
_NUMBER = re.compile(
    r"(?P<date>(?<!\d)(?:\d{4}-\d\d-\d\d|\d\d?-\d\d?-\d{4})(?!\d))"
    rf"|(?P<head>(?:{_OPERATOR}|/|(?<=\d)\.|\\(?:[dt]?frac|sqrt)\s*[\[{{]|[}}\]]\s*\{{)[ ({{]*)?"
    r"(?P<sign>(?:(?<![\w)\]])-)?)\$?"  # behind a digit, a letter or a bracket it is a dash or a subtraction
    rf"(?:(?P<whole>{_DIGITS}) +(?=(?:{_DIGITS})/\d))?"
    rf"(?P<above>(?:{_DIGITS})(?:[eE][+-]?\d{{1,3}}(?!\d))?)(?: ?/ ?(?P<below>{_DIGITS}))?"
    rf"(?P<tail>(?=\\?%?[ )}}]*(?:{_OPERATOR})|\.\d| ?/ ?\d|[\xb2\xb3\xb9\u2070-\u2079]| *\\(?:[dt]?frac|sqrt|pi)\b))?"
)


def number_in(text: str) -> str | None:
    r"""The number behind GSM8K's mark `####`, else in the last `\boxed{}`, else the last of the text; 72.0 is 72.

    Three digits behind a comma, a blank or an apostrophe are thousands; else a comma is a decimal one. None where the
    number that is taken is a part of a date, a power or a product.
    """
    plain = _RAISED.sub(r"\1", _THIN.sub("", text.replace("\N{MINUS SIGN}", "-").replace("{,}", ",")))
    apart = re.sub(r"(?<=\d)(?=\\[dt]?frac)", " ", plain)  # the two parts of a mixed number
    plain = _FRACTION.sub(lambda found: f"{found[1] or found[2]}/{found[3] or found[4]}", apart)
    marked, boxed = _MARKED.search(plain), _BOXED.findall(plain)
    for part in (*([marked[1]] if marked else ()), *boxed[-1:]):
        if found := _NUMBER.search(part):
            return _in_digits(found)
    found_all = list(_NUMBER.finditer(plain))
    return _in_digits(found_all[-1]) if found_all else None


def _in_digits(found: re.Match[str]) -> str | None:
    if found["date"] or found["head"] or found["tail"] is not None:
        return None
    whole, above, below = (found["whole"] or "0", found["above"], found["below"] or "1")
    try:
        size = Fraction(_plain(whole)) + Fraction(_plain(above)) / Fraction(_plain(below))
        value = -size if found["sign"] else size
        if value.denominator == 1:
            return str(value.numerator)
        return f"{Decimal(value.numerator) / Decimal(value.denominator):f}"
    except (ZeroDivisionError, ValueError):  # of more digits than Python reads
        return None


def _plain(digits: str) -> str:
    """Normalise a number for Python: without thousands separators, with a decimal point."""
    digits = re.sub(_BLANKS, "", digits)
    if re.match(_COMMAS, digits):
        return digits.replace(",", "")
    if "," in digits or digits.count(".") > 1:
        digits = digits.replace(".", "")
    return digits.replace(",", ".")
