"""Rows of delimited text: the separator found by the columns that are asked for, and quotes by how they are written."""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Collection, Sequence

from harness.system.paths import listed
from harness.task.intake.headers import is_header

Rows = list[tuple[int, list[str]]]
"""The row's number in the file, from 1, and its fields."""

_SEPARATORS = {".csv": ",;\t|", ".tsv": "\t,;|", ".txt": "\t,;|"}
_RARE = "@~^;|"  # further separators of columns, if they are set
_SAID = re.compile(r"\"?sep=(.)\"?\r?\n", re.IGNORECASE)  # a spreadsheet's own first line
_FORMULA = re.compile(r'="[^"]*"')
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_LINE = re.compile(r"\s*:?-{2,}:?\s*")
_SHOWN = 40  # characters of a cell in a message
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def read_delimited(
    text: str, suffix: str, separator: str | None, wanted: Collection[str], columns: Sequence[str] = ()
) -> tuple[Rows, str]:
    """The rows of a text, header and all, and the name of their separator. Raises ValueError for ragged rows.

    `columns` are the header of a text that has none.
    """
    said = _SAID.match(text)
    skipped = 1 if said else 0
    if said:
        text, separator = text[said.end() :], separator or said[1]
    separator = separator or _separator(text, _SEPARATORS[suffix], wanted, len(columns))
    rows = _tabbed(text) if separator == "\t" else _quoted(text, separator)
    rows = [(number + skipped, row) for number, row in _without_blank_lines(rows)]
    if rows and rows[0][1][-1] == "" and all(row[-1] == "" for _, row in rows):
        rows = [(number, row[:-1]) for number, row in rows]  # every row ends in a separator
    if columns:
        rows = [(0, list(columns)), *rows]
    _refuse_ragged(rows)
    if columns and is_header(columns, [row for _, row in rows[1:]]):
        rule = "task.columns names those of files without one; null reads it, where every file has one"
        raise ValueError(f"row {rows[1][0]} is a header ({listed(_shortened(rows[1][1]))}); {rule}")
    rows = _without_formulas(rows)
    _refuse_swallowed(rows, separator)
    _refuse_headers(rows)
    return rows, _NAMES.get(separator, separator)


def _shortened(cells: Sequence[str]) -> list[str]:
    return [cell[:_SHOWN] for cell in cells]


def _refuse_headers(rows: Rows) -> None:
    """Raise ValueError for rows that are the header again, as in files put together, or lines of a Markdown table."""
    if len(rows) < 2 or len(rows[0][1]) < 2:
        return
    if again := [number for number, row in rows[1:] if row == rows[0][1]]:
        rule = "of several files put together it stands once, and task.columns=[…] names the columns of one without it"
        raise ValueError(f"rows {listed(again)} are the header again; {rule}")
    drawn = [cell for cell in rows[1][1] if cell]
    if len(drawn) > 1 and all(map(_LINE.fullmatch, drawn)):
        raise ValueError(f"row {rows[1][0]} is a line, as in a Markdown table; save it as CSV")


def raw_tabs(text: str) -> Rows:
    """Rows parted by tabs whose quotes are characters like any other, as in GLUE's files."""
    lines = enumerate(io.StringIO(text, newline=""), 1)
    rows = _without_blank_lines([(number, line.rstrip("\r\n").split("\t")) for number, line in lines])
    _refuse_ragged(rows)
    return rows


def _without_blank_lines(rows: Rows) -> Rows:
    """Rows from the first one on that is none; in a table of one column a blank line is an empty cell."""
    filled = [any(map(str.strip, row)) or len(row) > 1 for _, row in rows]
    begin = filled.index(True) if any(filled) else len(rows)
    if begin < len(rows) and len(rows[begin][1]) == 1:
        return [(number, row or [""]) for number, row in rows[begin:]]
    return [row for row, is_row in zip(rows, filled, strict=True) if is_row]


def _refuse_ragged(rows: Rows) -> None:
    if not rows:
        return
    width = len(rows[0][1])
    if ragged := [number for number, row in rows if len(row) != width]:
        first = next(row for _, row in rows if len(row) != width)
        if rows[0][0] == 0:
            lines = [" ".join(row) for _, row in rows[1:]]
            marks = (
                [mark for mark in _RARE if all(line.count(mark) == width - 1 for line in lines)] if width > 1 else []
            )
            rule = f"; 'task.separator=\"{marks[0]}\"' parts each row into so many" if marks else ""
            raise ValueError(f"row {ragged[0]} has {len(first)} fields, and task.columns names {width}{rule}")
        more = f"; rows {listed(ragged[1:])} differ from it, too" if len(ragged) > 1 else ""
        raise ValueError(f"row {ragged[0]} has {len(first)} fields, the first has {width}{more}")


def _refuse_swallowed(rows: Rows, separator: str) -> None:
    """Raise ValueError for rows that a quote which is never closed made part of a field."""
    if found := _swallowed(rows, separator):
        said = listed(f"{number} ({count} lines)" for number, count in found.items())
        raise ValueError(
            f"a field holds lines that are rows themselves, after a quote that is not closed: rows {said}; "
            "where they are lines of a text, save the table as JSON Lines"
        )


