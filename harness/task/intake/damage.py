"""Texts that were read in a wrong encoding before they came here: accents as two signs, signs of replacement."""

import contextlib
import re
from collections.abc import Mapping

from harness.system.paths import listed

_BEHIND = re.escape(bytes(range(0x80, 0xC0)).decode("cp1252", "ignore"))  # the second bytes of UTF-8
_TWO_SIGNS = re.compile(f"[\u00c2-\u00c5][{_BEHIND}]|\u00e2[{_BEHIND}]{{2}}")
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def damaged(texts: Mapping[str, str]) -> list[str]:
    """Return warnings about texts, by the names of their rows, that seem to have lost characters."""
    twice = {name: found for name, text in texts.items() if (found := _read_otherwise(text)) is not None}
    lost = [name for name, text in texts.items() if _REPLACED in text]
    told = []
    if twice:
        first, said = next(iter(twice.items()))
        told.append(
            f"{len(twice)} texts look like UTF-8 that was read as Windows-1252, as {said!r} in row {first} (rows "
            f"{listed(twice)})"
        )
    if lost:
        told.append(f"{len(lost)} texts have the sign of a character that could not be read (rows {listed(lost)})")
    return told


def _read_otherwise(text: str) -> str | None:
    """Signs of a text that are one character in UTF-8, which was read as Windows-1252; None where there are none."""
    if text.isascii():
        return None
    for found in _TWO_SIGNS.finditer(text):
        with contextlib.suppress(UnicodeError):
            if len(found[0].encode("cp1252").decode("utf-8")) == 1:
                return found[0]
    return None
