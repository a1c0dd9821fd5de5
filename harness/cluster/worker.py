"""A worker of a study: takes a trial, runs it, records it and tells Optuna, until every trial has a record.

Any number of workers share a study. The logs of records and of attempts are the truth; both are written under the
study's lock only.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from harness import record
from harness.cluster.assignments import (
    REQUEUES,
    Assignment,
    AssignmentLog,
    Slot,
    raise_if_broken,
    ready,
    repair_logs,
    search_schedule,
    total,
    with_confirmation,
)
from harness.cluster.attempts import attempt_folder, forget_attempts, has_result, publish
from harness.cluster.database import check_workers
from harness.cluster.display import ProgressDisplay, Reporter
from harness.cluster.earlier import earlier_trials, looked_up, neighbour_trials
from harness.cluster.heartbeat import Heartbeat, HeartbeatMonitor
from harness.cluster.history import sealed_history
from harness.cluster.locks import LockLost, with_study_lock
from harness.cluster.mirror import StudyMirror
from harness.cluster.optuna_mirror import OptunaMirror
from harness.cluster.packs import PackedTrials, train_packs
from harness.cluster.progress import work_left
from harness.cluster.registration import registered
from harness.cluster.restart import WorkerUnhealthy
from harness.cluster.rungs import promoted_first, settle
from harness.cluster.storage import open_locks
from harness.cluster.study import check_same_inputs, trial_config
from harness.cluster.study_folder import command_of
from harness.cluster.trial_attempt import TrialAttempt
from harness.config import Config, ConfigError, to_dict
from harness.config.arm_checks import corners
from harness.config.arms import Point
from harness.record import Log, Record
from harness.search.plan import Earlier, SearchPlan
from harness.search.proposals import propose
from harness.search.pruning import rule
from harness.system import fault_injection
from harness.system.out_of_memory import MIB
from harness.system.process_memory import leave_libraries_out
from harness.system.redaction import redact
from harness.system.signals import Interrupted, raise_if_stop_requested
from harness.training import Pack
from harness.trial import TrialContext
from harness.trial.fingerprints import fingerprint_of
from harness.trial.out_of_memory import MemoryBaseline
from harness.trial.run import lost_record, run_trial

log = logging.getLogger(__name__)

_TRUST_S = 2.0  # how long a worker that was alive is taken to be alive
_POLL_S = (0.1, 2.0)  # between looks for a trial whose turn has come, first and longest


class Worker:
    """One of the workers of a study. Created by `join`, which keeps its heartbeat going."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        name: str,
        *,
        heartbeats: HeartbeatMonitor,
        heartbeat: Heartbeat,
        mirror: StudyMirror,
        first: int = 0,
    ) -> None:
        assert config.sweep is not None
        self.config, self.sweep, self.folder, self.name = config, config.sweep, folder, name
        self.tree, self.plan = to_dict(config), SearchPlan.of(config, sealed_history(folder, self.sweep.history))
        self.heartbeats, self.locks, self.heartbeat = heartbeats, heartbeats.locks, heartbeat
        self.log, self.assignments = Log(folder), AssignmentLog(folder)
        self.slots = self._searched = search_schedule(self.sweep, first)
        self._trusted: dict[str, float] = {}
        self.packed, self._fresh = PackedTrials(), MemoryBaseline()
        self.mirror = mirror
        with_study_lock(self.locks, self._begin)

    def work(self) -> None:
        """Run trials until every slot of the study has a record, whoever makes it; with launch.pack so many at once,
        which share the passes over their base. Raises WorkerUnhealthy.
        """
        left = partial(work_left, self.config)
        with ProgressDisplay(self.total, self.done, lambda: self.log.records, left) as display:
            if self.config.launch.pack > 1:
                train_packs(partial(self._work_in_pack, display), self.config.launch.pack)
                return
            for attempt in self.attempts(display):
                with self.requeued_on_error(attempt):
                    attempt.ended = run_trial(attempt.config, attempt.context, attempt.report, attempt.accept)
                leave_libraries_out()

    def _work_in_pack(self, display: Reporter, pack: Pack) -> None:
        for attempt in self.attempts(display, pack.pause):
            with self.requeued_on_error(attempt):
                context = dataclasses.replace(attempt.context, pack=pack)
                attempt.ended = run_trial(attempt.config, context, attempt.report, attempt.accept)

    def attempts(self, display: Reporter, pause_for: Callable[[float], None] = time.sleep) -> Iterator[TrialAttempt]:
        """Yield the trials that this worker must train, one after another; results that exist are recorded here.

        No frame of this method is on the stack while a trial trains. Ends when every slot has a record. Where none is
        free, `pause_for` waits for so many seconds.
        """
        pause = _POLL_S[0]
        while True:
            raise_if_stop_requested()
            taken = with_study_lock(self.locks, self._next_assignment)
            if taken is not None:
                attempt = self._begin_attempt(*taken, display)
                if self._prepare(attempt):
                    yield attempt
                self.heartbeat.end(attempt.slot.number)
                raise_if_stop_requested()
                if self.packed.end(attempt.slot.number, attempt.ended) and (lost := self._fresh.leak_reason()):
                    raise WorkerUnhealthy(lost)
                pause = _POLL_S[0]
            elif self.done == len(self.slots):
                with_study_lock(self.locks, self._finish)
                return
            else:
                pause_for(pause)
                pause = min(2 * pause, _POLL_S[1])

    @contextmanager
    def requeued_on_error(self, attempt: TrialAttempt) -> Iterator[None]:
        """Inside, an error requeues the trial. Where another worker has it already, the error is only logged: its files
        were removed by that worker.
        """
        try:
            yield
        except Exception as error:
            why = None if isinstance(error, Interrupted) else redact(f"{type(error).__name__}: {error}")
            try:
                mine = self._requeue(attempt.assignment, why)
            except OSError:  # a full disk: the attempt counts as lost, the reason stays the first error
                raise error from None
            if mine or why is None:
                raise
            log.warning(
                "trial %d was assigned to another worker while this one gave no heartbeat", attempt.assignment.trial
            )

    @property
    def done(self) -> int:
        """The number of slots that have a record."""
        return sum(self._is_done(slot.number) for slot in self.slots)

    @property
    def total(self) -> int:
        """The number of trials in the study, by the records so far."""
        return total(self.config, self.slots, self._is_done)

    def _is_done(self, trial: int) -> bool:
        return self.assignments.done(trial, self.log)

    def config_of(self, slot: Slot, point: Point) -> Config:
        """The configuration of the trial of a slot. Raises ConfigError."""
        return trial_config(self.tree, slot.arm, point, slot.seed)

    def context_of(self, slot: Slot, assignment: Assignment, folder: Path) -> TrialContext:
        """The place of the trial of a slot in its study."""
        scored = self.sweep.test or slot.phase == "confirm"
        name, number, compares = self.config.study, slot.number, scored or self.plan.reads_merge
        arm = slot.arm.name_of(assignment.point)
        size, halts = partial(self.packed.pack_size, number), self.plan.halves and slot.phase == "search"
        return TrialContext(
            *(name, number, arm, folder, assignment.point, slot.phase, scored, compares),
            halts=halts,
            pack_size=size,
            command=command_of(self.folder),
        )

    def _begin(self) -> None:
        repair_logs(self.folder)
        self._refresh()
        self._reconcile()

    def _refresh(self) -> None:
        self.log.refresh()
        self.assignments.refresh()
        ended = [entry for entry in self.log.records if self.assignments.done(entry.trial, self.log)]
        self.slots = with_confirmation(self.config, self._searched, ended)

    def _next_assignment(self) -> tuple[Slot, Assignment] | None:
        """Assign the next trial whose turn it is and that no worker has; None if there is none now."""
        self._refresh()
        raise_if_broken(self.log, self.assignments)
        promoted = self._promoted()
        for slot in promoted_first(ready(self.slots, self.assignments, self.log), promoted, self.assignments):
            if self.assignments.running(slot.number, self.log, self._alive):
                continue
            alone = self.assignments.needs_worker_alone(slot.number)
            if not self.packed.may_begin(alone):
                continue
            last = self.assignments.last(slot.number)
            if last is not None:
                self._reconcile()
                if self.assignments.lost(slot.number) > REQUEUES and not self._has_result(slot, last):
                    self._fail_lost(slot, last)
                    continue
            point = last.point if last else slot.point
            if point is None:
                near = neighbour_trials(slot, self.slots, self.log)
                point = propose(slot.arm, slot.index, self.plan, self._earlier(slot), near)
            assignment = Assignment(slot.number, self.assignments.attempts(slot.number) + 1, self.name, point)
            self.assignments.add(assignment)
            if self.assignments.last(slot.number) != assignment:
                raise LockLost
            self.packed.begin(slot.number, alone)
            return slot, assignment
        return None

    def _promoted(self) -> frozenset[int]:
        """Record the trials that do not go on from their rungs; returns those that do, and wait for a worker."""
        while (settled := settle(self.plan, self.slots, self.assignments, self.log)).dropped:
            for assignment, entry in settled.dropped:
                publish(self.folder, assignment)
                record.append(self.folder, entry)
                forget_attempts(self.folder, entry.trial)
            self._refresh()
            self._reconcile()
        return settled.promoted

    def _finish(self) -> None:
        self._reconcile()
        self.mirror.backfill(self.log.records)

    def _reconcile(self) -> None:
        self.mirror.reconcile(self.log.get, self._is_live)

    def _is_live(self, trial: int, attempt: int) -> bool:
        same = self.assignments.attempts(trial) == attempt
        waits = self.assignments.waits(trial) and not self._is_done(trial)
        return same and (waits or self.assignments.running(trial, self.log, self._alive))

    def _alive(self, name: str) -> bool:
        """Return whether a worker is alive. A recent positive answer is reused: each check holds the study's lock."""
        now = time.monotonic()
        if now - self._trusted.get(name, -_TRUST_S) < _TRUST_S:
            return True
        if alive := self.heartbeats.alive(name):
            self._trusted[name] = now
        return alive

    def _earlier(self, slot: Slot) -> list[Earlier]:
        return earlier_trials(slot, self.slots, self.assignments, self.log)

    def _has_result(self, slot: Slot, last: Assignment) -> bool:
        return has_result(self.folder, slot.number, fingerprint_of(self.config_of(slot, last.point)))

    def _fail_lost(self, slot: Slot, last: Assignment) -> None:
        """Fail a trial whose workers vanished again and again, so that the study ends."""
        reason = f"lost: its worker vanished {self.assignments.lost(slot.number)} times"
        if held := self.heartbeats.read(last.worker).get("resident"):
            reason += f"; the last held {held // MIB:,} MiB: a kernel that is short of memory kills without a message"
        context = self.context_of(slot, last, self.folder)
        entry = lost_record(self.config_of(slot, last.point), context, reason)
        record.append(self.folder, dataclasses.replace(entry, attempt=last.attempt))
        self._refresh()
        forget_attempts(self.folder, slot.number)

    def _begin_attempt(self, slot: Slot, assignment: Assignment, display: Reporter) -> TrialAttempt:
        """Announce a trial to Optuna, the display and the heartbeat."""
        self.mirror.begin(slot, assignment)
        fault_injection.crash_point("after_assignment")
        arm = slot.arm.name_of(assignment.point)
        display.begin(slot.number, arm, assignment.point)
        payload = {"arm": arm, "attempt": assignment.attempt, "since": time.time(), "step": 0, "score": None}
        self.heartbeat.begin(slot.number, payload)
        made = TrialAttempt(self, slot, assignment, display)
        if slot.phase == "search":
            halted_at = self.assignments.halted_at(slot.number)
            made.prunes = rule(self.plan, self._earlier(slot), made.costs, halted_at)
        return made

    def _prepare(self, attempt: TrialAttempt) -> bool:
        """Return whether the trial must be trained; a result that exists is recorded here.

        The record is on the disk before Optuna hears of it. None is written if another worker has the trial.
        """
        with self.requeued_on_error(attempt):
            assignment = attempt.assignment
            try:
                fingerprint = fingerprint_of(attempt.config)
            except ConfigError as error:
                self._refuse(attempt, error)
                return False
            folder, entry = None, self._known(attempt.slot, assignment, fingerprint)
            if entry is None:
                folder, entry = attempt_folder(self.folder, assignment, fingerprint)
            if entry is not None:
                attempt.ended = dataclasses.replace(entry, attempt=assignment.attempt)
                attempt.record(attempt.ended)
                return False
            assert folder is not None
            attempt.folder = folder
            return True
        return False

    def _refuse(self, attempt: TrialAttempt, error: ConfigError) -> None:
        """Fail a trial whose point breaks a rule, so that the study ends: it would be proposed again every time.

        Raises the error where the rest of the arm's configuration is what breaks it.
        """
        slot, assignment = attempt.slot, attempt.assignment
        if not slot.arm.nuisance:
            raise error
        trial = self.config_of(slot, corners(slot.arm.nuisance)[0])
        context = self.context_of(slot, assignment, self.folder)
        entry = lost_record(trial, context, f"invalid: {error}")
        attempt.ended = dataclasses.replace(entry, attempt=assignment.attempt)
        attempt.record(attempt.ended)

    def _known(self, slot: Slot, assignment: Assignment, fingerprint: str) -> Record | None:
        """The record of a complete trial of the same configuration, as this trial's."""
        known = self.log.records
        beside = slot.arm.lag or slot.arm.bracket
        if beside and slot.phase == "search":  # what runs beside it must not decide whether it is trained
            known = [seen.entry for seen in self._earlier(slot) if seen.entry is not None]
        return looked_up(known, fingerprint, slot, assignment, lambda: self.config_of(slot, assignment.point))

    def accept(self, assignment: Assignment, entry: Record) -> bool:
        """Record a result, unless the trial was assigned to another worker, which took this one for dead."""

        def accept() -> bool:
            self._refresh()
            trial = assignment.trial
            if self.assignments.last(trial) != assignment or self.assignments.done(trial, self.log):
                self.mirror.requeue(trial)
                return False
            publish(self.folder, assignment)
            record.append(self.folder, entry)
            self._refresh()
            return True

        if accepted := with_study_lock(self.locks, accept):
            forget_attempts(self.folder, assignment.trial)
        return accepted

    def halt(self, assignment: Assignment, entry: Record) -> None:
        """Put a trial down at a rung, with its checkpoint, unless it was assigned to another worker."""

        def halt() -> None:
            self._refresh()
            trial = assignment.trial
            if self.assignments.last(trial) == assignment and not self.assignments.waits(trial):
                self.assignments.halt(assignment, entry)

        with_study_lock(self.locks, halt)

    def requeue_alone(self, assignment: Assignment, why: str) -> None:
        """Requeue a trial that ran out of memory beside others: it is tried again with a worker to itself."""
        log.warning("trial %d ran out of memory beside others, and is tried again alone: %s", assignment.trial, why)
        self._requeue(assignment, why, alone=True)

    def _requeue(self, assignment: Assignment, why: str | None, *, alone: bool = False) -> bool:
        """Requeue the trial; returns whether it was still this worker's."""

        def requeue() -> bool:
            self._refresh()
            if mine := self.assignments.last(assignment.trial) == assignment:
                self.assignments.requeue(assignment, why, alone=alone)
            self.mirror.requeue(assignment.trial)
            return mine

        return with_study_lock(self.locks, requeue)


@contextmanager
def join(config: Config, folder: Path) -> Iterator[Worker]:
    """Become a worker of a study that was begun. Raises ConfigError if its inputs changed or it has no room for one.

    Inside, this process has a heartbeat that others watch; when it ends, however it does, its trial is free.
    """
    assert config.sweep is not None
    check_same_inputs(config, folder)
    with closing(open_locks(folder)) as locks:
        heartbeats = HeartbeatMonitor(folder, locks, config.launch.lease_s)
        with registered(heartbeats, lambda: check_workers(1 + len(heartbeats.workers()))) as (name, heartbeat):
            with locks.study_lock():  # Optuna's tables are made by the first
                mirror = OptunaMirror(folder, config)
            with closing(mirror):
                yield Worker(config, folder, name, heartbeats=heartbeats, heartbeat=heartbeat, mirror=mirror)
