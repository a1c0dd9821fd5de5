"""The log of assignments: which worker has which trial, one synced line per assignment, and which trials come next."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.config import Config, SweepConfig
from harness.config.arms import Arm, Point, arms
from harness.record import RECORDS, Log, Phase, Record, from_tree, is_final, to_json
from harness.search.confirmation import Finalist, Wanted, finalists, fresh_seeds, grouped
from harness.system.jsonl import JsonlLog, repair_tail
from harness.system.study_files import attempts_path

CONFIRMING = 10_000
"""Trials that confirm are numbered from this times 1, 2, … for each seed, by the place of their arm."""
REQUEUES = 3
"""How many attempts at a trial may vanish before it fails."""
_UNEXPECTED_LIMIT = 3  # trials that fail of an unforeseen error one after another
_FORMER_EVENTS = {"claim": "assign", "back": "requeue", "again": "reopen"}


@dataclasses.dataclass(frozen=True)
class Slot:
    """A trial's place in the schedule: `index` counts the trials of its arm from 0.

    One that confirms has its point and its seed from the start; one of the search has the study's seed.
    """

    number: int
    arm: Arm
    index: int
    point: Point | None = None
    seed: int | None = None

    @property
    def phase(self) -> Phase:
        """The phase of the study that the trial belongs to."""
        return "search" if self.seed is None else "confirm"


def schedule(all_arms: Sequence[Arm], trials: int, first: int = 0, *, baseline_trials: int | None = None) -> list[Slot]:
    """Round by round over the arms, so that a study stopped early has treated them alike; numbered from `first`.

    With `baseline_trials`, baselines have as many, and their other numbers are left out.
    """
    counts = [baseline_trials or trials if arm.baseline else trials for arm in all_arms]
    return [
        Slot(first + index * len(all_arms) + place, arm, index)
        for index in range(max(counts, default=0))
        for place, arm in enumerate(all_arms)
        if index < counts[place]
    ]


def search_schedule(sweep: SweepConfig, first: int = 0) -> list[Slot]:
    """The slots of a study's search."""
    return schedule(arms(sweep), sweep.trials, first, baseline_trials=sweep.baseline_trials)


def whole_schedule(config: Config, records: Sequence[Record]) -> list[Slot]:
    """The slots of the search and, once each of those has a record, those that confirm its finalists."""
    assert config.sweep is not None
    return with_confirmation(config, search_schedule(config.sweep), records)


def with_confirmation(config: Config, searched: list[Slot], records: Sequence[Record]) -> list[Slot]:
    """The slots of a search as they are, or, once each has a record, with those that confirm its finalists."""
    assert config.sweep is not None
    confirm, ended = config.sweep.confirm, {entry.trial for entry in records}
    if confirm is None or any(slot.number not in ended for slot in searched):
        return searched
    all_arms = [slot.arm for slot in searched if slot.index == 0]
    joint = any(arm.named_by is not None for arm in all_arms)
    places = {arm.name: place for place, arm in enumerate(all_arms)}
    chosen = finalists(all_arms, records, confirm.top, Wanted.of(config.sweep))
    return searched + [
        Slot(index * CONFIRMING + _place(finalist, places, joint), finalist.arm, index, finalist.point, seed)
        for index, seed in enumerate(fresh_seeds(config.seed, confirm.seeds), start=1)
        for finalist in chosen
    ]


def _place(finalist: Finalist, places: dict[str, int], joint: bool) -> int:
    """The place of a finalist's arm; in the joint mode, where any point may be one, the number of its trial."""
    return finalist.trial.trial if joint else places[finalist.arm.name]


def planned(config: Config) -> int:
    """Return the number of trials in a study in which every arm has a finalist."""
    assert config.sweep is not None
    sweep = config.sweep
    again = confirmed_arms(sweep) * sweep.confirm.seeds if sweep.confirm else 0
    return len(search_schedule(sweep)) + again


def total(config: Config, slots: Sequence[Slot], done: Callable[[int], bool]) -> int:
    """Return the number of trials in a study: the planned number during the search, then the number of slots.

    An arm whose trials all fail is not confirmed.
    """
    searching = any(slot.phase == "search" and not done(slot.number) for slot in slots)
    return planned(config) if searching else len(slots)


