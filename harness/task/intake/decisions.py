"""Columns of a 0 or a 1, or of two words for these, one for each label that a row may have."""

from collections.abc import Iterable, Mapping

from harness.task.intake.labels import DECISIONS, is_gap

_PAIRS = [{"1": 1, "-1": 0}, {"yes": 1, "no": 0}, {"y": 1, "n": 0}, {"t": 1, "f": 0}]
_CROSSES = ("x", "\u2713", "\u2714", "1")
UNCERTAIN = "-1"
"""What CheXpert has where a report is not sure of a finding."""

_VALUES = {"zero": 0, "one": 1}


def coding(cells: Iterable[object], *, uncertain: str = "refuse", blank: str = "refuse") -> dict[str, int]:
    """Return the number, 1 or 0, of each cell text in all columns: the two words of a pair and no others, or 0 and 1.

    A cell of -1 counts as `uncertain`, zero or one; with `blank` zero an empty cell is zero, and others may be a cross.
    """
    found = {_key(cell) for cell in cells if not is_gap(cell)}
    if uncertain in _VALUES:
        return DECISIONS | {UNCERTAIN: _VALUES[uncertain]}
    if blank == "zero" and len(found) == 1 and found.issubset(_CROSSES):
        return {found.pop(): 1, "0": 0}
    return next((pair for pair in _PAIRS if found == pair.keys()), DECISIONS)


def without_blanks(cells: Mapping[str, object]) -> dict[str, object]:
    """Cells with 0 in place of empty ones."""
    return {name: "0" if is_gap(cell) else cell for name, cell in cells.items()}


def is_uncertain(cell: object) -> bool:
    """Return whether a cell is -1, however it is written."""
    return _key(cell) == UNCERTAIN


def decisions(cells: Mapping[str, object], coding: Mapping[str, int]) -> dict[str, int] | None:
    """A 0 or a 1 for each label by its column; None where a cell is empty, or all are -1, which withholds them."""
    if any(map(is_gap, cells.values())):
        return None
    if UNCERTAIN not in coding and all(map(is_uncertain, cells.values())):
        return None
    return {name: coding.get(_key(cell), 0) for name, cell in cells.items()}


def undecided(cells: Mapping[str, object], coding: Mapping[str, int]) -> list[str]:
    """The columns of a row that have something else than a 0 or a 1, where labels are there at all."""
    if decisions(cells, coding) is None:
        return []
    return [name for name, cell in cells.items() if _key(cell) not in coding]


def _key(cell: object) -> str:
    return str(cell).strip().lower().removesuffix(".0")
