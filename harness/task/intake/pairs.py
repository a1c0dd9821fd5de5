"""Rows of two texts in splits: warnings about texts that are in two of them with other partners, and swapped rows."""

import itertools
from collections.abc import Mapping, Sequence

from harness.task.intake.duplicates import shared_keys

_FEW = 10  # topics, each in as many rows or more

Sides = Mapping[str, Sequence[str]]
"""The texts of each row, `text` and `pair`."""


def shared_sides(splits: Mapping[str, Sides], columns: Mapping[str, str], *, grouped: bool) -> list[str]:
    """Return warnings about shared texts of splits; `columns` are the names of both sides, rows may be `grouped`.

    There are none about sides that are terms or a few topics, each in many rows.
    """
    told = []
    hint = "" if grouped else " (task.group keeps such rows together)"
    for role, column in columns.items():
        if _are_terms([text for sides in splits.values() for text in sides[role]]):
            continue
        for names, places in shared_keys({split: sides[role] for split, sides in splits.items()}).items():
            first, _, second = names.partition(" and ")
            count = len(splits[second][role])
            told.append(f"{len(places)} of {count} {second} rows have the {column} of rows of {first}{hint}")
    for first, second in itertools.combinations(splits, 2):
        known = set(zip(splits[first]["text"], splits[first]["pair"], strict=True))
        rows = list(zip(splits[second]["pair"], splits[second]["text"], strict=True))
        if count := sum(row in known for row in rows):
            told.append(f"{count} of {len(rows)} {second} rows stand in {first} with their texts swapped")
    return told


def _are_terms(texts: Sequence[str]) -> bool:
    """Return whether texts are few, each in many rows, or of one word, in a script with case and word separators."""
    values = set(texts)
    if len(values) <= _FEW and len(texts) >= _FEW * len(values):
        return True
    return 2 * sum(len(text.split()) == 1 and text.lower() != text.upper() for text in values) > len(values)