def confirmed_arms(sweep: SweepConfig) -> int:
    """Return the number of arms that a study confirms if every arm has a complete trial."""
    if sweep.confirm is None:
        return 0
    all_arms, top = arms(sweep), sweep.confirm.top
    compared = [arm for arm in all_arms if not arm.baseline]
    baselines = len(all_arms) - len(compared)
    if sweep.mode == "joint":
        return min(top, sweep.trials) + baselines
    return sum(min(top, len(group)) for group in grouped(compared, sweep.across or ())) + baselines


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Attempt number `attempt` (from 1) at a trial, by one worker, with the point proposed for the trial."""

    trial: int
    attempt: int
    worker: str
    point: Point


class AssignmentLog:
    """The log of attempts: trials assigned to workers, requeued by workers that stop, and reopened by a user.

    Writing takes the study's lock. Raises ValueError for a line of no known event.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = JsonlLog(attempts_path(folder))
        self._last: dict[int, Assignment] = {}
        self._open_from: dict[int, int] = {}  # records of earlier attempts do not count
        self._lost: dict[int, int] = {}
        self._requeued: set[int] = set()
        self._alone: set[int] = set()
        self._waiting: set[int] = set()
        self._halts: dict[int, list[Record]] = {}
        self._interrupted = 0

    @property
    def interrupted(self) -> int:
        """The number of attempts that a requested stop requeued, each with a checkpoint."""
        return self._interrupted

    @property
    def confirming(self) -> bool:
        """True once a confirming trial has been assigned; from then on the search's choice is fixed."""
        return any(trial >= CONFIRMING for trial in self._last)

    def refresh(self) -> None:
        """Read what was added since the last time."""
        for line in self._lines.new():
            trial, event = line["trial"], _FORMER_EVENTS.get(line["event"], line["event"])
            if event == "assign":
                if line["attempt"] <= self.attempts(trial):
                    continue  # two held the study's lock, as after a lost connection: the first has the trial
                self._last[trial] = Assignment(trial, line["attempt"], line["worker"], line["point"])
                self._lost[trial] = self._lost.get(trial, 0) + 1
                self._requeued.discard(trial)
                self._waiting.discard(trial)
            elif event == "halt":
                self._lost[trial] -= 1
                self._requeued.add(trial)
                self._waiting.add(trial)
                self._halts.setdefault(trial, []).append(from_tree(line["record"]))
            elif event == "requeue":
                self._lost[trial] -= 1
                self._requeued.add(trial)
                if line.get("alone"):
                    self._alone.add(trial)
                self._interrupted += "why" not in line
            elif event == "reopen":
                self._open_from[trial] = self.attempts(trial) + 1
                self._lost[trial] = 0
                self._alone.discard(trial)
                self._waiting.discard(trial)
                self._halts.pop(trial, None)  # it begins anew, and comes to its rungs again
            else:
                raise ValueError(f"{self._lines.path}: no such event: {event}")

    def add(self, assignment: Assignment) -> None:
        """Assign a trial. When this returns, the line is on the disk."""
        self._write({"event": "assign"} | dataclasses.asdict(assignment))

    def requeue(self, assignment: Assignment, why: str | None = None, *, alone: bool = False) -> None:
        """Give a trial up for another worker, without counting the attempt as lost.

        `why` is None where a stop was requested, else the reason why this worker cannot continue. `alone`: it must have
        a worker to itself from now on.
        """
        reason: dict[str, object] = ({"why": why} if why else {}) | ({"alone": True} if alone else {})
        self._write({"event": "requeue", "trial": assignment.trial, "attempt": assignment.attempt} | reason)

    def halt(self, assignment: Assignment, entry: Record) -> None:
        """Put a trial down at a rung, as the record says it would have been pruned there."""
        told = {"event": "halt", "trial": assignment.trial, "attempt": assignment.attempt}
        self._write(told | {"record": json.loads(to_json(entry))})

    def halts(self, trial: int) -> Sequence[Record]:
        """The trial at each rung that it has waited at, in their order."""
        return self._halts.get(trial, ())

    def halted_at(self, trial: int) -> int:
        """The step of the last rung that a trial has waited at; 0 where it never did."""
        return max((int(step) for entry in self.halts(trial) for step, _ in entry.reports), default=0)

    def waits(self, trial: int) -> bool:
        """Return whether a trial waits at a rung."""
        return trial in self._waiting

    def reopen(self, trial: int) -> None:
        """Allow another attempt at a trial that failed with an unforeseen error."""
        self._write({"event": "reopen", "trial": trial})

    def last(self, trial: int) -> Assignment | None:
        """The last assignment of a trial."""
        return self._last.get(trial)

    def attempts(self, trial: int) -> int:
        """Return the number of attempts at a trial so far."""
        assignment = self._last.get(trial)
        return assignment.attempt if assignment else 0

    def lost(self, trial: int) -> int:
        """Return the number of attempts since the trial was opened that were not requeued, a running one included."""
        return self._lost.get(trial, 0)

    def needs_worker_alone(self, trial: int) -> bool:
        """Return whether a trial must run alone: its last worker vanished, or it was requeued for that."""
        return self.lost(trial) > 0 or trial in self._alone

    def done(self, trial: int, log: Log) -> bool:
        """Return whether the trial has its final record."""
        entry = log.get(trial)
        return entry is not None and entry.attempt >= self._open_from.get(trial, 0)

    def running(self, trial: int, log: Log, alive: Callable[[str], bool]) -> bool:
        """Return whether the trial is assigned to a worker that is alive."""
        last = self._last.get(trial)
        return last is not None and not self.done(trial, log) and trial not in self._requeued and alive(last.worker)

    def _write(self, event: dict[str, object]) -> None:
        self._lines.append(json.dumps(event))
        self.refresh()


def repair_logs(folder: Path) -> None:
    """Cut a torn line off the end of the records and of the attempts. The caller holds the study's lock.

    Files that do not exist are created: on a network file system, a machine that looked for one in vain may not see
    it for a while.
    """
    for path in (folder / RECORDS, attempts_path(folder)):
        repair_tail(path)


def ready(slots: Sequence[Slot], assignments: AssignmentLog, log: Log) -> Iterable[Slot]:
    """Slots whose turn it is: all slots have ended that their proposal reads, of their arm or of all that transfer.

    So what a slot proposes, and what it is pruned against, is the same for any number of workers, whatever happens to
    them; the arms proceed in parallel. A trial that confirms waits for none.
    """
    first_open: dict[str, int] = {}
    for slot in slots:
        if assignments.done(slot.number, log):
            continue
        if slot.seed is not None or slot.arm.may_begin(slot.index, first_open.setdefault(slot.arm.awaited, slot.index)):
            yield slot


def raise_if_broken(log: Log, assignments: AssignmentLog) -> None:
    """Raise RuntimeError where the last trials all failed of an unforeseen error: the study itself is broken."""
    unforeseen = (entry for entry in log.records[-_UNEXPECTED_LIMIT:] if not is_final(entry))
    broken = [entry for entry in unforeseen if assignments.done(entry.trial, log)]
    if len(broken) == _UNEXPECTED_LIMIT:
        raise RuntimeError(f"the last {_UNEXPECTED_LIMIT} trials failed alike: {broken[-1].reason}")
