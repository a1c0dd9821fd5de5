"""A worker of a study: claim a trial, run it, record it, tell Optuna; beside any number of others, until none is left.

The record log and the log of claims are the truth. Both are written under the study's lock only.
"""

import dataclasses
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from harness import record
from harness.cluster.assignments import REQUEUES, Assignment, AssignmentLog, Slot, ready, repair_logs, schedule
from harness.cluster.attempts import attempt_folder, forget_attempts, has_result, keep_result, publish, published
from harness.cluster.display import ProgressDisplay
from harness.cluster.locks import Heartbeat, HeartbeatMonitor, LockLost, with_study_lock
from harness.cluster.optuna_mirror import OptunaMirror
from harness.cluster.storage import check_workers, open_locks
from harness.cluster.study import check_same_inputs, trial_config
from harness.config import Config, ConfigError, to_dict
from harness.record import Log, Record, fail_if_not_finite
from harness.search.pruning import below_median, curve_of
from harness.search.space import Arm, Point, arms, propose
from harness.system import fault_injection
from harness.system.processes import started_at
from harness.system.redaction import redact
from harness.system.signals import Interrupted, raise_if_stop_requested
from harness.trial import TrialContext, fingerprint_of, lost_record, run_trial
from harness.trial.out_of_memory import MIB, MemoryBaseline

log = logging.getLogger(__name__)

_UNEXPECTED_LIMIT = 3  # trials that fail of an unforeseen error one after another: the study itself is broken
_TRUST_S = 2.0  # in a worker that was there
_POLL_S = (0.1, 2.0)  # between looks for a trial whose turn has come, first and longest


class WorkerUnhealthy(Exception):
    """This process is no place for another trial; the study goes on in a new one. `exit_code` is for who cannot."""

    exit_code = 75


