"""The progress of one worker: a line for each finished trial, and on a terminal a table by arm with the time left."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Group
from rich.text import Text

from harness.cluster.progress import Pace, arm_table, clock, duration, is_best, outcome, summary
from harness.cluster.screen import Screen
from harness.record import Record


class Reporter(Protocol):
    """Shows what a worker does."""

    def begin(self, number: int, arm: str, point: dict[str, Any]) -> None:
        """A trial starts."""

    def scores(self, number: int, step: int, scores: dict[str, float]) -> None:
        """An evaluation of a running trial."""

    def halt(self, number: int, step: int) -> None:
        """A running trial halted at a rung, where it waits."""

    def end(self, entry: Record, done: int, total: int) -> None:
        """A trial ended; by now all workers have `done` records of `total`."""


class ProgressDisplay:
    """Progress on standard error; in a log file only the lines, with the time of day.

    `work` says of records and a total how many seconds the rest takes one worker, or None.
    """

    def __init__(
        self,
        total: int,
        done: int,
        records: Callable[[], Sequence[Record]],
        work: Callable[[Sequence[Record], int], float | None],
    ) -> None:
        self._total, self._done, self._records, self._work = total, done, records, work
        self._screen, self._pace = Screen(), Pace(records())
        self._arms: dict[int, str] = {}  # of the running trials, by their numbers
        self._now: dict[int, str] = {}

    def __enter__(self) -> Self:
        if self._done:
            self._screen.lines(
                [f"{clock()} {self._done} of {self._total} trials are recorded; continuing with the rest"]
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._screen.close()

    def begin(self, number: int, arm: str, point: dict[str, Any]) -> None:
        """A trial starts."""
        self._arms[number], self._now[number] = arm, f"trial {number}"
        self._draw()

    def scores(self, number: int, step: int, scores: dict[str, float]) -> None:
        """An evaluation of a running trial."""
        value = scores.get("accuracy", scores.get("loss"))
        self._now[number] = f"step {step}" + (f" val {value:.4f}" if value is not None else "")
        self._draw()

    def halt(self, number: int, step: int) -> None:
        """A running trial halted at a rung, where it waits."""
        self._now.pop(number, None)
        self._screen.lines([f"{clock()} trial {number} {self._arms[number]} waits at step {step}"])
        self._draw()

    def end(self, entry: Record, done: int, total: int) -> None:
        """A trial ended; by now all workers have `done` records of `total`."""
        self._done, self._total = done, total
        self._now.pop(entry.trial, None)
        self._screen.lines([ended_line(entry, self._records(), done=done, total=total, left=self._left())])
        self._draw()

    def _draw(self) -> None:
        if not self._screen.is_terminal:
            return
        records = self._records()
        running = {self._arms[number]: now for number, now in self._now.items()}
        said = summary(records, self._done, self._total, self._left())
        self._screen.show(Group(arm_table(records, running, self._screen.height), Text(said)))

    def _left(self) -> float | None:
        records = self._records()
        return self._pace.left(records, self._work(records, self._total))


def ended_line(entry: Record, records: Sequence[Record], *, done: int, total: int, left: float | None) -> str:
    """A trial that ended, as a line of a log."""
    best = ", best so far" if is_best(entry, records) else ""
    rest = f"; about {duration(left)} left" if left is not None and done < total else ""
    return f"{clock()} {done}/{total} trial {entry.trial} {entry.arm}  {outcome(entry)}{best}{rest}"
