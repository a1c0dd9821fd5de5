"""Cells of a table that name a recording, or hold one, as the datasets library has them: bytes, and a path."""

import hashlib
from collections.abc import Mapping

from harness.task.intake.labels import is_gap

_LONGEST = 80  # characters of a name in a message


def named_or_held(cell: object) -> tuple[str, bytes | None]:
    """The name of a recording, and its bytes where the cell has them. Raises ValueError for what is neither.

    Bytes without a path are named by their digest.
    """
    path, content = cell, None
    if isinstance(cell, Mapping) and cell.keys() & {"bytes", "path"}:
        path, content = cell.get("path"), cell.get("bytes")
    elif isinstance(cell, bytes):
        path, content = None, cell
    if isinstance(content, bytes) and is_gap(path):
        path = hashlib.sha256(content).hexdigest()[:16]
    if is_gap(path):
        raise ValueError("no recording is named")
    if not isinstance(path, str | int | float) or not isinstance(content, bytes | None):
        kind = type(path if content is None else content).__name__
        raise ValueError(f"a cell of {kind} names no recording; expected a file, or a struct of bytes and path")
    return str(path).strip(), content


def shortened(name: str) -> str:
    """A name, of a long one its beginning, on one line."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
