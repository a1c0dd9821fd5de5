"""JSON-lines logs: appended and synced, read as they grow; a torn last line costs that line only. Atomic writes."""

import json
import os
import sys
from pathlib import Path
from typing import IO, Any


class JsonlLog:
    """One log. Only one process may append at a time: the caller holds a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0  # bytes, always at the end of a line

    def append(self, line: str) -> None:
        """Add a line. When this returns, it is on the disk."""
        created = not self.path.exists()
        with open(self.path, "ab+") as file:
            cut_torn_tail(file)
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if created:
            sync_folder(self.path.parent)

    def new(self) -> list[Any]:
        """The complete lines that were not read before, parsed. Raises ValueError for a damaged line."""
        if not self.path.exists():
            return []
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [self._parsed(line) for line in whole.split(b"\n") if line]

    def _parsed(self, line: bytes) -> Any:
        try:
            return json.loads(line, object_hook=_intern)
        except ValueError:
            raise ValueError(f"{self.path}: a line was damaged from outside, {line[:60]!r}: take it out") from None


def _intern(item: dict[str, Any]) -> dict[str, Any]:
    """Keep one copy of keys and strings, which recur in thousands of lines."""
    return {sys.intern(name): sys.intern(value) if isinstance(value, str) else value for name, value in item.items()}


def repair_tail(path: Path) -> None:
    """Cut a torn line off the end, so that other programs can read the file. The caller holds the appender's lock."""
    created = not path.exists()
    with open(path, "ab+") as file:
        cut_torn_tail(file)
    if created:
        sync_folder(path.parent)


def cut_torn_tail(file: IO[bytes]) -> None:
    """Cut a torn last line, which a process killed while writing leaves: a line appended to it would be lost, too."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def replace_text(path: Path, text: str) -> None:
    """Replace a file atomically: a concurrent reader finds the old or the new text, complete."""
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    staged.write_text(text, encoding="utf-8")
    os.replace(staged, path)


def sync_tree(folder: Path) -> None:
    """Sync all files and folders below a folder to the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(Path(place) / name, "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to the disk: the name of a new or replaced file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
