"""Classes of the user's own: dotted paths `package.module:Name` in a configuration, and how they are imported.

Importing runs code of the user's machine. So it happens only after every other check, and only a class that says it is
a guest, by its base class, is used.
"""

import hashlib
import importlib
import inspect
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeVar

from pydantic import Field

from harness.config.tree import ConfigError, nearest

T = TypeVar("T")

DottedPath = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]

FOLDERS = "HARNESS_GUESTS"
"""Names the folders, beside the installed packages, in which guests are looked for; child processes inherit it."""


def add_folder(folder: str) -> None:
    """Look for guests, and for the options of groups, in a folder too, in this process and in those it starts."""
    os.environ[FOLDERS] = os.pathsep.join(dict.fromkeys([*guest_folders(), str(Path(folder).absolute())]))


def guest_folders() -> list[str]:
    """The folders that --config-dir has named."""
    return [folder for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]


def use_folders() -> None:
    """Let this process import from those folders; they come last, so that they hide nothing that is installed."""
    sys.path += [folder for folder in guest_folders() if folder not in sys.path]


def import_guest(module: str) -> ModuleType:
    """A module that is installed, or that a folder of --config-dir holds."""
    use_folders()
    return importlib.import_module(module)


def load_guest(key: str, path: str, base: type[T]) -> type[T]:
    """The class that a dotted path names. Raises ConfigError, naming `key`, where there is none of that base class."""
    where = f"{key}={path}"
    module_name, _, name = path.partition(":")
    try:
        module = import_guest(module_name)
    except Exception as error:  # the user's module may fail in any way
        raise ConfigError(f"{where}: importing {module_name} failed, {type(error).__name__}: {error}") from error
    guests = [key for key, value in vars(module).items() if _is_guest(value, base)]
    found: Any = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"{where}: {module_name} has no {name}{nearest(name, guests)}")
    if not _is_guest(found, base):
        raise ConfigError(f"{where}: no subclass of {base.__module__}.{base.__name__}{nearest(name, guests)}")
    guest: type[T] = found
    return guest


def _is_guest(value: Any, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base) and value is not base


def make_guest(key: str, kind: type[T], arguments: dict[str, Any]) -> T:
    """An object of a guest's class. Raises ConfigError where its constructor takes other arguments."""
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{key}: {kind.__name__} takes other arguments: {error}") from None
    return kind(**arguments)


def code_digest(kind: type) -> str:
    """The SHA-256 of the file that a guest's class stands in."""
    return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()


def module_digest(path: str) -> str:
    """The SHA-256 of the file of the module that a dotted path names."""
    return hashlib.sha256(Path(inspect.getfile(import_guest(path.partition(":")[0]))).read_bytes()).hexdigest()
