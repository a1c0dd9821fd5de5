"""Columns of a 0 or a 1, one for each label that a row may have."""

from collections.abc import Mapping

from harness.task.intake.labels import DECISIONS, is_gap, label_key


def decisions(cells: Mapping[str, object]) -> dict[str, int] | None:
    """A 0 or a 1 for each label by its column; None where a cell is empty, or all are -1, which withholds them."""
    if any(map(is_gap, cells.values())) or all(label_key(str(cell)) == "-1" for cell in cells.values()):
        return None
    return {name: DECISIONS.get(str(cell).strip().lower(), 0) for name, cell in cells.items()}


def undecided(cells: Mapping[str, object]) -> list[str]:
    """The columns of a row that have something else than a 0 or a 1, where labels are there at all."""
    if decisions(cells) is None:
        return []
    return [name for name, cell in cells.items() if str(cell).strip().lower() not in DECISIONS]
