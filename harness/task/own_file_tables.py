"""A user's own tables of files: every one read, told apart by what is in it, and splits cut as of other tables."""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pandas as pd

from harness.config import ConfigError, FileTableConfig, names_in
from harness.system.paths import listed
from harness.task.intake.datasets import labelled_splits
from harness.task.intake.files import given_files
from harness.task.intake.findings import DataFindings
from harness.task.intake.held import named_or_held, shortened
from harness.task.intake.labels import is_gap
from harness.task.intake.left import Left
from harness.task.intake.misplaced import ABSENT, file_at, misplaced, where_they_are
from harness.task.intake.segments import FileParts, of_parts
from harness.task.intake.split_column import by_column
from harness.task.intake.table import ARROW, Table, load_table, usual_column
from harness.task.own_labels import with_label_sets
from harness.task.own_pairs import filled
from harness.task.own_text import Frames, own_splits


class Content(Protocol):
    """The content of a file: the digest of its picture or sound, or the problem that keeps it from being read."""

    @property
    def digest(self) -> str: ...

    @property
    def problem(self) -> str: ...


C = TypeVar("C", bound=Content)


@dataclasses.dataclass(frozen=True)
class NamedFile(Generic[C]):
    """A file by its name in the table, where it is or the bytes that it holds, and what is in it."""

    name: str
    source: Path | bytes
    content: C


@dataclasses.dataclass(frozen=True)
class Files(Generic[C]):
    """The reader of a table's files: `kind` is the word for one and `noun` for its content, `usual` are the usual names
    of its column, and `rarer` those that are tried after them, `place` finds one in a folder by its name, and `read`
    reads many. Names of files that are read end in `suffixes`, and in `unread` those of files of the kind that are not.
    Of `parts` of a file a table may have a row for each.
    """

    kind: str
    noun: str
    usual: Sequence[str]
    read: Callable[[Sequence[Path | bytes]], Sequence[C]]
    place: Callable[[Path, str], Path] = file_at
    suffixes: Sequence[str] = ()
    unread: Sequence[str] = ()
    parts: FileParts | None = None
    rarer: Sequence[str] = ()


_PIXELS = re.compile(r"pixels?[ _]?\d*|\d+x\d+", re.IGNORECASE)


def _refuse_pixels(where: str, table: Table, usual: Collection[str]) -> None:
    """Raise ConfigError for pictures whose pixels are in columns, and no column is of a `usual` name of files."""
    names = list(map(str, table.frame.columns))
    named = [name for name in names if _PIXELS.fullmatch(name)]
    if named and not any(name.casefold() in usual for name in names):
        rule = "write the picture of each row to a file, and name these in a column"
        raise ConfigError(f"{where}: pixels in columns ({listed(named)}) are not read; {rule}")


def _rule(files: Files[Any]) -> str:
    """Return the end of an error on a missing column."""
    return f", or a template of its columns, as 'files/{{id}}{files.suffixes[0]}'"


FilesBySplit = dict[str, list[NamedFile[C]]]


def read_own_files(config: FileTableConfig, files: Files[C]) -> tuple[Frames, FilesBySplit[C], DataFindings]:
    """The three splits, of columns text (the digests of contents) and label, the files of their rows, and what was
    found out. Raises ConfigError for what is ambiguous or cannot be read.
    """
    tables, by_row = dict[str, tuple[str, Table]](), dict[str, dict[object, NamedFile[C]]]()
    key = f"task.{config.file_key}"
    given, told = _given(config, files.kind)
    given = by_column(given, config.split, config.gaps)
    left = Left(tuple(given), told=told)
    for split, (where, table) in given.items():
        if config.file_column is None:
            _refuse_pixels(where, table, files.usual)
        column = config.file_column or usual_column(table, key, files.usual, _rule(files), rarer=files.rarer)
        if split == "train":
            config = config.of_column(column)
        cells_of(table, "task.label", config.label_name)  # before files are read
        cells = cells_of(table, key, column)
        found, wrong = read_named(files, table.path.parent, cells)
        if wrong and config.gaps == "refuse":
            said = by_reason(wrong)
            folder, named = table.path.parent, dict(cells.items())
            earlier = [each.name for rows in by_row.values() for each in rows.values()]
            rule = where_they_are(key, folder, column, files.suffixes, cells=named, wrong=wrong, earlier=earlier)
            raise ConfigError(f"{where}: {len(wrong)} {files.kind}s cannot be read ({said}); {rule}")
        if files.parts is not None:
            digests = [each.content.digest for each in found.values()]
            told += of_parts(files.parts, where, table, digests, settled=config.duplicates != "refuse")
        left.note("unreadable", split, list(wrong))
        by_row[split] = found
        tables[split] = (where, _with_digests(config, column, table, found, wrong))
    config = config.of_column(_plain(config))  # messages name the column that there is
    source = str(config.data or config.dataset)
    where = f"task.data={source}" if config.data else f"task.dataset={source}"
    _, splits, facts = own_splits(config, where, source, tables, files.noun, left)
    chosen = {
        split: [by_row[split if split in tables else "train"][row] for row in frame.index]
        for split, frame in splits.items()
    }
    kept = {split: list(map(str, frame.index)) for split, frame in splits.items()}
    return splits, chosen, dataclasses.replace(facts, kept=kept)


