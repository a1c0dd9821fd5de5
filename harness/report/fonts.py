"""Names in pictures whose characters the usual font has not: which installed fonts draw them, and whether any does."""

from collections.abc import Iterable
from functools import cache

from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font

USUAL = "DejaVu Sans"
_BOXES = "Last Resort"


def fonts_for(names: Iterable[str]) -> list[str]:
    """The usual font, and one for each character of the `names` that it and those before have not, where there is one.

    Only TrueType, as others cannot be embedded in a PDF; and not the one that has a box for every character.
    """
    found = [USUAL]
    wanted = {ord(letter) for name in names for letter in name} - _characters(_file(USUAL))
    if wanted:
        for font in sorted(font_manager.fontManager.ttflist, key=lambda each: each.name):
            if not font.fname.endswith(".ttf") or font.name.startswith(_BOXES):
                continue
            if has := wanted & _characters(font.fname):
                found.append(font.name)
                wanted -= has
    return found


def is_drawable(name: str, fonts: Iterable[str]) -> bool:
    """Return whether the fonts have all characters of a name."""
    there = frozenset().union(*(_characters(_file(font)) for font in fonts))
    return {ord(letter) for letter in name} <= there


def _file(font: str) -> str:
    return font_manager.findfont(FontProperties(family=[font]))  # a name by itself would be read as a pattern


@cache
def _characters(path: str) -> frozenset[int]:
    return frozenset(FT2Font(path).get_charmap())
