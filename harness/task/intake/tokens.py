"""Lists of tokens: as cells of a table, or a token a line."""

import dataclasses
import re
from pathlib import Path

from harness.config import ConfigError
from harness.task.intake.files import decode, read_bytes, unwritable
from harness.task.intake.labels import is_gap
from harness.task.intake.lists import Shortened, read_list

LINES = (".conll", ".iob", ".iob2", ".bio", ".txt")
"""Suffixes of files of a token a line, its tag in the last column, and a blank line after each row."""


_COMMENT = re.compile(r"#\s*(\w+\s*=|id\s)")  # at the head of a row: a number sign may be a token, too
_BLANKS = re.compile(" +")  # others, as one that is not broken at, are part of a token


@dataclasses.dataclass(frozen=True)
class Line:
    """The number of a line in its file, and its columns."""

    number: int
    cells: tuple[str, ...]


def read_lines(key: str, path: Path, encoding: str | None) -> tuple[list[tuple[str, list[Line]]], str]:
    """The rows of a file of a token a line, by the numbers of their first lines, and its encoding.

    Columns are parted by tabs, or by blanks; lines end as on an old Mac, where nothing else ends one. Comments before a
    row (`# id = …`) and -DOCSTART- are passed over. Raises ConfigError where there is no row.
    """
    try:
        text, found = decode(read_bytes(path, key), encoding)
    except ValueError as error:
        raise ConfigError(f"{key}={path}: {error}") from None
    rows: list[tuple[str, list[Line]]] = []
    open_row = False
    for number, line in enumerate(text.split("\n" if "\n" in text else "\r"), 1):
        cells = tuple(cell.strip() for cell in (line.split("\t") if "\t" in line else _BLANKS.split(line.strip(" \r"))))
        if not line.strip():
            open_row = False
        elif not (line.startswith("-DOCSTART-") or (not open_row and _COMMENT.match(line))):
            if not cells[0]:
                raise ConfigError(f"{key}={path}: line {number}: {line[:40]!r} begins with no token")
            if not open_row:
                rows.append((str(number), []))
                open_row = True
            rows[-1][1].append(Line(number, cells))
    if not rows:
        raise ConfigError(f"{key}={path}: no line of a token in it")
    return rows, found


def list_of_tokens(cell: object, where: str, column: str) -> tuple[str, ...]:
    """The tokens of a cell. Raises ConfigError where it is no list of texts."""
    items = items_of(cell, where, column, '; a text is parted into its tokens, as ["Ada", "wrote"]')
    return tuple(_token(item, f"{where}: {column}") for item in items)


def items_of(cell: object, where: str, column: str, rule: str = "") -> list[object]:
    """A list, or one that a table holds as text; of an empty cell none. Raises ConfigError, which ends in `rule`, for
    what is none.
    """
    found = cell
    if isinstance(cell, str) and cell.strip().startswith("["):
        try:
            found = read_list(cell)
        except Shortened as error:
            raise ConfigError(f"{where}: {column} {error}") from None
    if isinstance(found, list | tuple):
        return list(found)
    if is_gap(cell):
        return []
    hint = "; write the column as JSON" if str(cell).strip().startswith("[") else rule
    raise ConfigError(f"{where}: {column} is {str(cell)[:40]!r} ({type(cell).__name__}), no list{hint}")


def _token(item: object, where: str) -> str:
    if not isinstance(item, str) or not item.strip():
        raise ConfigError(f"{where} has {item!r} in it ({type(item).__name__}); each is a text that is not blank")
    if said := unwritable(item):
        raise ConfigError(f"{where} has {said}")
    return item
