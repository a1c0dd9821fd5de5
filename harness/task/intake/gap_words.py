"""Words for a gap where a text is expected: those that programs write, and those that a person may have written."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping

from harness.config import ConfigError, names_in
from harness.system.paths import listed
from harness.task.intake.table import Table

_OF_FRAMES = ("nan", "NaN", "NAN", "-nan", "NaT", "1.#QNAN", "1.#IND")
_OF_DATABASES = ("<NA>", "<null>", "<NULL>", "(null)", "(NULL)", "\\N", "[object Object]")
_OF_SHEETS = ("#N/A", "#NA", "#N/A N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!")
_OF_PROGRAMS = frozenset((*_OF_FRAMES, *_OF_DATABASES, *_OF_SHEETS))
_SAID = ("na", "n/a", "n.a.", "none", "null", "nil", "undefined", "missing", "not available")
_OF_PEOPLE = frozenset((*_SAID, "[deleted]", "[removed]"))
_OF_MESSAGES = ("content", "value", "text")


@dataclasses.dataclass
class Words:
    """The findings in tables: the rows that are left out, by split, and the warnings."""

    out: dict[str, list[object]] = dataclasses.field(default_factory=dict)
    told: list[str] = dataclasses.field(default_factory=list)

    def named(self) -> list[str]:
        """The rows that are left out, with their splits."""
        return [f"{split} {row}" for split, rows in self.out.items() for row in rows]


def is_gap_word(text: str) -> bool:
    """Return whether a text is a word that programs write for a missing value."""
    return text.strip() in _OF_PROGRAMS


def without_gap_words(
    where: str,
    split: str,
    table: Table,
    columns: Collection[str],
    *,
    policy: str,
    gaps: str,
    found: Words,
    options: Collection[str] = (),
) -> Table:
    """A table without rows whose texts are words for a gap, as `policy` and `gaps` have it; what is done is `found`.

    Words that a person may have written are told; not those of `options`, where none is an answer, or a part of a
    text. Raises ConfigError, with the rows, for words of programs that are to be refused.
    """
    if policy == "keep":
        return table
    names = list(map(str, table.frame.columns))
    there = [name for name in dict.fromkeys(columns) if names.count(name) == 1]
    written = {name: _rows_with(table, name, _OF_PROGRAMS, folded=False) for name in there}
    people = {name: _rows_with(table, name, _OF_PEOPLE, folded=True) for name in there if name not in options}
    if policy == "refuse" and gaps == "refuse" and any(written.values()):
        rule = "task.gaps=leave_out leaves them out, task.gap_words=keep takes them for texts"
        raise ConfigError(f"{where}: a word that programs write for a gap, {_said(written)}; {rule}")
    if policy == "refuse" and any(people.values()):
        rule = "task.gap_words=leave_out leaves them out"
        found.told.append(f"{split}: a text that often means that there is none, {_said(people)}; {rule}")
    left_out = [*written.values(), *(people.values() if policy == "leave_out" else [])]
    gone = {row for rows in left_out for row in rows}
    if not gone:
        return table
    found.out[split] = [row for row in table.frame.index if row in gone]
    return dataclasses.replace(table, frame=table.frame.drop(index=found.out[split]))


def beside_others(templates: Collection[str]) -> list[str]:
    """The columns that templates name beside others: a word in one of them is not the text."""
    named = [names_in(template) for template in templates]
    return [name for names in named if len(set(names)) > 1 for name in names]


def _rows_with(table: Table, column: str, words: Collection[str], *, folded: bool) -> dict[object, str]:
    """The rows of a column that hold such a word as a whole text, and the word."""
    cells = table.column("task.data", column)
    found = {}
    for row, cell in cells.items():
        for text in _texts_in(cell):
            plain = text.strip()
            if len(plain) < 20 and (plain.casefold() if folded else plain) in words:
                found[row] = plain
    return found


def _texts_in(cell: object) -> Iterator[str]:
    """The text of a cell, or those of a list, or of its messages."""
    if isinstance(cell, str):
        yield cell
    elif isinstance(cell, Mapping):
        for name in _OF_MESSAGES:
            yield from _texts_in(cell.get(name))
    elif isinstance(cell, list | tuple):
        for item in cell:
            yield from _texts_in(item)


def _said(found: Mapping[str, Mapping[object, str]]) -> str:
    """Words with their columns and rows."""
    words: dict[tuple[str, str], list[object]] = {}
    for name, rows in found.items():
        for row, word in rows.items():
            words.setdefault((name, word), []).append(row)
    return "; ".join(f"{word!r} in {len(at)} rows of {name} ({listed(at)})" for (name, word), at in words.items())
