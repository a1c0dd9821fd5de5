"""The metadata of a record's fields: unit, direction, table column, tracker's key."""

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self

Direction = Literal["lower is better", "higher is better", ""]


@dataclasses.dataclass(frozen=True)
class TableColumn:
    """Marks a field that has a column in tables.

    Without `column` the column is called after the section's prefix and the field.
    """

    unit: str = ""
    better: Direction = ""
    column: str | None = None


@dataclasses.dataclass(frozen=True)
class ColumnPrefix:
    """Marks a section of the record: the prefix of its columns, and its key in trackers where that differs.

    The columns of `settings` are there even where no trial of a table has a value.
    """

    prefix: str
    tracked: str | None = None
    settings: bool = False


Bytes = Annotated[int, TableColumn("bytes", "lower is better")]
Seconds = Annotated[float, TableColumn("s", "lower is better")]


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a section or of the record, with what its annotation says of it."""

    name: str
    kind: Any
    mark: TableColumn | ColumnPrefix | None
    derived: bool
    default: Any


class Section:
    """Frozen fields that are reached together. An empty section, false as a truth value, was not reached."""

    def __bool__(self) -> bool:
        return self != type(self)()

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Self:
        """The section from JSON. Keys that this version does not know are left out; derived fields are computed."""
        known = {field.name: field for field in fields_of(cls) if not field.derived}
        return cls(**{name: read_value(known[name].kind, value) for name, value in tree.items() if name in known})


def read_value(kind: Any, value: Any) -> Any:
    """A value from JSON as its field's type has it: sections and mappings of sections are built, the rest stays."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind.read(value)
    if typing.get_origin(kind) is dict and isinstance(part := typing.get_args(kind)[1], type):
        return {key: read_value(part, item) for key, item in value.items()}
    return value


_KNOWN: dict[type[Any], tuple[Field, ...]] = {}


def fields_of(section: type[Any]) -> tuple[Field, ...]:
    """The fields of a section's class, in the order in which they are written."""
    if section not in _KNOWN:
        hints = typing.get_type_hints(section, include_extras=True)
        _KNOWN[section] = tuple(_field(field, hints[field.name]) for field in dataclasses.fields(section))
    return _KNOWN[section]


def _field(field: dataclasses.Field[Any], hint: Any) -> Field:
    marks = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, TableColumn | ColumnPrefix)]
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return Field(field.name, kind, marks[-1] if marks else None, not field.init, default)


def plain(value: Any) -> Any:
    """A section as JSON takes it; what was not reached is left out: None, empty containers and empty sections."""
    if isinstance(value, Section):
        found = ((field.name, getattr(value, field.name)) for field in fields_of(type(value)))
        return {name: plain(item) for name, item in found if _is_reached(item)}
    return {key: plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _is_reached(item: Any) -> bool:
    return bool(item) if isinstance(item, Section | Mapping | list) else item is not None


def columns(section: Section, prefix: str) -> Iterator[tuple[str, Any]]:
    """The columns of a section, with None where a value was not reached."""
    reached = bool(section)
    for name, field in _named(type(section), prefix):
        yield name, getattr(section, field.name) if reached else None


def marked(section: type[Section], prefix: str) -> Iterator[tuple[str, TableColumn]]:
    """The columns of a kind of section, with the metadata of each."""
    for name, field in _named(section, prefix):
        assert isinstance(field.mark, TableColumn)
        yield name, field.mark


def _named(section: type[Section], prefix: str) -> Iterator[tuple[str, Field]]:
    for field in fields_of(section):
        if isinstance(field.mark, TableColumn):
            default = f"{prefix}_{field.name}" if prefix else field.name
            yield default if field.mark.column is None else field.mark.column, field


def split(tree: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The items of a mapping whose keys are among the names, and the other items."""
    wanted = set(names)
    mine = {name: value for name, value in tree.items() if name in wanted}
    return mine, {name: value for name, value in tree.items() if name not in wanted}
