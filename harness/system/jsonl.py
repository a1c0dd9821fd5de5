"""A log of JSON lines: appended and synced, read as it grows; a line cut short by a crash costs that line only."""

import json
import os
import sys
from pathlib import Path
from typing import IO, Any


class JsonlLog:
    """One file of lines. Appending is for one process at a time: the caller holds a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0  # bytes, always up to the end of a line

    def append(self, line: str) -> None:
        """Add a line. When this returns, it is on the disk."""
        fresh = not self.path.exists()
        with open(self.path, "ab+") as file:
            cut_torn_tail(file)
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            sync_folder(self.path.parent)

    def new(self) -> list[Any]:
        """What whole lines say that were not read before."""
        if not self.path.exists():
            return []
        with open(self.path, "rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return [self._parsed(line) for line in whole.split(b"\n") if line]

    def _parsed(self, line: bytes) -> Any:
        try:
            return json.loads(line, object_hook=_once)
        except ValueError:
            raise ValueError(f"{self.path}: a line was damaged from outside, {line[:60]!r}: take it out") from None


def _once(item: dict[str, Any]) -> dict[str, Any]:
    """Names and words come again in every line; a process that keeps thousands of them keeps one copy of each."""
    return {sys.intern(name): sys.intern(value) if isinstance(value, str) else value for name, value in item.items()}


def repair_tail(path: Path) -> None:
    """Cut half a line off the end, so that others can read the file, too. The caller holds the lock of who appends."""
    fresh = not path.exists()
    with open(path, "ab+") as file:
        cut_torn_tail(file)
    if fresh:
        sync_folder(path.parent)


def cut_torn_tail(file: IO[bytes]) -> None:
    """A process killed while it wrote leaves half a line, and one more line after it would be lost too."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def replace_text(path: Path, text: str) -> None:
    """Write a file anew: who reads it just then finds the one text or the other, whole."""
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    staged.write_text(text)
    os.replace(staged, path)


def sync_tree(folder: Path) -> None:
    """Make what is in a folder last, and in the folders in it."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(Path(place) / name, "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Make names in a folder last: a new file's, or one that was replaced."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
