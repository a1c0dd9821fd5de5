"""Files of rows that are to be predicted, read as a task's own data are: every row is one of the answer, or refused."""

import dataclasses
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.files import decode, read_bytes, unwritable
from harness.task.intake.gap_words import is_gap_word
from harness.task.intake.table import ARROW, DELIMITED, SUFFIXES, Table, load_table

_LOG = logging.getLogger(__name__)
_LINE_ENDS = re.compile(r"\r\n|\r|\n")


def asked_table(
    path: Path,
    wanted: Collection[str] = (),
    *,
    encoding: str | None,
    separator: str | None,
    columns: Sequence[str] | None,
) -> Table:
    """A table; `encoding`, `separator` and `columns` are those of the task. One without any of these columns in its
    header has none, as the task's own, and may have one where those have none. Raises ConfigError for what is none.
    """
    kind = path.suffix.lower()
    found = decoded(path, encoding)[1] if kind in SUFFIXES and kind not in ARROW else None
    read = partial(load_table, path, "input", wanted, encoding=found, separator=separator)
    return dataclasses.replace(_with_columns(read, columns if kind in DELIMITED else None), asked=True)


def _with_columns(read: Callable[..., Table], columns: Sequence[str] | None) -> Table:
    if not columns:
        return read()
    try:
        table = read()
    except ConfigError:  # of a first row that is data
        return read(columns=columns)
    return table if set(columns).intersection(map(str, table.frame.columns)) else read(columns=columns)


def asked_lines(path: Path, encoding: str | None) -> dict[int, str]:
    """The lines of a .txt by number, without blank ones, which get a warning. Raises ConfigError for other files."""
    lines = _LINE_ENDS.split(decoded(path, encoding)[0])
    rows = dict(enumerate(lines[:-1] if not lines[-1] else lines, 1))
    for row, line in rows.items():
        if problem := unwritable(line):
            raise ConfigError(f"input={path}: row {row} has {problem}")
    if blank := [row for row, line in rows.items() if not line.strip()]:
        _LOG.warning("%s: %d blank lines are passed over (%s)", path, len(blank), listed(blank))
    return {row: line for row, line in rows.items() if line.strip()}


def decoded(path: Path, encoding: str | None) -> tuple[str, str]:
    """A file's text and its encoding: by its mark, UTF-8 or UTF-16; else the task's own, else Windows-1252.

    The file may be written in another one than the data were. Raises ConfigError where none can be right.
    """
    content = read_bytes(path, "input")
    try:
        text, found = decode(content, None)
        return decode(content, encoding) if found == "cp1252" and encoding else (text, found)
    except ValueError as error:
        if encoding is None:
            rule = "that is a key of the trial's own data, and null there: save the file as UTF-8"
            raise ConfigError(f"input={path}: {error}; {rule}") from None
    try:
        return decode(content, encoding)
    except ValueError as error:
        raise ConfigError(f"input={path}: {error}; save the file as UTF-8") from None


def tell_gap_words(path: Path, texts: Iterable[tuple[object, str]]) -> None:
    """Warn of texts, with their rows, that are words which programs write for a gap: they are answered as texts."""
    if rows := [row for row, text in texts if is_gap_word(text)]:
        said = "texts are a word that programs write for a gap, as nan, and are answered as texts"
        _LOG.warning("%s: %d %s (rows %s)", path, len(rows), said, listed(rows))


def refuse_gaps(path: Path, gaps: Mapping[object, str]) -> None:
    """Raise ConfigError, with the rows, where something is missing in some: each row has its answer, or none has."""
    if not gaps:
        return
    kinds = {kind: [row for row, found in gaps.items() if found == kind] for kind in dict.fromkeys(gaps.values())}
    said = "; ".join(f"{kind} in {len(rows)} rows ({listed(rows)})" for kind, rows in kinds.items())
    raise ConfigError(f"input={path}: {said}; each row is predicted: fill them, or take them out")
