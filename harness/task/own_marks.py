"""Questions that a table marks as without an answer, or with one, beside the answers that they have."""

import dataclasses
from collections.abc import Sequence

from harness.config import ConfigError, ExtractiveQaConfig
from harness.system.paths import listed
from harness.task.intake.labels import is_gap
from harness.task.intake.quoted import OWN, Quoted
from harness.task.intake.split_names import decision
from harness.task.intake.table import Table

_NONE = ("is_impossible", "impossible", "unanswerable")
_SOME = ("answerable", "is_answerable", "has_answer")


@dataclasses.dataclass(frozen=True)
class Asked:
    """The content of a table's row; texts are empty, and `answers` None, if a cell is. `impossible`: whether a mark
    says that it has no answer; None if there is no mark.
    """

    name: str
    text: str
    context: str
    answers: tuple[Quoted, ...] | None
    id: str | None = None
    group: str | None = None
    impossible: bool | None = None
    time: object = None


def mark_column(table: Table) -> str | None:
    """The column that marks questions without an answer, or those with one."""
    there = set(map(str, table.frame.columns))
    return next((name for name in (*_NONE, *_SOME) if name in there), None)


def marked(column: str, cell: object) -> bool | None:
    """Return whether a cell says that there is no answer. Raises ValueError for one that is neither yes nor no."""
    if is_gap(cell):
        return None
    said = decision(str(cell))
    if said is None:
        raise ValueError(f"{column} is {str(cell)[:40]!r}, neither true nor false")
    return said == (column in _NONE)


def as_marked(
    config: ExtractiveQaConfig, where: str, table: Table, rows: Sequence[Asked]
) -> tuple[list[Asked], list[str]]:
    """The rows with the answers that count, and the names of those that are left out, since mark and answers differ.

    Raises ConfigError, with the rows, where that is refused.
    """
    own = table.format.get("layout") == OWN
    policy = config.impossible or ("marked" if own else "answers")
    if policy != "answers":
        rows = [dataclasses.replace(row, answers=()) if row.impossible and row.answers is None else row for row in rows]
    answered = [row.name for row in rows if row.impossible and row.answers]
    without = [row.name for row in rows if row.impossible is False and row.answers == ()]
    if policy == "refuse" and (answered or without):
        kinds = {"have an answer, and the mark that there is none": answered}
        kinds |= {"have none, and the mark that there is one": without}
        said = "; ".join(f"{len(names)} rows {kind} (rows {listed(names)})" for kind, names in kinds.items() if names)
        rule = "task.impossible=marked takes the mark, answers the answers, leave_out leaves the rows out"
        raise ConfigError(f"{where}: {mark_column(table)}: {said}; {rule}")
    if policy == "leave_out":
        out = {*answered, *without}
        return [row for row in rows if row.name not in out], [row.name for row in rows if row.name in out]
    if policy == "marked":
        gaps = set() if config.impossible is None else set(without)
        taken = set(answered)
        rows = [
            dataclasses.replace(row, answers=() if row.name in taken else None if row.name in gaps else row.answers)
            for row in rows
        ]
    return list(rows), []
