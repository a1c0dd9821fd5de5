"""Texts that are lists: of paragraphs or of words, joined; and items of lists that templates do not read."""

import dataclasses
import re
from collections.abc import Collection
from string import Formatter

import pandas as pd

from harness.config import fields_in
from harness.task.intake.labels import is_gap
from harness.task.intake.table import Table

_ITEM = re.compile(r"(.*)\[(\d+)\][^\[\]]*")  # of a field of a template, behind what it is an item of
_WHOLE = re.compile(r"[^.\[]+")


def joined_lists(table: Table, columns: Collection[str]) -> Table:
    """The table with one text for each cell of those of its `columns` that hold lists of texts in every row, paragraphs
    parted by blank lines, words by blanks; its format says so.
    """
    names = [str(name) for name in table.frame.columns]
    for name in dict.fromkeys(columns):
        if names.count(name) != 1 or not _is_of_lists(cells := table.frame.iloc[:, names.index(name)]):
            continue
        words = not any(" " in item.strip() for cell in cells if not is_gap(cell) for item in cell)
        texts = [cell if is_gap(cell) else (" " if words else "\n\n").join(cell) for cell in cells]
        said = "lists of words, joined by blanks" if words else "lists of paragraphs, joined by blank lines"
        table = dataclasses.replace(table.with_cells(cells.name, texts), format={**table.format, name: said})
    return table


def _is_of_lists(cells: pd.Series) -> bool:
    there = [cell for cell in cells if not is_gap(cell)]
    return bool(there) and all(
        isinstance(cell, list | tuple) and all(isinstance(item, str) for item in cell) for cell in there
    )


def items_not_read(split: str, table: Table, templates: Collection[str]) -> list[str]:
    """Messages about rows whose lists have more items than the templates, which take some by number, read."""
    taken: dict[str, set[int]] = {}
    fields = [field for template in templates if "{" in template for field in fields_in(template)]
    for field in fields:
        if found := _ITEM.fullmatch(field):
            taken.setdefault(found[1], set()).add(int(found[2]))
    return [
        f"{split}: {rows} rows have more items in {path} than are read, up to {most}"
        for path, places in taken.items()
        if path not in fields
        for rows, most in [_beyond(table, path, len(places))]
        if rows
    ]


def _beyond(table: Table, path: str, read: int) -> tuple[int, int]:
    """In how many rows a list has more items than are read, and how many at most."""
    name = _WHOLE.match(path)
    if name is None or name[0] not in map(str, table.frame.columns):
        return 0, 0
    sizes = []
    for cell in table.column("task.data", name[0]):
        try:
            found = Formatter().get_field(path, (), {name[0]: cell})[0]
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            continue
        sizes += [len(found)] if isinstance(found, list | tuple) and len(found) > read else []
    return len(sizes), max(sizes, default=0)
