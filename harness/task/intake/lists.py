"""Lists that a table holds as text: as JSON or Python writes them, and what cannot be read as the list it was."""

import ast
import contextlib
import io
import json
import re
import tokenize
from collections.abc import Callable
from itertools import pairwise

SHORTENED = "is shortened (...), as numpy and pandas print long lists; write it as JSON"

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_ITEM = rf"""(?:{_QUOTED.pattern}|[+-]?\d+)"""
_OF_NUMPY = re.compile(rf"\[\s*{_ITEM}(?:\s+{_ITEM})+\s*\]")
_DOTS = re.compile(r"\.\.\.|…")


def read_list(text: str) -> object:
    """Read a text that is a list in brackets; return the text itself if it is none.

    Raises Shortened, whose text goes on behind a cell's name, for a list that was shortened where it was written.
    """
    for read in _READ:
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            found = read(text.strip())
            if holds_dots(found):
                raise Shortened(SHORTENED)
            return found
    if text.strip().endswith("]") and _DOTS.search(_QUOTED.sub("", text)):
        raise Shortened(SHORTENED)
    return text


def read_numpy(text: str) -> list[object] | None:
    """The items of a list as numpy prints it, texts in quotes or whole numbers side by side; None for another text."""
    if not _OF_NUMPY.fullmatch(text.strip()):
        return None
    return [ast.literal_eval(item) for item in re.findall(_ITEM, text)]


class Shortened(Exception):
    """A list with a part missing."""


def holds_dots(found: object) -> bool:
    """Return whether three dots are among the items of a list, or of one in it, as Python reads them."""
    if isinstance(found, dict):
        return any(map(holds_dots, (*found, *found.values())))
    return found is Ellipsis or (isinstance(found, list | tuple | set) and any(map(holds_dots, found)))


def _literal(text: str) -> object:
    """Evaluate a Python literal. Raises ValueError for adjacent texts, as numpy prints them: they would be joined."""
    found = ast.literal_eval(text)
    blank = (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT)
    kinds = [each.type for each in tokenize.generate_tokens(io.StringIO(text).readline) if each.type not in blank]
    if (tokenize.STRING, tokenize.STRING) in pairwise(kinds):
        raise ValueError
    return found


_READ: tuple[Callable[[str], object], ...] = (json.loads, _literal)
