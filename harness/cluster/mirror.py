"""A mirror of a study's records: Optuna's study, or none."""

from collections.abc import Callable, Sequence
from typing import Protocol

from harness.cluster.assignments import Assignment, Slot
from harness.record import Record


class StudyMirror(Protocol):
    """Follows every trial. An error of the mirror never ends a trial."""

    def begin(self, slot: Slot, assignment: Assignment) -> None:
        """Add a trial as running."""

    def report(self, trial: int, step: int, value: float) -> None:
        """Add an evaluation of a running trial."""

    def tell(self, entry: Record) -> None:
        """Finish a running trial by its record."""

    def requeue(self, trial: int) -> None:
        """Fail a running trial, which was not finished."""

    def reconcile(self, record_of: Callable[[int], Record | None], live: Callable[[int, int], bool]) -> None:
        """Finish every trial left running."""

    def backfill(self, records: Sequence[Record]) -> None:
        """Add records that were written while the mirror was out of reach."""


class NoMirror:
    """No mirror, for single trials, which belong to no search."""

    def begin(self, slot: Slot, assignment: Assignment) -> None:
        return

    def report(self, trial: int, step: int, value: float) -> None:
        return

    def tell(self, entry: Record) -> None:
        return

    def requeue(self, trial: int) -> None:
        return

    def reconcile(self, record_of: Callable[[int], Record | None], live: Callable[[int, int], bool]) -> None:
        return

    def backfill(self, records: Sequence[Record]) -> None:
        return
