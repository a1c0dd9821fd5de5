"""The registry of configuration classes by `reader` or `kind`: every module of a package adds its own."""

import dataclasses
import importlib
import pkgutil
import typing
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import Discriminator, Tag

T = TypeVar("T")

GUEST = "guest"
"""The tag of a class of the user's own, whose key is a dotted path `package.module:Name`."""


def classes_in(package: ModuleType, base: type[T], key: str, without: Iterable[str] = ()) -> dict[str, type[T]]:
    """The subclasses of `base` in the modules of a package, by the values that their field `key` may have."""
    found: dict[str, type[T]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name in without:
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__:
                found |= dict.fromkeys(_tags(kind, key), kind)
    return found


def _tags(kind: type, key: str) -> tuple[str, ...]:
    if not dataclasses.is_dataclass(kind) or key not in (hints := typing.get_type_hints(kind)):
        return ()
    return typing.get_args(hints[key]) if typing.get_origin(hints[key]) is Literal else (GUEST,)


def union_of(classes: Mapping[str, type], key: str) -> Any:
    """The type of a field that holds one of these classes, told apart by its key; a mistake names `key`."""

    def tag(value: Any) -> str | None:
        name = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        if GUEST in classes and isinstance(name, str) and ":" in name:
            return GUEST
        return name if isinstance(name, str) else None

    tag.__name__ = key
    members = tuple(Annotated[kind, Tag(name)] for name, kind in classes.items())
    return Annotated[Union[members], Discriminator(tag)]  # noqa: UP007
