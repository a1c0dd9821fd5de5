"""Names of classes in place of their numbers, as the datasets library notes them in the files that it writes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.system.paths import listed

Features = Mapping[str, Any]
"""The library's own description of each column's kind, by the column's name."""


def noted_features(metadata: Mapping[bytes, bytes] | None) -> Features:
    """The features that are noted in the schema of an Arrow table; none where the library did not write it."""
    noted = (metadata or {}).get(b"huggingface")
    found = json.loads(noted).get("info", {}).get("features") if noted is not None else None
    return found or {}


def with_names(frame: pd.DataFrame, features: Features) -> pd.DataFrame:
    """With the names of classes, also in lists and structs; −1, which means that a label is withheld, is a gap.

    Raises ValueError, with the rows, for numbers that have no name.
    """
    columns = []
    for place, column in enumerate(map(str, frame.columns)):
        kind, cells = features.get(column), frame.iloc[:, place]
        columns.append(_column(column, cells, kind) if _has_names(kind) else cells)
    return pd.concat(columns, axis=1) if columns else frame


def classes_of(features: Features) -> dict[str, list[str]]:
    """The names of the classes of each column that has any."""
    return {column: names for column, kind in features.items() if (names := list(_names_in(kind)))}


def _names_in(kind: object) -> Iterator[str]:
    if isinstance(kind, Mapping):
        if kind.get("_type") == "ClassLabel":
            yield from kind["names"]
            return
        for inner in kind.values():
            yield from _names_in(inner)
    elif isinstance(kind, list):
        for inner in kind:
            yield from _names_in(inner)


def _column(name: str, cells: pd.Series, kind: object) -> pd.Series:
    found, wrong = [], {}
    for row, cell in cells.items():
        try:
            found.append(_named(cell, kind))
        except ValueError as error:
            found.append(None)
            wrong[row] = str(error)
    if wrong:
        raise ValueError(f"{name}: {next(iter(wrong.values()))} (rows {listed(wrong)})")
    return pd.Series(found, dtype=object, index=cells.index, name=cells.name)


def _has_names(kind: object) -> bool:
    if isinstance(kind, Mapping):
        return kind.get("_type") == "ClassLabel" or any(map(_has_names, kind.values()))
    return isinstance(kind, Sequence) and not isinstance(kind, str) and any(map(_has_names, kind))


def _named(cell: object, kind: Any) -> object:
    """A cell, or what is in its lists and structs. A list's kind stands in brackets in older files; a list of structs
    may be a struct of lists.
    """
    inner = kind[0] if isinstance(kind, list) and kind else kind
    if isinstance(inner, Mapping) and isinstance(inner.get("_type"), str) and "feature" in inner:
        return _named(cell, inner["feature"])
    if isinstance(cell, list):
        return [_named(item, inner) for item in cell]
    if not isinstance(inner, Mapping):
        return cell
    if isinstance(cell, dict):
        return {name: _named(value, inner.get(name)) for name, value in cell.items()}
    return _name(cell, inner["names"]) if inner.get("_type") == "ClassLabel" else cell


def _name(cell: object, names: Sequence[str]) -> object:
    if not isinstance(cell, int) or cell == -1:
        return None if cell == -1 else cell
    if not 0 <= cell < len(names):
        raise ValueError(f"{cell} is none of its {len(names)} classes, 0 to {len(names) - 1}")
    return names[cell]
