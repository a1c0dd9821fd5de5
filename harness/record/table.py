"""Records as a table and as W&B's summary, both from what the fields say of themselves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.record.fields import Field, Measure, Part, Section, columns, fields_of, marked, plain
from harness.record.sections import Record

if TYPE_CHECKING:
    import pandas as pd


def frame(records: Sequence[Record]) -> "pd.DataFrame":
    """One row a trial, by number; a column for each measure and setting that any of them reached.

    Lists are joined: targets by +, names by a space.
    """
    import pandas as pd  # a record is read and written without it

    ordered = sorted(records, key=lambda entry: entry.trial)
    table: dict[str, list[Any]] = {}
    for field in fields_of(Record):
        rows = [dict(_cells(field, getattr(entry, field.name))) for entry in ordered]
        always = not isinstance(field.mark, Part) or field.mark.settings
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [row.get(name) for row in rows]
            if always or any(value is not None for value in values):
                table[name] = values
    return pd.DataFrame(table)


def row(entry: Record) -> dict[str, Any]:
    """The columns of one trial in the table, without those that it did not reach."""
    cells = (cell for field in fields_of(Record) for cell in _cells(field, getattr(entry, field.name)))
    return {name: value for name, value in cells if value is not None}


def measures() -> dict[str, Measure]:
    """The unit and direction of each column; scores, which are named by split and metric, are not among them."""
    found: dict[str, Measure] = {}
    for field in fields_of(Record):
        if isinstance(field.mark, Measure):
            found[field.mark.column or field.name] = field.mark
        elif isinstance(field.mark, Part) and isinstance(field.default, Section):
            found |= dict(marked(type(field.default), field.mark.columns))
    return found


def _cells(field: Field, value: Any) -> Iterator[tuple[str, Any]]:
    """The columns of one field of the record, and what a trial has in them."""
    if isinstance(field.mark, Measure):
        yield field.mark.column or field.name, _joined(value, " ")
    elif isinstance(field.mark, Part) and isinstance(value, Section):
        yield from ((name, _joined(cell, "+")) for name, cell in columns(value, field.mark.columns))
    elif isinstance(field.mark, Part):
        for group, scores in value.items():
            yield from ((f"{group}_{name}", score) for name, score in scores.items())


def _joined(value: Any, mark: str) -> Any:
    return mark.join(value) if isinstance(value, list) else value


def wandb_summary(entry: Record) -> Mapping[str, Any]:
    """What W&B's summary of a trial holds: the record, under the keys that its fields name."""
    found: dict[str, Any] = {}
    for field in fields_of(Record):
        key = (field.mark.wandb if isinstance(field.mark, Part) else None) or field.name
        found[key] = plain(getattr(entry, field.name))
    return found
