"""Images and recordings that are to be predicted, read as those of training are: each one is answered, or refused."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import ConfigError, names_in
from harness.task.intake.asked import asked_lines, asked_table, refuse_gaps
from harness.task.intake.folders import files_in, refuse_broken, told_apart
from harness.task.intake.labels import is_gap
from harness.task.intake.table import usual_column
from harness.task.own_file_tables import C, Files, NamedFile, by_reason, cells_of, read_named, under_another_name


def asked_files(
    path: Path,
    files: Files[C],
    *,
    key: str,
    column: str | None,
    encoding: str | None,
    separator: str | None,
    columns: Sequence[str] | None,
) -> list[NamedFile[C]]:
    """The files below a folder in their order; those that a table names in its `column`, or holds; those that a .txt
    names, one a line; or the one that it is itself. `key` names the column in messages.

    Raises ConfigError, with all that cannot be read.
    """
    if path.is_dir():
        return _in_folder(path, files)
    if path.suffix.lower() in (*files.suffixes, *files.unread):
        return _each(path, files, path.parent, {1: path.name})
    if path.suffix.lower() == ".txt":
        return _each(path, files, path.parent, asked_lines(path, encoding))
    table = asked_table(
        path, names_in(column) if column else [], encoding=encoding, separator=separator, columns=columns
    )
    cells = cells_of(table, key, column or usual_column(table, key, files.usual, rarer=files.rarer))
    refuse_gaps(path, {row: f"no {files.kind}" for row, cell in cells.items() if is_gap(cell)})
    return _each(path, files, path.parent, dict(cells.items()))


def _each(path: Path, files: Files[C], folder: Path, cells: Mapping[Any, object]) -> list[NamedFile[C]]:
    found, wrong = read_named(files, folder, cells)
    if wrong:
        said = by_reason(wrong)
        hint = under_another_name(folder, cells, wrong)
        raise ConfigError(f"input={path}: {len(wrong)} {files.kind}s cannot be read ({said}){hint}")
    if not found:
        raise ConfigError(f"input={path}: no {files.kind}s in it")
    return [found[row] for row in cells]


def _in_folder(root: Path, files: Files[C]) -> list[NamedFile[C]]:
    """List files by their names below the folder; other files in it are ignored."""
    read, unread, _ = told_apart(list(files_in(root)), files.suffixes, files.unread)
    contents = files.read(read)
    problems = {path: each.problem for path, each in zip(read, contents, strict=True) if each.problem}
    refuse_broken("input", problems | dict.fromkeys(unread, "a kind of file that is not read"), root)
    if not read:
        raise ConfigError(f"input={root}: no {files.kind}s in it")
    return [NamedFile(path.relative_to(root).as_posix(), path, each) for path, each in zip(read, contents, strict=True)]
