"""Lists of tokens: as cells of a table, or a token a line."""

import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from harness.config import ConfigError
from harness.system.paths import path_problem
from harness.task.intake.files import decode, read_bytes, unwritable
from harness.task.intake.labels import is_gap
from harness.task.intake.lists import Shortened, read_list

CONLLU = ".conllu"
LINES = (".conll", ".iob", ".iob2", ".bio", ".txt", CONLLU)
"""Suffixes of files of a token a line, its tag in the last column, and a blank line after each row; of those of
Universal Dependencies the token is the second of ten columns.
"""
COLUMNS = ("form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""Of a word in such a file what stands behind its number."""

_UNNAMED = "tags"  # of conf/task/token_labels.yaml
_COMMENT = re.compile(r"#\s*(\w+\s*=|id\s|https?:)")  # at the head of a row: a number sign may be a token, too
_PARTED = re.compile(r"\S[ \t]*\r?\n[ \t]*\r?\n\s*\S")  # by a blank line
_BLANKS = re.compile(" +")  # others, as one that is not broken at, are part of a token


@dataclasses.dataclass(frozen=True)
class TokenLine:
    """The number of a line in its file, and its columns."""

    number: int
    cells: tuple[str, ...]


def has_lines(path: Path, names: Collection[str]) -> bool:
    """Return whether a file has a token a line: by its suffix, or as a .tsv with blank lines, and no column of these
    `names` in its first line, as that of BC5CDR.
    """
    if path.suffix.lower() != ".tsv" or path_problem(path, "file"):
        return path.suffix.lower() in LINES
    text = path.read_bytes().decode("utf-8-sig", errors="replace").lstrip()
    header = {cell.strip().casefold() for cell in text.partition("\n")[0].split("\t")}
    return _PARTED.search(text) is not None and header.isdisjoint(map(str.casefold, names))


def refuse_numbers(where: str, rows: Sequence[tuple[str, Sequence[TokenLine]]]) -> None:
    """Raise ConfigError for rows whose words stand behind their numbers and have two columns of tags, as GermEval's."""
    lines = [line.cells for _, row in rows for line in row]
    if all(len(cells) > 3 and cells[0].isdecimal() for cells in lines) and any(cells[-2] == "O" for cells in lines):
        rule = "`grep -v '^#' FILE | cut -f2,3` takes the tokens and the first of their tags"
        raise ConfigError(f"{where}: its first column numbers the tokens, and two have tags; {rule}")


def read_lines(key: str, path: Path, encoding: str | None) -> tuple[list[tuple[str, list[TokenLine]]], str]:
    """The rows of a file of a token a line, by the numbers of their first lines, and its encoding.

    Columns are parted by tabs, or by blanks; lines end as on an old Mac, where nothing else ends one. Comments before a
    row (`# id = …`) and -DOCSTART- are passed over; of a .conllu the numbers of words, too, and lines that are no word.
    Raises ConfigError where there is no row.
    """
    try:
        text, found = decode(read_bytes(path, key), encoding)
    except ValueError as error:
        raise ConfigError(f"{key}={path}: {error}") from None
    rows: list[tuple[str, list[TokenLine]]] = []
    open_row = False
    words = path.suffix.lower() == CONLLU
    comment = re.compile("#") if words else _COMMENT
    for number, line in enumerate(text.split("\n" if "\n" in text else "\r"), 1):
        cells = tuple(cell.strip() for cell in (line.split("\t") if "\t" in line else _BLANKS.split(line.strip(" \r"))))
        if not line.strip():
            open_row = False
        elif not (line.startswith("-DOCSTART-") or (not open_row and comment.match(line))):
            if not cells[0]:
                raise ConfigError(f"{key}={path}: line {number}: {line[:40]!r} begins with no token")
            if not open_row:
                rows.append((str(number), []))
                open_row = True
            rows[-1][1].append(TokenLine(number, cells))
    if not rows:
        raise ConfigError(f"{key}={path}: no line of a token in it")
    return [(name, _words(f"{key}={path}", lines)) for name, lines in rows] if words else rows, found


def _words(where: str, lines: list[TokenLine]) -> list[TokenLine]:
    """The columns of words behind their numbers; 3-4 is what two are written as, and 5.1 is not written at all."""
    for line in lines:
        if len(line.cells) != len(COLUMNS) + 1:
            raise ConfigError(f"{where}: line {line.number} has {len(line.cells)} columns, of a .conllu it is ten")
    return [TokenLine(line.number, line.cells[1:]) for line in lines if line.cells[0].isdecimal()]


def place_of_tags(tags: str, where: str) -> int:
    """The column of a .conllu that `tags` names, UPOS where it names none of its own. Raises ConfigError for others."""
    name = "upos" if tags == _UNNAMED else tags.casefold()
    if name not in COLUMNS[1:]:
        raise ConfigError(f"{where}: task.tags={tags}: {', '.join(COLUMNS[1:])} are the columns of a .conllu")
    return COLUMNS.index(name)


def list_of_tokens(cell: object, where: str, column: str) -> tuple[str, ...]:
    """The tokens of a cell. Raises ConfigError where it is no list of texts."""
    rule = '; write it parted into its tokens, as ["Ada", "wrote"], or with blanks, of as many words as the tags'
    items = items_of(cell, where, column, rule)
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
