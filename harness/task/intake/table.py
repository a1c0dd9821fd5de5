"""One table from one file: delimited text, JSON, Parquet or Arrow, as cells and the row that each stands in."""

import dataclasses
import json
import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from harness.config import ConfigError, nearest
from harness.system.paths import listed, path_problem
from harness.task.intake.delimited import raw_tabs, read_delimited
from harness.task.intake.features import Features, classes_of, noted_features, with_names
from harness.task.intake.files import decode, read_bytes, unlike_data, what_it_is
from harness.task.intake.folders import files_in, is_hidden
from harness.task.intake.split_names import may_name_splits

ARROW = (".parquet", ".arrow", ".feather")
_LABELS = ("class", "category", "target", "labels", "class_name", "class_id", "y")
_FILLED = ("task.text", "task.text_pair", "task.source", "task.target", "task.question", "task.options")
"""Keys of columns that may be templates."""
_LOOKED_AT = 200  # first cells of a column that nobody asked for
DELIMITED = (".csv", ".tsv", ".txt")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_FILE = re.compile(r".+\.(wav|flac|mp3|ogg|png|jpe?g|tiff?|bmp|gif|webp)", re.IGNORECASE)
_LONGEST = 6  # words of a column's name
SUFFIXES = (*DELIMITED, ".jsonl", ".ndjson", ".json", *ARROW)


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as they are in the file, gaps None or NaN; the index is the row's number there. `format` says what was
    found out about the file, `declared` the names of classes that its schema has, by column. One that is `asked` is to
    be predicted, by columns that are settled.
    """

    path: Path
    frame: pd.DataFrame
    format: Mapping[str, str]
    declared: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    asked: bool = False

    def column(self, key: str, name: str) -> pd.Series:
        """One column. Raises ConfigError, with `key`, where there is none of that name, or two."""
        names = [str(column) for column in self.frame.columns]
        if names.count(name) == 1:
            return self.frame.iloc[:, names.index(name)]
        if names.count(name) > 1:
            raise ConfigError(f"{key}={name}: {self.path} has {names.count(name)} columns of that name")
        there = f"columns: {listed(names)}" if names else "it has none"
        parts = [other for other in names if name in other.split("_")]
        several = f"; did you mean {' or '.join(parts)}?" if len(parts) > 1 else ""
        near = (
            several or nearest(name, names) or next((f"; did you mean {it}?" for it in names if _is_usual(key, it)), "")
        )
        way = "; rename one: columns are read as in the trial's own data" if self.asked else self._inside(key)
        found = f"no such column{near}; {there}{way}{self.first_row(key)}"
        raise ConfigError(f"{key}={name}: {self.path} has {found}")

    def with_cells(self, name: Hashable, cells: Sequence[object]) -> "Table":
        """The table with other cells in a column."""
        frame = self.frame.copy()
        frame[name] = pd.Series(list(cells), index=frame.index, dtype=object)
        return dataclasses.replace(self, frame=frame)

    def _inside(self, key: str) -> str:
        """Return the end of an error on missing columns, if one has cells of several items by name."""
        if key not in _FILLED or not len(self.frame):
            return ""
        for place, column in enumerate(map(str, self.frame.columns)):
            cell = self.frame.iloc[0, place]
            if isinstance(cell, dict) and cell:
                lists = (name for name in cell if key == "task.options" and isinstance(cell[name], list | dict))
                template = f"'{key}=\"{{{column}[{next(lists, next(iter(cell)))}]}}\"'"
                return f"; {template} takes one of the items of {column}: {listed(cell)}"
        return ""

    def first_row(self, key: str) -> str:
        """Return the end of an error message on a missing column, for a header that may be a row."""
        names = list(map(str, self.frame.columns))
        if self.path.suffix.lower() not in DELIMITED or not any(map(self._is_cell, range(len(names)))):
            return ""
        role = key.removeprefix("task.")
        as_in = "text,label" if role in ("text", "label") else role
        rule = f"write {len(names)} names above it, or, of files to train on, in task.columns=[{as_in},…]"
        return f"; if its first row is data, {rule}"

    def _is_cell(self, place: int) -> bool:
        """Return whether the name of a column looks like a cell: a number, a file, many words, or one of its own
        values.
        """
        name = str(self.frame.columns[place])
        return (
            bool(_NUMBER.fullmatch(name) or _FILE.fullmatch(name))
            or len(name.split()) > _LONGEST
            or name in set(self.frame.iloc[:, place])
        )


def _is_usual(key: str, name: str) -> bool:
    """Return whether a column of labels often has that name."""
    return key == "task.label" and name.casefold() in _LABELS


def load_table(
    path: Path,
    key: str,
    wanted: Collection[str] = (),
    *,
    encoding: str | None = None,
    separator: str | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """A table with a header, or with `columns` in place of one. `wanted` columns help to tell its separator; NA, None
    and null are words, not gaps.

    Raises ConfigError, with `key`, for what is no such file.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        problem = path_problem(path, "file")
        folder = problem is not None and problem.startswith("a folder")
        said = f"{problem}; " if problem is not None else what_it_is(path)
        others = _reader_of(path) if folder else ""
        raise ConfigError(
            f"{key}={path}: {said}expected a file that ends in .csv, .tsv, .json, .jsonl, .parquet or .arrow{others}"
        )
    if columns and kind not in DELIMITED:
        raise ConfigError(f"task.columns=[{','.join(columns)}]: {path} has names of its own; null")
    if kind in ARROW:
        return load_arrow(path, key, wanted)
    try:
        text, found = decode(read_bytes(path, key), encoding)
        told = {} if found in ("utf-8", "utf-8-sig") else {"encoding": found}
        if kind in (".jsonl", ".ndjson", ".json"):
            return Table(path, _objects(text, kind), told)
        rows, mark = read_delimited(text, kind, separator, wanted, columns or ())
        usual = "comma" if kind == ".csv" else "tab"
        return Table(path, _framed(rows), told if mark == usual else told | {"separator": mark})
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key}={path}: {' '.join(str(error).split())}") from None


