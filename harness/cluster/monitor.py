"""How a study stands: what has a record, who is at work on what, and how it goes."""

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from harness.cluster.assignments import AssignmentLog, schedule
from harness.cluster.locks import HeartbeatMonitor, with_study_lock
from harness.cluster.storage import open_locks
from harness.cluster.worker import workers_of
from harness.config import Config
from harness.record import Log
from harness.search.space import arms


@dataclasses.dataclass(frozen=True)
class StudyStatus:
    """`workers` are the last signs of those that are there, by name."""

    total: int
    done: int
    states: Mapping[str, int]
    workers: dict[str, dict[str, Any]]

    def lines(self) -> list[str]:
        """As a person reads it."""
        ended = ", ".join(f"{count} {state}" for state, count in self.states.items())
        shown = [f"{self.done} of {self.total} trials are recorded{f' ({ended})' if ended else ''}"]
        shown += [_line(sign) for sign in self.workers.values()]
        return shown if self.workers else [*shown, "no worker is running"]


def _line(sign: dict[str, Any]) -> str:
    where = f"  {sign.get('job', sign['host'])}:{sign['pid']}"
    if sign.get("trial") is None:
        return f"{where:24} is free"
    again = f" attempt {sign['attempt']}" if sign["attempt"] > 1 else ""
    score = f" val {sign['score']:.4f}" if sign.get("score") is not None else ""
    passed = time.time() - sign["since"]
    return f"{where:24} trial {sign['trial']:3d} {sign['arm']}{again}  step {sign['step']}{score}  {passed:.0f} s"


def standing(config: Config, folder: Path) -> StudyStatus:
    """How a study stands, looked at once."""
    with closing(StudyMonitor(config, folder)) as lookout:
        return lookout.look()


class StudyMonitor:
    """Watches a study without being one of its workers."""

    def __init__(self, config: Config, folder: Path) -> None:
        assert config.sweep is not None
        self._slots = schedule(arms(config.sweep), config.sweep.trials)
        self._locks = open_locks(folder)
        self._signs = HeartbeatMonitor(folder, self._locks, config.launch.lease_s)
        self.log, self._claims = Log(folder), AssignmentLog(folder)

    def look(self) -> StudyStatus:
        """How the study stands now."""
        workers = with_study_lock(self._locks, self._look)
        ended = [slot.number for slot in self._slots if self._claims.done(slot.number, self.log)]
        states: Counter[str] = Counter(entry.state for number in ended if (entry := self.log.get(number)) is not None)
        return StudyStatus(len(self._slots), len(ended), states, workers)

    def _look(self) -> dict[str, dict[str, Any]]:
        self.log.refresh()
        self._claims.refresh()
        return workers_of(self._signs)

    def close(self) -> None:
        """Look no more."""
        self._locks.close()