class Worker:
    """One of the workers of a study. Made by `join`, which gives signs of life for as long as it is there."""

    def __init__(self, config: Config, folder: Path, name: str, signs: HeartbeatMonitor, beat: Heartbeat) -> None:
        assert config.sweep is not None
        self.config, self.sweep, self.folder, self.name = config, config.sweep, folder, name
        self.tree = to_dict(config)
        self.signs, self.locks, self.beat = signs, signs.locks, beat
        self.log, self.claims = Log(folder), AssignmentLog(folder)
        self.arms: list[Arm] = arms(self.sweep)
        self.slots = schedule(self.arms, self.sweep.trials)
        self._trusted: dict[str, float] = {}
        with self.locks.mutex():  # Optuna's tables are made by the first
            self.mirror = OptunaMirror(folder, config.trainer.objective, self.arms)
        with_study_lock(self.locks, self._begin)

    def work(self) -> None:
        """Run trials until every slot of the study has a record, whoever makes it. Raises WornOut."""
        fresh = MemoryBaseline()
        with ProgressDisplay(len(self.slots), self.done) as display:
            pause = _POLL_S[0]
            while True:
                raise_if_stop_requested()
                taken = with_study_lock(self.locks, self._claim)
                if taken is not None:
                    ended = self._run(*taken, display)
                    raise_if_stop_requested()
                    if ended is not None and record.process_suspect(ended) and (lost := fresh.lost()):
                        raise WorkerUnhealthy(lost)
                    pause = _POLL_S[0]
                elif self.done == len(self.slots):
                    with_study_lock(self.locks, self._finish)
                    return
                else:
                    time.sleep(pause)
                    pause = min(2 * pause, _POLL_S[1])

    def close(self) -> None:
        """Let go of Optuna's storage."""
        self.mirror.close()

    @property
    def done(self) -> int:
        """How many slots have a record."""
        return sum(self.claims.done(slot.number, self.log) for slot in self.slots)

    def _begin(self) -> None:
        repair_logs(self.folder)
        self._refresh()
        self._settle()

    def _refresh(self) -> None:
        self.log.refresh()
        self.claims.refresh()

    def _claim(self) -> tuple[Slot, Assignment] | None:
        """The next trial whose turn it is and that nobody is at, claimed; nothing if there is none now."""
        self._refresh()
        self._stop_if_broken()
        for slot in ready(self.slots, self.claims, self.log):
            if self.claims.running(slot.number, self.log, self._alive):
                continue
            last = self.claims.last(slot.number)
            if last is not None:
                self._settle()
                if self.claims.lost(slot.number) > REQUEUES and not self._has_result(slot, last):
                    self._give_up(slot, last)
                    continue
            point = last.point if last else self._propose(slot)
            claim = Assignment(slot.number, self.claims.attempts(slot.number) + 1, self.name, point)
            self.claims.add(claim)
            if self.claims.last(slot.number) != claim:
                raise LockLost
            return slot, claim
        return None

    def _finish(self) -> None:
        self._settle()
        self.mirror.backfill(self.log.records)

    def _settle(self) -> None:
        self.mirror.settle(self.log.get, self._is_live)

    def _is_live(self, trial: int, attempt: int) -> bool:
        same = self.claims.attempts(trial) == attempt
        return same and self.claims.running(trial, self.log, self._alive)

    def _alive(self, name: str) -> bool:
        """Who was just seen to be there is not looked at again: every look costs others the study's lock."""
        now = time.monotonic()
        if now - self._trusted.get(name, -_TRUST_S) < _TRUST_S:
            return True
        if alive := self.signs.alive(name):
            self._trusted[name] = now
        return alive

    def _earlier(self, slot: Slot) -> list[Record]:
        """The records of the arm's earlier slots, in their order."""
        same = [other.number for other in self.slots if other.arm.name == slot.arm.name and other.index < slot.index]
        return [entry for number in same if (entry := self.log.get(number)) is not None]

    def _propose(self, slot: Slot) -> Point:
        objective = self.config.trainer.objective
        return propose(slot.arm, slot.index, self.config.seed, self.sweep.startup, objective, self._earlier(slot))

    def _has_result(self, slot: Slot, last: Assignment) -> bool:
        trial = trial_config(self.tree, slot.arm, last.point)
        return has_result(self.folder, slot.number, fingerprint_of(trial))

    def _give_up(self, slot: Slot, last: Assignment) -> None:
        """A trial whose workers vanished again and again fails, so that the study ends."""
        reason = f"lost: its worker vanished {self.claims.lost(slot.number)} times"
        if held := self.signs.read(last.worker).get("resident"):
            reason += f"; the last held {held // MIB:,} MiB: a kernel that is short of memory kills without a word"
        place = TrialContext(self.config.study, slot.number, slot.arm.name, self.folder, last.point)
        entry = lost_record(trial_config(self.tree, slot.arm, last.point), place, reason)
        record.append(self.folder, dataclasses.replace(entry, attempt=last.attempt))
        self._refresh()
        forget_attempts(self.folder, slot.number)

    def _run(self, slot: Slot, claim: Assignment, display: ProgressDisplay) -> Record | None:
        """One trial from claim to record. The record is on the disk before Optuna hears of it.

        There is none where the trial was given to another worker meanwhile, who then removed this one's files.
        """
        self.mirror.enter(slot, claim)
        fault_injection.crash_point("after_claim")
        display.begin(slot.number, slot.arm.name, claim.point)
        told = {"trial": slot.number, "arm": slot.arm.name, "attempt": claim.attempt, "since": time.time()}
        self.beat.say(told | {"step": 0, "score": None})
        try:
            entry = self._train(slot, claim, display)
        except Exception as error:
            why = None if isinstance(error, Interrupted) else redact(f"{type(error).__name__}: {error}")
            try:
                mine = self._put_back(claim, why)
            except OSError:  # a full disk: the claim counts as lost, the reason stays what it was
                raise error from None
            if mine or why is None:
                raise
            log.warning("trial %d was given to another worker while this one was not to be seen", claim.trial)
            return None
        self.beat.say({"trial": None})
        return entry

    def _end(self, claim: Assignment, entry: Record, display: ProgressDisplay) -> bool:
        fault_injection.crash_point("before_record")
        accepted = self._accept(claim, entry)
        fault_injection.crash_point("before_tell")
        if accepted:
            self.mirror.tell(entry)
            display.end(entry, self.done)
        return accepted

    def _train(self, slot: Slot, claim: Assignment, display: ProgressDisplay) -> Record:
        trial = trial_config(self.tree, slot.arm, claim.point)
        objective = self.config.trainer.objective
        others = [curve_of(entry) for entry in self._earlier(slot) if entry.state != "fail"]
        reports: dict[int, float] = {}

        def report(step: int, scores: dict[str, float]) -> bool:
            reports[step] = scores[objective]
            self.mirror.report(step, scores[objective])
            self.beat.say({"step": step, "score": scores[objective]})
            display.scores(step, scores)
            after, sign = self.sweep.prune_after, -1.0 if objective == "loss" else 1.0
            return after is not None and below_median(reports, others, step, after, sign)

        fingerprint = fingerprint_of(trial)
        folder, entry = None, self._known(slot, claim, fingerprint)
        if entry is None:
            folder, entry = attempt_folder(self.folder, claim, fingerprint)
        if entry is not None:
            entry = dataclasses.replace(entry, attempt=claim.attempt)
            self._end(claim, entry, display)
            return entry
        assert folder is not None
        place = TrialContext(self.config.study, slot.number, slot.arm.name, folder, claim.point)

        def accept(entry: Record) -> bool:
            made = [[step, value] for step, value in reports.items()]
            found = published(entry)
            entry = fail_if_not_finite(dataclasses.replace(entry, attempt=claim.attempt, reports=made, adapter=found))
            keep_result(place.folder, entry)
            return self._end(claim, entry, display)

        return run_trial(trial, place, report, accept)

    def _known(self, slot: Slot, claim: Assignment, fingerprint: str) -> Record | None:
        """What a complete trial of the same configuration found, as this trial's."""
        entry = record.find_complete(self.log.records, fingerprint)
        if entry is None:
            return None
        reason = f"same configuration as trial {entry.trial}: looked up, not trained again"
        return dataclasses.replace(
            entry, trial=slot.number, arm=slot.arm.name, point=claim.point, reason=reason, reports=[]
        )

    def _accept(self, claim: Assignment, entry: Record) -> bool:
        """Record a result, unless the trial was given to another worker: this one was taken for dead."""

        def accept() -> bool:
            self._refresh()
            if self.claims.last(claim.trial) != claim or self.claims.done(claim.trial, self.log):
                self.mirror.requeue()
                return False
            publish(self.folder, claim)
            record.append(self.folder, entry)
            self._refresh()
            return True

        if accepted := with_study_lock(self.locks, accept):
            forget_attempts(self.folder, claim.trial)
        return accepted

    def _put_back(self, claim: Assignment, why: str | None) -> bool:
        """Let others have the trial; returns whether it was still this worker's."""

        def requeue() -> bool:
            self._refresh()
            if mine := self.claims.last(claim.trial) == claim:
                self.claims.requeue(claim, why)
            self.mirror.requeue()
            return mine

        return with_study_lock(self.locks, requeue)

    def _stop_if_broken(self) -> None:
        last = self.log.records[-_UNEXPECTED_LIMIT:]
        broken = [entry for entry in last if not record.is_final(entry) and self.claims.done(entry.trial, self.log)]
        if len(broken) == _UNEXPECTED_LIMIT:
            raise RuntimeError(f"the last {_UNEXPECTED_LIMIT} trials failed alike: {broken[-1].reason}")