def _given(config: FileTableConfig, kind: str) -> tuple[dict[str, tuple[str, Table]], list[str]]:
    """The table of each split that is given, with the key that names it; and notes on others."""
    if config.data is None and config.dataset is None:
        raise ConfigError(f"task.data: missing; give a table of {kind}s and labels, or task.dataset")
    named = config.file_column
    wanted = [*names_in(named), *config.label_columns, config.group, config.time] if named else []
    columns = [column for column in wanted if column is not None]
    if config.dataset is not None:
        tables, told = labelled_splits(
            config.dataset, config.subset, wanted=columns, label=config.label_columns[0], named=config.split_names
        )
        return {split: (where, with_label_sets(config, where, table)) for split, (where, table) in tables.items()}, told
    tables = {}
    for split, key, name in given_files(config.data, config.validation, config.test):
        path = Path(name).expanduser()
        read = columns if path.suffix.lower() in ARROW else config.label_columns
        table = load_table(
            path, key, read, encoding=config.encoding, separator=config.separator, columns=config.columns
        )
        where = f"{key}={name}"
        tables[split] = where, with_label_sets(config, where, table)
    return tables, []


def cells_of(table: Table, key: str, column: str) -> pd.Series:
    """A column of files, or the names that a template makes of a row."""
    if "{" not in column:
        return table.column(key, column)
    column = column.replace("\\", r"\\")  # which parts folders, and begins no line break
    return pd.Series(filled(table, key, column, gaps_allowed=False), index=table.frame.index, dtype=object)


def _plain(config: FileTableConfig) -> str:
    """Return the name of the column of files once they are read: a template would be filled again."""
    return config.columns_read["text"].replace("{", "<").replace("}", ">")


def read_named(
    files: Files[C], folder: Path, cells: Mapping[Any, object] | pd.Series
) -> tuple[dict[object, NamedFile[C]], dict[object, str]]:
    """The file of each row that has one, relative to a folder, and what is wrong with others; empty cells are gaps."""
    sources, names, wrong = dict[object, Path | bytes](), dict[object, str](), dict[object, str]()
    for row, cell in cells.items():
        if is_gap(cell):
            continue
        try:
            names[row], held = named_or_held(cell, files.kind)
            sources[row] = files.place(folder, names[row]) if held is None else held
        except ValueError as error:
            wrong[row] = f"{shortened(names[row])}: {error}" if row in names else str(error)
    contents = dict(zip(sources, files.read(list(sources.values())), strict=True))
    wrong |= {row: f"{shortened(names[row])}: {each.problem}" for row, each in contents.items() if each.problem}
    sound = {row: each for row, each in contents.items() if not each.problem}
    return {row: NamedFile(names[row], sources[row], each) for row, each in sound.items()}, wrong


def by_reason(wrong: Mapping[object, str]) -> str:
    """Up to ten rows of each reason, and up to ten reasons: `wrong` has a file and its reason, or a reason alone."""
    rows: dict[str, list[str]] = {}
    for row, said in wrong.items():
        name, colon, reason = said.partition(": ")
        rows.setdefault(f"{colon}{reason}", []).append(f"row {row}: {name}")
    return listed(f"{listed(names)}{reason}" for reason, names in rows.items())


def under_another_name(folder: Path, cells: Mapping[Any, object] | pd.Series, wrong: Mapping[object, str]) -> str:
    """The file that the first of those which are not there may mean, as a message ends; nothing where none is."""
    absent = next((str(cell) for row, cell in cells.items() if wrong.get(row, "").endswith(ABSENT)), None)
    return "" if absent is None else misplaced(folder, absent)


def _with_digests(
    config: FileTableConfig, column: str, table: Table, found: dict[object, NamedFile[C]], wrong: dict[object, str]
) -> Table:
    """The table with the digests of contents in the column of files, without the rows that cannot be read."""
    frame = table.frame.drop(index=list(wrong)).drop(columns=[column], errors="ignore")
    digests = [found[row].content.digest if row in found else None for row in frame.index]
    named = frame.assign(**{_plain(config): pd.Series(digests, frame.index, object)})
    return dataclasses.replace(table, frame=named)
