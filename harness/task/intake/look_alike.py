"""Names that look alike, or were one before a program changed them: other scripts, dashes, entities of HTML."""

import contextlib
import html
import unicodedata

_DASHES = dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63, 0xFF0D), "-")
_QUOTES = dict.fromkeys((0x2018, 0x2019, 0x02BC), "'") | dict.fromkeys((0x201C, 0x201D, 0x201E), '"')
_CYRILLIC = str.maketrans(
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455",
    "ABEKMHOPCTYXIJSaeopcyxijs",
)
_GREEK = str.maketrans(
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf", "ABEZHIKMNOPTYXo"
)
LATIN = _CYRILLIC | _GREEK
"""Letters of other scripts, as the Latin ones that look the same."""
SELECTORS = dict.fromkeys(range(0xFE00, 0xFE10), "")
"""Characters that choose one of two pictures of the one before, as of an emoji."""
_ACCENTS = dict.fromkeys(range(0x300, 0x370), "")
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBERS = {word: str(number) for number, word in enumerate(_WORDS)}


def repaired(name: str) -> str:
    """A name as it was before it was read in a wrong encoding, or written as HTML; with plain dashes and quotes."""
    for encoding in ("cp1252", "latin-1"):
        with contextlib.suppress(UnicodeError):
            name = name.encode(encoding).decode("utf-8")
            break
    return html.unescape(name).translate(_DASHES | _QUOTES)


def without_accents(text: str) -> str:
    """A text with its letters alone, without the accents of Latin, Greek and Cyrillic ones."""
    return text if text.isascii() else unicodedata.normalize("NFKD", text).translate(_ACCENTS)


def drawn_as(name: str) -> str:
    """Return a name's appearance, in Latin letters for look-alikes of another script."""
    return unicodedata.normalize("NFKC", repaired(name)).translate(SELECTORS).translate(LATIN)


def shape_of(name: str) -> str:
    """Return a name's appearance without case; a small number in words becomes its digits."""
    shape = " ".join(drawn_as(name).split()).casefold()
    return _NUMBERS.get(shape, shape)