def _reader_of(folder: Path) -> str:
    """Return the end of an error on a folder that is no table: the task that reads it."""
    if any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        return f"; task.dataset={folder} reads a data set of the datasets library, with task=hf one of labelled texts"
    if tables := tables_beside(folder):
        return f"; in it there is {listed(tables)}"
    kinds = {path.suffix.lower() for path in islice(files_in(folder), _LOOKED_AT)}
    if ".json" in kinds:
        return "; JSON in folders is read from one .jsonl, with an object of each file a line"
    if kinds & {"", ".txt"}:
        return "; texts in folders are read from one table, with a row for each and its folder as the label"
    return ", or task=image_folder or task=audio_folder, which read folders"


def tables_beside(folder: Path) -> list[str]:
    """The names of tables in a folder, beside what else it holds."""
    kinds = (*DELIMITED, ".jsonl", *ARROW)
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in kinds and not is_hidden(path))


def not_read(tables: Sequence[str], reader: str) -> list[str]:
    """Return warnings about tables beside the folders of classes, and which task reads such a table."""
    return [f"{listed(tables)} is not read: classes are folders; task={reader} reads a table"] if tables else []


def usual_column(table: Table, key: str, names: Sequence[str], more: str = "", *, rarer: Sequence[str] = ()) -> str:
    """The one column of a usual name, else of one in other case, or of a `rarer` one. Raises ConfigError where there is
    none, or where there are several; `more` ends it, where there is another way than naming one.
    """
    there = [str(column) for column in table.frame.columns]
    found = [name for name in names if name in there]
    found = found or [name for name in there if name.strip().casefold() in (*names, *rarer)]
    if len(found) == 1:
        return found[0]
    rule = (
        f"{listed(found)} are both usual names" if found else f"no column is named {', '.join(names[:4])} or the like"
    )
    raise ConfigError(
        f"{key}: {table.path}: {rule}; name one of its columns: {listed(there)}{more}{table.first_row(key)}"
    )


def load_bare_table(path: Path, key: str) -> pd.DataFrame:
    """Rows parted by tabs, without a header and without quotes, as published; empty where the file is."""
    if problem := path_problem(path, "file"):
        raise ConfigError(f"{key}={path}: {problem}")
    if not path.stat().st_size:
        return pd.DataFrame()
    try:
        rows = raw_tabs(read_bytes(path, key).decode("utf-8-sig"))
    except ValueError as error:
        raise ConfigError(f"{key}={path}: {error}") from None
    return pd.DataFrame([row for _, row in rows])


def _framed(rows: Sequence[tuple[int, list[str]]]) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame()
    names = [cell.strip() for cell in rows[0][1]]
    return pd.DataFrame(
        [row for _, row in rows[1:]], columns=names, index=[number for number, _ in rows[1:]], dtype=object
    )


