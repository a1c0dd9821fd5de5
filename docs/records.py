"""The reference of a record's fields, from what the fields say of themselves."""

import inspect
from collections.abc import Mapping, Sequence

from harness.record import Record, tracked_key
from harness.record.fields import ColumnPrefix, Field, Section, TableColumn, fields_of


def reference() -> str:
    """A heading, the description and a table for the record itself and for each of its sections."""
    own = [field for field in fields_of(Record) if not _is_section(field)]
    parts = ["### The record itself", _described(Record), _table(own, "", {})]
    for field in fields_of(Record):
        if _is_section(field):
            part = field.mark if isinstance(field.mark, ColumnPrefix) else ColumnPrefix("")
            keys = {own.name: tracked_key(field, own) for own in fields_of(field.kind)}
            parts += [f"### `{field.name}`", _described(field.kind), _table(fields_of(field.kind), part.prefix, keys)]
    return "\n\n".join(parts)


def _is_section(field: Field) -> bool:
    return isinstance(field.kind, type) and issubclass(field.kind, Section)


def _described(section: type[Section]) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(section) or "").split("\n\n"))


def _table(fields: Sequence[Field], prefix: str, keys: Mapping[str, str]) -> str:
    rows = ["| field | unit | better | column | tracker |", "|---|---|---|---|---|"]
    for field in fields:
        unit = better = column = key = ""
        if isinstance(field.mark, TableColumn):
            unit, better = field.mark.unit, field.mark.better.removesuffix(" is better")
            default = f"{prefix}_{field.name}" if prefix else field.name
            column = f"`{default if field.mark.column is None else field.mark.column}`"
            key = f"`{keys.get(field.name, field.name)}`"
        rows.append(f"| `{field.name}` | {unit} | {better} | {column} | {key} |")
    return "\n".join(rows)
