"""The status of a study: what has a record, which worker has which trial, and how far it is."""

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from harness.cluster.assignments import AssignmentLog, total, whole_schedule
from harness.cluster.heartbeat import HeartbeatMonitor, trials_of
from harness.cluster.locks import with_study_lock
from harness.cluster.locks.file import FileLocks
from harness.cluster.progress import duration, work_left
from harness.cluster.storage import open_locks
from harness.config import Config
from harness.record import Log


@dataclasses.dataclass(frozen=True)
class StudyStatus:
    """`states` counts the records by state; `workers` holds the last heartbeat of each live worker, by name.

    `interrupted` counts the attempts that were requeued with a checkpoint because a stop was requested. `left_s` is the
    time that the rest takes all live workers, by the trials that ended; None where that is unknown. `waiting` counts
    the trials that wait at a rung.
    """

    total: int
    done: int
    states: Mapping[str, int]
    workers: dict[str, dict[str, Any]]
    interrupted: int = 0
    left_s: float | None = None
    waiting: int = 0

    def lines(self) -> list[str]:
        """The status as text: a summary, then one line for each worker."""
        ended = ", ".join(f"{count} {state}" for state, count in self.states.items())
        summary = f"{self.done} of {self.total} trials are recorded{f' ({ended})' if ended else ''}"
        if self.waiting:
            summary += f"; {self.waiting} wait at rungs"
        if self.left_s is not None and self.done < self.total:
            summary += f"; about {duration(self.left_s)} left"
        lines = [line for heartbeat in self.workers.values() for line in _lines(heartbeat)]
        return [summary, *(lines or ["no worker is running"])]


def _lines(heartbeat: dict[str, Any]) -> list[str]:
    where = f"  {heartbeat.get('job', heartbeat['host'])}:{heartbeat['pid']}"
    return [f"{where:24} {_trial(each)}" for each in trials_of(heartbeat)] or [f"{where:24} is free"]


def _trial(told: dict[str, Any]) -> str:
    again = f" attempt {told['attempt']}" if told["attempt"] > 1 else ""
    score = f" val {told['score']:.4f}" if told.get("score") is not None else ""
    passed = time.time() - told["since"]
    return f"trial {told['trial']:3d} {told['arm']}{again}  step {told['step']}{score}  {passed:.0f} s"


def study_status(config: Config, folder: Path) -> StudyStatus:
    """The status of a study, read once."""
    with closing(StudyMonitor(config, folder)) as monitor:
        return monitor.read()


def single_status(folder: Path, lease_s: float) -> StudyStatus:
    """The status of a folder of single trials; those that were begun and have no record are not done."""
    with closing(FileLocks(folder)) as locks:
        log = Log(folder)
        log.refresh()
        workers = HeartbeatMonitor(folder, locks, lease_s).workers()
    begun = {int(path.name.partition("-")[0]) for path in (folder / "trials").glob("[0-9]*")}
    recorded = {entry.trial: entry.state for entry in log.records}
    return StudyStatus(len(begun | set(recorded)), len(recorded), Counter(recorded.values()), workers)


class StudyMonitor:
    """Watches a study without being one of its workers."""

    def __init__(self, config: Config, folder: Path) -> None:
        assert config.sweep is not None
        self._config = config
        self._locks = open_locks(folder)
        self._heartbeats = HeartbeatMonitor(folder, self._locks, config.launch.lease_s)
        self.log, self._assignments = Log(folder), AssignmentLog(folder)

    def read(self) -> StudyStatus:
        """The status of the study now."""
        workers = with_study_lock(self._locks, self._read_workers)
        slots = whole_schedule(self._config, [entry for entry in self.log.records if self._done(entry.trial)])
        ended = [slot.number for slot in slots if self._done(slot.number)]
        states: Counter[str] = Counter(entry.state for number in ended if (entry := self.log.get(number)) is not None)
        planned = total(self._config, slots, self._done)
        at_once = len(workers) * self._config.launch.pack
        work = work_left(self._config, self.log.records, planned) if workers else None
        left = None if work is None else work / at_once
        waiting = sum(self._assignments.waits(slot.number) and not self._done(slot.number) for slot in slots)
        return StudyStatus(planned, len(ended), states, workers, self._assignments.interrupted, left, waiting)

    def _done(self, trial: int) -> bool:
        return self._assignments.done(trial, self.log)

    def _read_workers(self) -> dict[str, dict[str, Any]]:
        self.log.refresh()
        self._assignments.refresh()
        return self._heartbeats.workers()

    def close(self) -> None:
        """Close the locks."""
        self._locks.close()