def _objects(text: str, kind: str) -> pd.DataFrame:
    """A JSON array of objects, or an object a line."""
    start = text.lstrip()[:1]
    if start == "[" and kind != ".jsonl":
        return _records(list(enumerate(_parsed(text, "the file"), 1)))
    if start == "{" and kind == ".json" and (whole := _whole(text)) is not None:
        return _records(list(enumerate(whole, 1)))
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and start == "[" and len(lines) > 1 and lines[0][1].strip() == "[":
        return _records(list(enumerate(_parsed(text, "the file"), 1)))
    return _records([(number, _parsed(line, f"row {number}")) for number, line in lines])


def _whole(text: str) -> list[Any] | None:
    """The rows of a file that is one object with one array of objects in it, or has its columns as lists or as pandas
    writes them; None where it is none.
    """
    try:
        found = json.loads(text)
    except ValueError:
        return None
    columns = list(found.values())
    if columns and all(isinstance(each, dict) and each and each.keys() == columns[0].keys() for each in columns):
        return [{name: cells[row] for name, cells in found.items()} for row in columns[0]]
    if len(columns) > 1 and _are_columns(columns):
        return [dict(zip(found, row, strict=True)) for row in zip(*columns, strict=True)]
    if found.keys() == {"columns", "index", "data"}:
        return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    arrays = [value for value in found.values() if isinstance(value, list) and all(isinstance(v, dict) for v in value)]
    return arrays[0] if len(arrays) == 1 else None


def _are_columns(values: Sequence[Any]) -> bool:
    """Return whether values are lists of one length, and not of objects: those would be rows."""
    if not all(isinstance(each, list) for each in values) or len(set(map(len, values))) > 1:
        return False
    return not any(isinstance(cell, dict) for each in values for cell in each)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}; expected an array of objects, or an object a line") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} twice in one object")
    return found


def _records(rows: Sequence[tuple[int, Any]]) -> pd.DataFrame:
    for number, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is {type(row).__name__} {str(row)[:40]!r}; expected an object {{...}}")
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    columns = {name: pd.Series([row.get(name) for _, row in rows], dtype=object) for name in names}
    return pd.DataFrame(columns).set_axis([number for number, _ in rows], axis=0)


def load_arrow(path: Path, key: str, wanted: Collection[str] = (), features: Features | None = None) -> Table:
    """A Parquet or Arrow file, with the names of classes that `features` have; None: those that are noted in it.

    Raises ConfigError, with `key`, for what is no such file.
    """
    if problem := path_problem(path, "file"):
        raise ConfigError(f"{key}={path}: {problem}")
    try:
        with open(path, "rb") as file:
            if (head := file.read(512))[:4] not in (b"PAR1", b"ARRO") and (reason := unlike_data(head)):
                raise ConfigError(f"{key}={path}: {reason}")
        read = _parquet(path) if path.suffix.lower() == ".parquet" else _arrow(path)
        noted = noted_features(read.schema.metadata) if features is None else features
        return Table(path, with_names(of_arrow_table(read, wanted), noted), {}, classes_of(noted))
    except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
        raise ConfigError(f"{key}={path}: {' '.join(str(error).split())}") from None


def of_arrow_table(table: Any, wanted: Collection[str]) -> pd.DataFrame:
    """The cells of an Arrow table, rows numbered from 1, of the `wanted` columns and those that may name splits only.

    Cells are Python's own values: pandas would make floats of whole numbers with a gap among them.
    """
    rows = range(1, table.num_rows + 1)
    columns = {
        index: pd.Series(
            table.column(index).to_pylist() if not wanted or _is_read(table, index, wanted) else None,
            dtype=object,
            index=rows,
        )
        for index in range(table.num_columns)
    }
    return pd.DataFrame(columns, index=rows).set_axis(table.column_names, axis=1)


def _is_read(table: Any, index: int, wanted: Collection[str]) -> bool:
    name = table.column_names[index]
    return name in wanted or may_name_splits(name, table.column(index).slice(0, _LOOKED_AT).to_pylist())


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:  # read_table would take the names of folders for columns
        return file.read()


def _arrow(path: Path) -> Any:
    """Read an Arrow file or an Arrow stream; the datasets library writes both."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as source:
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).read_all()
