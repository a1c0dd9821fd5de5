"""The progress of a study's workers on standard error: a line for each trial that ended, on a terminal also a table."""

import sys
from contextlib import suppress
from pathlib import Path

from harness.cluster.display import outcome
from harness.cluster.monitor import StudyMonitor, StudyStatus
from harness.config import Config


class WorkerTable:
    """Shows all workers of a study to the user of a command that launched them."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._monitor = StudyMonitor(config, folder)
        self._shown: set[tuple[int, int]] | None = None  # trials and attempts whose records were shown
        self._height = 0

    def update(self) -> StudyStatus:
        """Read the status of the study, and show what is new."""
        status = self._monitor.read()
        records = self._monitor.log.records
        first = self._shown is None
        new = [
            entry for entry in records if self._shown is not None and (entry.trial, entry.attempt) not in self._shown
        ]
        self._shown = {(entry.trial, entry.attempt) for entry in records}
        lines = [f"trial {entry.trial:3d} {entry.arm:24} {outcome(entry)}" for entry in new]
        table = status.lines() if first or sys.stderr.isatty() else []
        if lines or table:
            erase = f"\x1b[{self._height}F\x1b[J" if self._height else ""
            with suppress(OSError):  # the terminal is gone; the workers go on
                print(erase + "\n".join(lines + table), file=sys.stderr, flush=True)
        self._height = len(table) if sys.stderr.isatty() else 0
        return status

    def close(self) -> None:
        """Close the monitor."""
        self._monitor.close()
