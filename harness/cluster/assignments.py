"""Who works on which trial of a study: a synced line for every claim, and what may be claimed next."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.record import RECORDS, Log
from harness.search.space import Arm, Point
from harness.system.jsonl import JsonlLog, repair_tail

CLAIMS = "claims.jsonl"
REQUEUES = 3


@dataclasses.dataclass(frozen=True)
class Slot:
    """A trial's place in the schedule: the arm, and the how-manieth of that arm it is."""

    number: int
    arm: Arm
    index: int


def schedule(all_arms: list[Arm], trials: int) -> list[Slot]:
    """Round by round over the arms, so that a study stopped early has still treated them alike."""
    return [
        Slot(index * len(all_arms) + place, arm, index) for index in range(trials) for place, arm in enumerate(all_arms)
    ]


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The `attempt`-th time that a trial is begun, by which worker, and the point proposed for it."""

    trial: int
    attempt: int
    worker: str
    point: Point


class AssignmentLog:
    """The log of claims: what was begun, put back by a worker that was asked to stop, and opened again by a user."""

    def __init__(self, folder: Path) -> None:
        self._lines = JsonlLog(folder / CLAIMS)
        self._last: dict[int, Assignment] = {}
        self._open_from: dict[int, int] = {}  # records of earlier attempts do not count
        self._lost: dict[int, int] = {}
        self._back: set[int] = set()

    def refresh(self) -> None:
        """Read what was added since the last time."""
        for line in self._lines.new():
            trial = line["trial"]
            if line["event"] == "claim":
                if line["attempt"] <= self.attempts(trial):
                    continue  # two had the study's lock, as after a lost connection: the first has the trial
                self._last[trial] = Assignment(trial, line["attempt"], line["worker"], line["point"])
                self._lost[trial] = self._lost.get(trial, 0) + 1
                self._back.discard(trial)
            elif line["event"] == "back":
                self._lost[trial] -= 1
                self._back.add(trial)
            elif line["event"] == "again":
                self._open_from[trial] = self.attempts(trial) + 1
                self._lost[trial] = 0
            else:
                raise ValueError(f"{self._lines.path}: no such event: {line['event']}")

    def add(self, claim: Assignment) -> None:
        """Claim a trial. When this returns, it is on the disk."""
        self._write({"event": "claim"} | dataclasses.asdict(claim))

    def requeue(self, claim: Assignment, why: str | None = None) -> None:
        """A stop was asked for: the trial goes on elsewhere, and this attempt does not count as lost.

        Where it was not asked for, `why` the worker cannot go on with it.
        """
        self._write({"event": "back", "trial": claim.trial, "attempt": claim.attempt} | ({"why": why} if why else {}))

    def reopen(self, trial: int) -> None:
        """The trial's record says an unforeseen error, and the user asks again."""
        self._write({"event": "again", "trial": trial})

    def last(self, trial: int) -> Assignment | None:
        """The last claim of a trial."""
        return self._last.get(trial)

    def attempts(self, trial: int) -> int:
        """How often a trial was begun."""
        claim = self._last.get(trial)
        return claim.attempt if claim else 0

    def lost(self, trial: int) -> int:
        """How many attempts have been begun since it was opened and not put back, a running one included."""
        return self._lost.get(trial, 0)

    def done(self, trial: int, log: Log) -> bool:
        """Whether a record ends the trial."""
        entry = log.get(trial)
        return entry is not None and entry.attempt >= self._open_from.get(trial, 0)

    def running(self, trial: int, log: Log, alive: Callable[[str], bool]) -> bool:
        """Whether a worker that is still there is at it."""
        claim = self._last.get(trial)
        return claim is not None and not self.done(trial, log) and trial not in self._back and alive(claim.worker)

    def _write(self, event: dict[str, object]) -> None:
        self._lines.append(json.dumps(event))
        self.refresh()


def repair_logs(folder: Path) -> None:
    """Cut off what a crash left of a line, in the records and the claims. The caller holds the study's lock.

    They are made where there are none: a machine that looked for one in vain may not see it for a while.
    """
    for name in (RECORDS, CLAIMS):
        repair_tail(folder / name)


def ready(slots: Sequence[Slot], claims: AssignmentLog, log: Log) -> Iterable[Slot]:
    """Slots whose turn it is: all earlier slots of their arm have ended.

    So what a slot proposes, and what it is pruned against, is the same for any number of workers, whatever happens to
    them; arms go on beside each other.
    """
    begun: set[str] = set()
    for slot in slots:
        if slot.arm.name not in begun and not claims.done(slot.number, log):
            begun.add(slot.arm.name)
            yield slot
