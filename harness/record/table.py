"""Records as a table and as a tracker shows them, both from what the fields say of themselves."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.record.fields import ColumnPrefix, Field, Section, TableColumn, columns, fields_of, marked
from harness.record.outcome import headline_score
from harness.record.sections import Record

if TYPE_CHECKING:
    import pandas as pd


def frame(records: Sequence[Record]) -> "pd.DataFrame":
    """One row a trial, by number; a column for each figure and setting that any of them reached.

    Lists are joined: targets by +, names by a space.
    """
    import pandas as pd  # a record is read and written without it

    ordered = sorted(records, key=lambda entry: entry.trial)
    table: dict[str, list[Any]] = {}
    for field in fields_of(Record):
        rows = [dict(_cells(field, getattr(entry, field.name))) for entry in ordered]
        always = not isinstance(field.mark, ColumnPrefix) or field.mark.settings
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [row.get(name) for row in rows]
            if always or any(value is not None for value in values):
                table[name] = values
    return pd.DataFrame(table)


def row(entry: Record) -> dict[str, Any]:
    """The columns of one trial in the table, without those that it did not reach."""
    cells = (cell for field in fields_of(Record) for cell in _cells(field, getattr(entry, field.name)))
    return {name: value for name, value in cells if value is not None}


def measured_columns() -> dict[str, TableColumn]:
    """The unit and direction of each column; scores, which are named by split and metric, are not among them."""
    found: dict[str, TableColumn] = {}
    for field in fields_of(Record):
        if isinstance(field.mark, TableColumn):
            found[field.mark.column or field.name] = field.mark
        elif isinstance(field.mark, ColumnPrefix) and isinstance(field.default, Section):
            found |= dict(marked(type(field.default), field.mark.prefix))
    return found


def _cells(field: Field, value: Any) -> Iterator[tuple[str, Any]]:
    """The columns of one field of the record, and what a trial has in them."""
    if isinstance(field.mark, TableColumn):
        yield field.mark.column or field.name, _joined(value, " ")
    elif isinstance(field.mark, ColumnPrefix) and isinstance(value, Section):
        yield from ((name, _joined(cell, "+")) for name, cell in columns(value, field.mark.prefix))
    elif isinstance(field.mark, ColumnPrefix):
        for group, scores in value.items():
            yield from ((f"{group}_{name}", score) for name, score in scores.items())


def _joined(value: Any, mark: str) -> Any:
    return mark.join(value) if isinstance(value, list) else value


def tracked(entry: Record, width: int | None = None) -> dict[str, Any]:
    """Return a trial's tracker values: flat keys, the headline first, then each field with a column as section/field.

    `rank` is a number for every arm: of LoRA its rank, or the mean over layers; 0 where no layer is updated, as with a
    head alone; of full fine-tuning the `width` of the model's layers, the most that an update's rank can be, and left
    out where that is unknown.
    """
    return _headline(entry, width) | {key: value for key, value in _measured(entry) if value is not None}


def _headline(entry: Record, width: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"score/{split}": headline_score(entry, split) for split in ("val", "test") if split in entry.scores
    }
    if entry.parameters:
        found["params/trained"] = entry.parameters.trainable
    if entry.memory:
        found["memory/peak"] = entry.memory.above_process
    rank = _rank(entry, width)
    return found if rank is None else found | {"rank": rank}


def _rank(entry: Record, width: int | None) -> float | None:
    if entry.lora.rank is not None:
        return entry.lora.rank
    if ranks := entry.adapter.ranks.values():
        return sum(ranks) / len(ranks)
    if entry.lora.trains_whole_base:
        return width
    return None if entry.parameters.adapter else 0


def _measured(entry: Record) -> Iterator[tuple[str, Any]]:
    for field in fields_of(Record):
        value = getattr(entry, field.name)
        if isinstance(field.mark, TableColumn):
            yield field.name, _joined(value, " ")
        elif isinstance(value, Section) and value:
            for own in fields_of(type(value)):
                if isinstance(own.mark, TableColumn):
                    yield tracked_key(field, own), _joined(getattr(value, own.name), "+")
        elif isinstance(field.mark, ColumnPrefix) and not isinstance(value, Section):
            for split, scores in value.items():
                yield from ((f"{split}/{name}", score) for name, score in scores.items())


def tracked_key(field: Field, own: Field) -> str:
    """The key that a tracker has for a field of a section."""
    section = (field.mark.tracked if isinstance(field.mark, ColumnPrefix) else None) or field.name
    return f"{section}/{own.name}"
