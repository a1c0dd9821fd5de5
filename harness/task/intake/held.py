"""Cells of a table that name a recording or an image, or hold one as the datasets library has it: bytes and a path."""

import hashlib
from collections.abc import Mapping

from harness.task.intake.labels import is_gap

_LONGEST = 80  # characters of a name in a message


def named_or_held(cell: object, what: str = "recording") -> tuple[str, bytes | None]:
    """The name of a recording, or of another file that is expected, and its bytes where the cell has them.

    Bytes without a path are named by their digest. Raises ValueError for what is neither.
    """
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
        raise ValueError(f"a cell of {kind} names no {what}; expected a file, or a struct of bytes and path")
    return str(path).strip(), content


def shortened(name: str) -> str:
    """A name, of a long one its beginning, on one line."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
