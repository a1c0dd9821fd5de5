"""Checks of a path before it is opened: reading a named pipe or a device would never end."""

import re
import stat
from collections.abc import Iterable
from pathlib import Path

LFS_POINTER = b"version https://git-lfs.github.com"
"""How a file begins that Git LFS left in the place of another."""
_SHOWN = 10
_NOT_FILES = (
    (stat.S_ISDIR, "a folder, not a file"),
    (stat.S_ISFIFO, "a named pipe, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
)


_ADDRESS = re.compile(r"[a-z][a-z0-9]+:/", re.IGNORECASE)


def path_problem(path: Path, kind: str) -> str | None:
    """Return why a path cannot be read as a `file` or a `folder`; None if it can."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if is_address(str(path)):
            return f"an address, not a {kind} of this machine; download it first"
        return f"a link to {path.readlink()}, which is not there" if path.is_symlink() else f"no such {kind}"
    except NotADirectoryError:
        return f"no such {kind}"
    except (OSError, ValueError) as error:  # a link to itself, a NUL in the name
        return str(getattr(error, "strerror", None) or error)
    if kind == "folder":
        return None if stat.S_ISDIR(mode) else "a file, not a folder"
    return next((said for is_kind, said in _NOT_FILES if is_kind(mode)), None)


def is_address(name: str) -> bool:
    """Return whether a name is a network address and not a file."""
    return _ADDRESS.match(name) is not None


def listed(items: Iterable[object]) -> str:
    """Up to ten items, and how many more there are."""
    names = list(map(str, items))
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
