"""Rows that are left out, and the notes on them."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass
class Left:
    """Rows that are not taken, by reason, under the names that messages and facts have for them; and the unit of the
    numbers of each split.
    """

    given: Sequence[str]
    rows: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    told: list[str] = dataclasses.field(default_factory=list)
    units: dict[str, str] = dataclasses.field(default_factory=dict)

    def name(self, split: str, row: object) -> str:
        """With its split, where several are given; a row of a split that was cut is one of training's file."""
        return f"{split if split in self.given else 'train'} {row}" if len(self.given) > 1 else str(row)

    def note(self, reason: str, split: str, rows: Sequence[object]) -> None:
        if len(rows):
            self.rows.setdefault(reason, []).extend(self.name(split, row) for row in rows)
