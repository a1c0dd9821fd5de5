"""Cells of a table that name a recording or an image, or hold one as the datasets library has it: bytes and a path."""

import base64
import hashlib
import re
from collections.abc import Mapping

from harness.task.intake.labels import is_gap

_LONGEST = 80  # characters of a name in a message
_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")
_CODED = ("iVBORw0KGgo", "/9j/", "R0lGOD", "SUkqA", "TU0AK", "UklGR", "T2dnUw", "ZkxhQw", "SUQz")
"""How base64 of PNG, JPEG, GIF, TIFF, RIFF (WAV, WebP), OGG, FLAC and MP3 begins."""
_LEAST = 64  # characters of base64 that hold a file
_PRINTED = re.compile(r"""b(['"]).*\1|<[\w.]+ .*\bat 0x[0-9A-Fa-f]+>|\{['"](?:bytes|path|array)['"]:.*""", re.DOTALL)


def named_or_held(cell: object, what: str = "recording") -> tuple[str, bytes | None]:
    """The name of a recording, or another file that is expected, and its bytes, where a cell has them or their base64.

    Bytes without a path are named by their digest. Raises ValueError for what is neither.
    """
    if isinstance(cell, str):
        if _PRINTED.fullmatch(cell.strip()):
            raise ValueError(
                f"{shortened(cell)}: what Python prints of an object is no {what}; name a file, or hold it in Parquet"
            )
        held = _decoded(cell)
        cell = cell if held is None else held
    path, content = cell, None
    if isinstance(cell, Mapping) and cell.keys() & {"bytes", "path"}:
        path, content = cell.get("path"), cell.get("bytes")
    elif isinstance(cell, bytes):
        path, content = None, cell
    if isinstance(content, bytes) and is_gap(path):
        path = hashlib.sha256(content).hexdigest()[:16]
    if is_gap(path):
        raise ValueError(f"no {what} is named")
    if not isinstance(path, str | int | float) or not isinstance(content, bytes | None):
        kind = type(path if content is None else content).__name__
        item = (
            "; of a list a template takes an item, as '{column[0]}'"
            if isinstance(cell, list) and cell and not isinstance(cell[0], int | float | list)
            else ""
        )
        raise ValueError(f"a cell of {kind} names no {what}; expected a file, or a struct of bytes and path{item}")
    return str(path).strip(), content


def _decoded(text: str) -> bytes | None:
    """The file that a text has in base64, alone or as a data URI; None of other texts."""
    begun = _DATA_URI.match(text)
    if begun is None and (len(text) < _LEAST or not text.startswith(_CODED)):
        return None
    try:
        return base64.b64decode(text[begun.end() if begun else 0 :].strip(), validate=True)
    except ValueError:
        return None


def shortened(name: str) -> str:
    """A name, of a long one its beginning, on one line."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