def _swallowed(rows: Rows, separator: str) -> dict[int, int]:
    """Return the line count of each field that contains rows, by the number of its row."""
    spread = [(number, at, cell) for number, row in rows[1:] for at, cell in enumerate(row) if "\n" in cell]
    if not spread or (width := len(rows[0][1])) < 2:
        return {}
    known = [{row[column] for _, row in rows[1:]} - {""} for column in range(width)]
    return {
        number: cell.count("\n") + 1
        for number, at, cell in spread
        if _are_rows([(begin, line.split(separator)) for begin, line in _lines(cell, at)], at, known)
    }


def _are_rows(lines: list[tuple[int, list[str]]], at: int, known: list[set[str]]) -> bool:
    """Return whether lines, each with the column that it begins in, have all the fields of a row, and half of them have
    a cell that recurs in its column, or several have a number in each column of numbers.
    """
    if any(len(line) != len(known) - begin for begin, line in lines):
        return False
    placed = [
        [(place, cell) for place, cell in enumerate(line, begin) if place != at and cell] for begin, line in lines
    ]
    counts = Counter(each for line in placed for each in line)
    again = sum(any(cell in known[place] or counts[place, cell] > 1 for place, cell in line) for line in placed)
    return 2 * again >= len(lines) or _are_numbered(lines, known)


def _are_numbered(lines: list[tuple[int, list[str]]], known: list[set[str]]) -> bool:
    numbered = [bool(cells) and all(map(_NUMBER.fullmatch, cells)) for cells in known]
    if len(lines) < 2 or not any(numbered[1:]):
        return False
    return all(
        bool(_NUMBER.fullmatch(cell))
        for begin, line in lines
        for cell, wanted in zip(line, numbered[begin:], strict=True)
        if wanted
    )


def _lines(cell: str, at: int) -> list[tuple[int, str]]:
    """The lines of a field in column `at`, and the column that each begins in were it a row; the last one is the start
    of a row whose rest was read.
    """
    first, *inner = cell.replace("\r\n", "\n").split("\n")[:-1]
    return [(at, first), *((0, line) for line in inner)]


def _separator(text: str, candidates: str, wanted: Collection[str], fields: int) -> str:
    """The first whose header has the wanted columns, or so many fields; else the first that divides it at all."""
    header = next((line for line in io.StringIO(text, newline=None) if line.strip()), "").rstrip("\n")
    headers = {mark: _header(header, mark) for mark in candidates}
    for mark, names in headers.items():
        if len(names) == fields or (not fields and wanted and set(wanted) <= set(names)):
            return mark
    return next((mark for mark, names in headers.items() if len(names) > 1), candidates[0])


def _header(line: str, mark: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=mark), [])]


def _without_formulas(rows: Rows) -> Rows:
    """Columns whose every cell is ="…", as some programs write texts for a spreadsheet, without what is around them."""
    columns = [
        place
        for place in range(len(rows[0][1]) if len(rows) > 1 else 0)
        if all(_FORMULA.fullmatch(row[place]) for _, row in rows[1:])
    ]
    for _, row in rows[1:]:
        for place in columns:
            row[place] = row[place][2:-1]
    return rows


def _quoted(text: str, separator: str) -> Rows:
    """With a blank between separators and quotes, where most rows are written so."""
    rows = _parsed(text, separator, blanks=False)
    spaced = sum(any(cell.startswith(" ") and cell.lstrip(" ").startswith('"') for cell in row) for _, row in rows)
    return _parsed(text, separator, blanks=True) if 2 * spaced > len(rows) else rows


def _parsed(text: str, separator: str, *, blanks: bool) -> Rows:
    csv.field_size_limit(sys.maxsize)  # a document can be longer than the module's 131,072 characters
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=blanks)
    rows: Rows = []
    begun = 1
    try:
        for row in reader:
            rows.append((len(rows) + 1, row))
            begun = reader.line_num + 1
    except csv.Error as error:
        open_quote = str(error) == "unexpected end of data"
        said = "a quote is opened in it that is never closed" if open_quote else str(error)
        line = begun if open_quote else reader.line_num
        raise ValueError(f"row {len(rows) + 1} (line {line}): {said}") from None
    return rows


def _tabbed(text: str) -> Rows:
    """With quotes where they are a writer's, else with quotes as characters like any other."""
    if '"' not in text or (rows := _written_with_quotes(text)) is None:
        return raw_tabs(text)
    try:
        raw = raw_tabs(text)
    except ValueError:
        return rows
    if len(raw) == len(rows) or (_has_strange_labels(raw, rows) and not _swallowed(rows, "\t")):
        return rows
    return raw  # quotes that are not closed swallow rows that are whole


def _has_strange_labels(raw: Rows, rows: Rows) -> bool:
    """Return whether lines read as rows have a unique value in a column in which all others repeat, as labels do."""
    if len(raw[0][1]) != len(rows[0][1]):
        return False
    for column in range(len(rows[0][1])):
        counts = Counter(row[column] for _, row in rows[1:])
        if counts and min(counts.values()) > 1 and any(row[column] not in counts for _, row in raw[1:]):
            return True
    return False


def _written_with_quotes(text: str) -> Rows | None:
    """The rows, where every quote stands where pandas or a spreadsheet puts one: around a field that needs it, or
    around every field of the header.
    """
    try:
        rows = _parsed(text, "\t", blanks=False)
    except ValueError:
        return None
    widths = {len(row) for _, row in rows if row}
    needed = sum(2 + 2 * cell.count('"') for _, row in rows for cell in row if re.search(r'["\t\r\n]', cell))
    return rows if len(widths) == 1 and (text.startswith('"') or text.count('"') == needed) else None
