"""A column of a table that says which split each row is in: taken where it is named, never passed over in silence."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping

import pandas as pd

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.base import SPLITS
from harness.task.intake.folders import split_named
from harness.task.intake.held import shortened
from harness.task.intake.labels import is_gap
from harness.task.intake.split_names import (
    decided_about,
    decision,
    is_plain,
    may_decide,
    may_number_splits,
    named_split,
    names_training,
)
from harness.task.intake.table import Table

NONE = "none"
"""What task.split is where such a column means something else."""

_RULE = (
    "names of splits are train, validation, test and what is usual for them; task.gaps=leave_out leaves these rows out"
)
_SHOWN = 5  # names of splits in a message


def by_column(given: Mapping[str, tuple[str, Table]], column: str | None, gaps: str) -> dict[str, tuple[str, Table]]:
    """The splits that are given, each with what names it and its table; the table of training is taken apart by the
    `column` that says of which split its rows are. Rows that are of none are left out where `gaps` are.

    Raises ConfigError where none is named and there is such a column, and else, with the rows, for those of no split.
    """
    if empty := [where for split, (where, table) in given.items() if split != "train" and not len(table.frame)]:
        raise ConfigError(f"{empty[0]}: no rows in it; null has the split cut from the others")
    if column == NONE:
        return dict(given)
    where, table = given["train"]
    there = _columns_of_splits(table)
    if column is None:
        if there:
            raise ConfigError(f"{where}: {_found(table, there)}")
        return dict(given)
    where = f"{where} task.split={column}"
    if decided_about(column) and (others := [name for name in there if name != column and decided_about(name)]):
        raise ConfigError(
            f"{where}: {listed(others)} decides about splits, too; write one column of train, validation and test"
        )
    splits, of_none = _splits(column, table.column("task.split", column))
    if of_none and gaps == "refuse":
        raise ConfigError(f"{where}: {len(of_none)} rows are of no split ({_rows(of_none)}); {_RULE}")
    if of_none:
        said = f"in column {column}, {len(of_none)} rows of no split left out: {_rows(of_none)}"
        table = dataclasses.replace(
            table, frame=table.frame.drop(index=list(of_none)), format={**table.format, "split": said}
        )
    if "train" not in splits.values():
        raise ConfigError(f"{where}: no row is of train; splits: {listed(sorted(set(splits.values())))}")
    parts = {split: _part(where, table, column, splits, split) for split in SPLITS if split in splits.values()}
    if twice := [split for split in given if split != "train" and split in parts]:
        raise ConfigError(f"{where}: rows of {twice[0]}, which {given[twice[0]][0]} gives, too; one of them")
    return {**given, **parts}


def numbered_splits(given: Mapping[str, tuple[str, Table]], column: str | None, read: Collection[str]) -> list[str]:
    """Return warnings about columns of training's table that no setting names, that are not `read`, and that may define
    splits: by numbers, by yes and no in one that is called train, or by names most of which are of training.
    """
    if column is not None or "train" not in given:
        return []
    table = given["train"][1]
    names = list(map(str, table.frame.columns))
    told = []
    for name in names:
        if name in read or names.count(name) > 1:
            continue
        cells = list(map(_plain, table.column("task.split", name)))
        decides = may_decide(name, cells)
        if decides or may_number_splits(name, cells) or names_training(cells):
            told.append(_may_say(name, table, decides))
    return told


def untimed(given: Collection[str], time: str | None) -> list[str]:
    """Return warnings about a column of times that cuts nothing, since all splits are given."""
    if time is None or not set(SPLITS).issubset(given):
        return []
    return [f"task.time={time} is passed over: all splits are given, and none is cut"]


def _may_say(name: str, table: Table, decides: bool) -> str:
    said = f"column {name} may say of which split each row is ({_counts(table.column('task.split', name))})"
    how = "" if decides else "with train, validation and test in it "
    return f"{said}, and is not read: {how}task.split={name} takes them; task.split=none if it means something else"


def _plain(cell: object) -> object:
    """A cell; of a list or the like nothing."""
    return cell if isinstance(cell, str | bool | int | float) else None


def _part(where: str, table: Table, column: str, splits: Mapping[object, str], split: str) -> tuple[str, Table]:
    mine = table.frame[[splits[row] == split for row in table.frame.index]]
    names = sorted({str(cell).strip() for cell in mine[column] if not is_plain(str(cell))})
    said = f"in column {column}{', as ' if names else ''}{listed(names)}"
    return where, dataclasses.replace(table, frame=mine, format={"split": said, **table.format})


def _columns_of_splits(table: Table) -> list[str]:
    names = [str(name) for name in table.frame.columns]
    return [name for place, name in enumerate(names) if _says_splits(name, table.frame.iloc[:, place])]


def _says_splits(name: str, cells: pd.Series) -> bool:
    """Return whether most cells name splits, training and another, or decide about one of them."""
    said = Counter(str(cell) for cell in cells if isinstance(cell, str | bool | int | float) and not is_gap(cell))
    if decided_about(name) is not None:
        return {decision(cell) for cell in said} == {True, False}
    named = {cell: split for cell in said if (split := named_split(cell)) is not None}
    found = set(named.values())
    return "train" in found and len(found) > 1 and 2 * sum(said[cell] for cell in named) > said.total()


def _splits(column: str, cells: pd.Series) -> tuple[dict[object, str], dict[object, object]]:
    """The split of each row, and the cells of those that are of none."""
    about = decided_about(column) or split_named(column)
    other = "test" if about == "train" else "train"
    found, wrong = dict[object, str](), dict[object, object]()
    for row, cell in cells.items():
        decided = None if about is None or is_gap(cell) else decision(str(cell))
        split = named_split(cell) if decided is None else about if decided else other
        if split is None:
            wrong[row] = cell
        else:
            found[row] = split
    return found, wrong


def _rows(of_none: Mapping[object, object]) -> str:
    return listed(f"row {row}: {_cell(cell)}" for row, cell in of_none.items())


def _cell(cell: object) -> str:
    return "empty" if is_gap(cell) else shortened(repr(cell))


def _found(table: Table, names: list[str]) -> str:
    """Return the error on columns that name splits."""
    said = "; ".join(f"{name}: {_counts(table.column('task.split', name))}" for name in names)
    what = "a column says of which split each row is" if len(names) == 1 else "columns say of which split each row is"
    others = list(dict.fromkeys(map(_cell, _splits(names[0], table.column("task.split", names[0]))[1].values())))
    also = f" with task.gaps=leave_out, which leaves out rows that name none ({listed(others)})" if others else ""
    key = f"'task.split={names[0]}'" if " " in names[0] else f"task.split={names[0]}"
    return f"{what} ({said}); {key}{also} takes these splits, none cuts others as if it was not there"


def _counts(cells: pd.Series) -> str:
    counts = Counter(str(cell) for cell in cells if not is_gap(cell))
    return ", ".join(f"{shortened(cell)} in {count} rows" for cell, count in counts.most_common(_SHOWN))