@contextmanager
def join(config: Config, folder: Path) -> Iterator[Worker]:
    """Become a worker of a study that was begun. Raises ConfigError where its data are others or it has room for one.

    While inside, others see signs of life of this process; when it ends, however it does, its trial is free.
    """
    check_same_inputs(config, folder)
    locks = open_locks(folder)
    try:
        signs = HeartbeatMonitor(folder, locks, config.launch.lease_s)
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"

        def enrol() -> Heartbeat:
            check_workers(1 + len(workers_of(signs)))
            if not locks.take(name):
                raise ConfigError(f"study={folder.name}: the lock {name} is taken")
            return Heartbeat(folder, name, signs.beat_s, _where())

        beat = with_study_lock(locks, enrol)
        try:
            with closing(Worker(config, folder, name, signs, beat)) as worker:
                yield worker
        finally:
            beat.close()
            locks.drop(name)
    finally:
        locks.close()


def workers_of(signs: HeartbeatMonitor) -> dict[str, dict[str, Any]]:
    """The last sign of every worker that is there. Asked under the study's lock."""
    return {name: sign for name, sign in signs.all().items() if signs.alive(name)}


def _where() -> dict[str, Any]:
    told: dict[str, Any] = {"host": socket.gethostname(), "trial": None}
    told |= {"started": started_at(os.getpid()), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
    if job := os.environ.get("SLURM_ARRAY_JOB_ID"):
        told["job"] = f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}"
    return told
