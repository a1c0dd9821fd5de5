"""The labels of a user's own rows: as they are written, and one name for each class in all splits."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from harness.config import ConfigError, with_breaks
from harness.system.paths import listed
from harness.task.intake.codings import settle_codings
from harness.task.intake.decisions import UNCERTAIN, coding, decisions, is_uncertain, undecided, without_blanks
from harness.task.intake.joined_labels import parted_tags, refuse_combined, refuse_unparted
from harness.task.intake.labels import DECISIONS, are_decisions, label_set, read_cell, settle_alike
from harness.task.intake.left import Left
from harness.task.intake.numbers import number_labels, odd_numbers, without_unit
from harness.task.intake.outliers import outliers
from harness.task.intake.table import Table
from harness.task.own_cut import Frames, OwnRowsConfig


def with_label_sets(config: OwnRowsConfig, where: str, table: Table) -> Table:
    """A table with one column in place of several that have a 0 or a 1 for a label each, or all together two words for
    these; a row without any, or with -1 for all of them, has a gap. Raises ConfigError, with the rows, for other cells.
    """
    if isinstance(config.label, str):
        return table
    columns = {name: table.column("task.label", name) for name in config.label}
    uncertain, blank = config.labels.uncertain, config.labels.blank
    coded = coding((cell for column in columns.values() for cell in column), uncertain=uncertain, blank=blank)
    sets: dict[object, dict[str, int] | None] = {}
    wrong, unsure = dict[str, object](), list[object]()
    for place, row in enumerate(table.frame.index):
        cells = {name: column.iloc[place] for name, column in columns.items()}
        if blank == "zero":
            cells = without_blanks(cells)
        if uncertain == "leave_out" and any(map(is_uncertain, cells.values())):
            unsure.append(row)
            continue
        sets[row] = decisions(cells, coded)
        wrong |= {f"row {row}: {name} is {str(cells[name])[:20]!r}": cells[name] for name in undecided(cells, coded)}
    if wrong:
        rule = "task.label names columns that have a 0 or a 1 in each row"
        if all(map(is_uncertain, wrong.values())):
            rule = "task.labels.uncertain=zero or one reads -1 as that, leave_out leaves its rows out"
        raise ConfigError(f"{where}: {len(wrong)} cells are neither 0 nor 1 ({listed(wrong)}); {rule}")
    frame = table.frame.loc[list(sets)]
    frame = frame.assign(**{config.label_name: pd.Series(list(sets.values()), index=frame.index, dtype=object)})
    return dataclasses.replace(table, frame=frame, format={**table.format, **_told_of_cells(config, coded, unsure)})


def _told_of_cells(config: OwnRowsConfig, coded: Mapping[str, int], unsure: Sequence[object]) -> dict[str, str]:
    """Return notes on the reading of cells that are neither 0 nor 1."""
    others = {word: value for word, value in coded.items() if word not in DECISIONS}
    told = [f"{word} as {value}" for word, value in others.items() if not value or word == UNCERTAIN]
    if config.labels.blank == "zero":
        told.append("empty cells as 0")
    if unsure:
        told.append(f"{len(unsure)} rows with -1 left out ({listed(unsure)})")
    return {"labels": ", ".join(told)} if told else {}


def never_chosen(config: OwnRowsConfig, trained: pd.Series) -> list[str]:
    """Return warnings about columns of labels that no row of training has."""
    named = [] if isinstance(config.label, str) else config.label
    there = {label for cell in trained for label in cell} if named else set()
    return [f"{name} is 0 in every row of training: it is no label" for name in named if name not in there]


def labels_of(
    config: OwnRowsConfig, split: str, where: str, table: Table, cells: pd.Series, left: Left
) -> list[Hashable]:
    """The label of each row, a set, or a number as text. Raises ConfigError, with the rows, for what is none."""
    if config.answer == "labels":
        return _label_sets(where, config, cells)
    if config.answer != "number":
        return [str(cell) for cell in cells]
    comma = table.format.get("separator", "comma" if table.path.suffix.lower() == ".csv" else "") != "comma"
    settled_by = config.labels.decimal
    found, left.units[split] = without_unit(dict(cells.items()))
    if len(units := set(left.units.values())) > 1:
        said = listed(f"{each} have {unit or 'no unit'}" for each, unit in left.units.items())
        raise ConfigError(f"{where}: numbers of {config.label_name} are of {len(units)} units: those of {said}")
    numbers = number_labels(where, config.label_name, found, decimal_comma=comma, decimal=settled_by)
    told = odd_numbers(config.label_name, list(found.values()), numbers, comma, settled=settled_by is not None)
    told += [f"numbers of {config.label_name} all have {unit}, and are read in this unit" for unit in units if unit]
    told += outliers(config.label_name, dict(zip(found, map(float, numbers), strict=True)))
    left.told += [f"{split}: {said}" for said in told]
    return [*numbers]


def _label_sets(where: str, config: OwnRowsConfig, cells: pd.Series) -> list[Hashable]:
    """The labels of each row. Raises ConfigError, with the rows, for lists that cannot be read."""
    found, wrong, separator = list[Hashable](), list[str](), with_breaks(config.labels.separator)
    parted = parted_tags(where, dict(cells.items()), separator)
    _refuse_fields(where, config, parted)
    for row, cell in parted.items():
        try:
            found.append(label_set(cell, separator, config.labels.field))
        except ValueError as error:
            wrong.append(f"row {row}: {error}")
    if wrong:
        raise ConfigError(f"{where}: {config.label_name} cannot be read in {len(wrong)} rows ({listed(wrong)})")
    refuse_unparted(where, config.label_name, parted, separator)
    if config.labels.field is None and are_decisions(list(parted.values()), separator):
        rule = "a row's labels are expected, by name or number"
        raise ConfigError(
            f"{where}: {config.label_name} has a 0 or a 1 for each of several labels in every row; {rule}"
        )
    return found


def _refuse_fields(where: str, config: OwnRowsConfig, cells: Mapping[object, object]) -> None:
    """Raise ConfigError for lists of mappings where no field is named, or one that they lack."""
    items = {row: [item for item in _listed(cell) if isinstance(item, dict)] for row, cell in cells.items()}
    field = config.labels.field
    rows = [row for row, found in items.items() if any(field not in item for item in found)]
    if not rows:
        return
    first = items[rows[0]][0]
    named = next((name for name, value in first.items() if isinstance(value, str)), next(iter(first), "name"))
    rule = f"task.labels.field={named} takes that of each"
    said = f"is a list of items with fields ({listed(map(str, first))}) in {len(rows)} rows ({listed(rows)})"
    raise ConfigError(f"{where}: {config.label_name} {said}; {rule}")


def _listed(cell: object) -> list[object]:
    """The items of a cell that is a list, or has one as text; of others, and of what cannot be read, none."""
    try:
        found = read_cell(cell)
    except ValueError:
        return []
    return list(found) if isinstance(found, list | tuple) else []


def settle_labels(config: OwnRowsConfig, where: str, frames: Frames, left: Left) -> None:
    """One name for each class, in all splits alike."""
    if config.answer == "number":
        return
    several = config.answer == "labels"
    each = [
        (label, left.name(split, row))
        for split, frame in frames.items()
        for row, cell in frame["label"].items()
        for label in (cell if several else (cell,))
    ]
    labels, rows = [label for label, _ in each], [row for _, row in each]
    if not several:
        merged = settle_alike(where, labels, rows, config.labels.normalise is True)
        cells_of: dict[object, str] = dict(zip(rows, (merged[label] for label in labels), strict=True))
        policy, classes = config.labels.combined, config.classes
        left.told += refuse_combined(where, config.label_name, cells_of, policy=policy, classes=classes)
    names = settle_alike(where, labels, rows, config.labels.normalise)
    labels = [names[label] for label in labels]
    trained = sum(len(cell) if several else 1 for cell in frames["train"]["label"])  # which are the first
    if isinstance(config.label, str):  # names of columns that are listed are meant
        left.told += settle_codings(where, labels[:trained], rows[:trained], config.labels.normalise)
    for split, frame in frames.items():
        if several:
            cells: list[Hashable] = [tuple(sorted({names[label] for label in cell})) for cell in frame["label"]]
        else:
            cells = [names[label] for label in frame["label"]]
        frames[split] = frame.assign(label=pd.Series(cells, dtype=object, index=frame.index))
