"""The progress of a study's workers on standard error: a line for each trial that ended, on a terminal also a table."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.text import Text

from harness.cluster.display import ended_line
from harness.cluster.heartbeat import trials_of
from harness.cluster.monitor import StudyMonitor, StudyStatus
from harness.cluster.progress import arm_table, clock
from harness.cluster.screen import Screen
from harness.config import Config
from harness.record import Record


class WorkerTable:
    """Shows all workers of a study to the user of a command that launched them."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._monitor, self._screen = StudyMonitor(config, folder), Screen()
        self._shown: set[tuple[int, int]] | None = None  # trials and attempts whose records were shown

    def update(self) -> StudyStatus:
        """Read the status of the study, and show what is new."""
        status = self._monitor.read()
        records = self._monitor.log.records
        first, seen = self._shown is None, self._shown or set()
        new = [] if first else [entry for entry in records if (entry.trial, entry.attempt) not in seen]
        self._shown = {(entry.trial, entry.attempt) for entry in records}
        before = status.done - len(new)
        self._screen.lines(
            [
                ended_line(entry, records, done=before + place, total=status.total, left=status.left_s)
                for place, entry in enumerate(new, 1)
            ]
        )
        if not self._screen.is_terminal and first:
            self._screen.lines([f"{clock()} {line}" for line in status.lines()])
        elif self._screen.is_terminal:
            self._screen.show(drawn(status, records, self._screen.height))
        return status

    def close(self) -> None:
        """Close the monitor."""
        self._screen.close()
        self._monitor.close()


def drawn(status: StudyStatus, records: Sequence[Record], height: int) -> Group:
    """The table by arm, and below it the status with a line for each worker, for a terminal of so many lines."""
    running = {str(told["arm"]): _now(told) for beat in status.workers.values() for told in trials_of(beat)}
    table = arm_table(records, running, height - len(status.workers))
    return Group(table, *(Text(line, overflow="ellipsis", no_wrap=True) for line in status.lines()))


def _now(heartbeat: dict[str, object]) -> str:
    return f"trial {heartbeat['trial']} step {heartbeat['step']}"
