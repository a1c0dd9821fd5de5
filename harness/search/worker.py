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

from harness import faults, record
from harness.config import Config, ConfigError, plain
from harness.exhaustion import MIB, Baseline
from harness.launch import started_at
from harness.record import Log, Record, sayable
from harness.redaction import redact
from harness.search.attempts import attempt_folder, forget_attempts, has_result, keep_result, publish, published
from harness.search.claims import REQUEUES, Claim, Claims, Slot, mend_logs, ready, schedule
from harness.search.display import Display
from harness.search.locks import Beat, LockLost, Signs, under
from harness.search.mirror import OptunaMirror
from harness.search.pruning import below_median, curve_of
from harness.search.space import Arm, Point, arms, propose
from harness.search.storage import check_workers, open_locks
from harness.search.study import same_inputs, trial_config
from harness.training import Interrupted, end_if_asked
from harness.trial import Place, fingerprint_of, lost_record, run_trial

log = logging.getLogger(__name__)

_UNEXPECTED_LIMIT = 3  # trials that fail of an unforeseen error one after another: the study itself is broken
_TRUST_S = 2.0  # in a worker that was there
_POLL_S = (0.1, 2.0)  # between looks for a trial whose turn has come, first and longest


class WornOut(Exception):
    """This process is no place for another trial; the study goes on in a new one. `exit_code` is for who cannot."""

    exit_code = 75


class Worker:
    """One of the workers of a study. Made by `join`, which gives signs of life for as long as it is there."""

    def __init__(self, config: Config, folder: Path, name: str, signs: Signs, beat: Beat) -> None:
        assert config.sweep is not None
        self.config, self.sweep, self.folder, self.name = config, config.sweep, folder, name
        self.tree = plain(config)
        self.signs, self.locks, self.beat = signs, signs.locks, beat
        self.log, self.claims = Log(folder), Claims(folder)
        self.arms: list[Arm] = arms(self.sweep)
        self.slots = schedule(self.arms, self.sweep.trials)
        self._trusted: dict[str, float] = {}
        with self.locks.mutex():  # Optuna's tables are made by the first
            self.mirror = OptunaMirror(folder, config.trainer.objective, self.arms)
        under(self.locks, self._begin)

    def work(self) -> None:
        """Run trials until every slot of the study has a record, whoever makes it. Raises WornOut."""
        fresh = Baseline()
        with Display(len(self.slots), self.done) as display:
            pause = _POLL_S[0]
            while True:
                end_if_asked()
                taken = under(self.locks, self._claim)
                if taken is not None:
                    ended = self._run(*taken, display)
                    end_if_asked()
                    if ended is not None and record.hurt(ended) and (lost := fresh.lost()):
                        raise WornOut(lost)
                    pause = _POLL_S[0]
                elif self.done == len(self.slots):
                    under(self.locks, self._finish)
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
        mend_logs(self.folder)
        self._refresh()
        self._settle()

    def _refresh(self) -> None:
        self.log.refresh()
        self.claims.refresh()

    def _claim(self) -> tuple[Slot, Claim] | None:
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
            claim = Claim(slot.number, self.claims.attempts(slot.number) + 1, self.name, point)
            self.claims.add(claim)
            if self.claims.last(slot.number) != claim:
                raise LockLost
            return slot, claim
        return None

    def _finish(self) -> None:
        self._settle()
        self.mirror.catch_up(self.log.records)

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

    def _has_result(self, slot: Slot, last: Claim) -> bool:
        trial = trial_config(self.tree, slot.arm, last.point)
        return has_result(self.folder, slot.number, fingerprint_of(trial))

    def _give_up(self, slot: Slot, last: Claim) -> None:
        """A trial whose workers vanished again and again fails, so that the study ends."""
        reason = f"lost: its worker vanished {self.claims.lost(slot.number)} times"
        if held := self.signs.read(last.worker).get("resident"):
            reason += f"; the last held {held // MIB:,} MiB: a kernel that is short of memory kills without a word"
        place = Place(self.config.study, slot.number, slot.arm.name, self.folder, last.point)
        entry = lost_record(trial_config(self.tree, slot.arm, last.point), place, reason)
        record.append(self.folder, dataclasses.replace(entry, attempt=last.attempt))
        self._refresh()
        forget_attempts(self.folder, slot.number)

    def _run(self, slot: Slot, claim: Claim, display: Display) -> Record | None:
        """One trial from claim to record. The record is on the disk before Optuna hears of it.

        There is none where the trial was given to another worker meanwhile, who then removed this one's files.
        """
        self.mirror.enter(slot, claim)
        faults.point("after_claim")
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

    def _end(self, claim: Claim, entry: Record, display: Display) -> bool:
        faults.point("before_record")
        accepted = self._accept(claim, entry)
        faults.point("before_tell")
        if accepted:
            self.mirror.tell(entry)
            display.end(entry, self.done)
        return accepted

    def _train(self, slot: Slot, claim: Claim, display: Display) -> Record:
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
        place = Place(self.config.study, slot.number, slot.arm.name, folder, claim.point)

        def accept(entry: Record) -> bool:
            made = [[step, value] for step, value in reports.items()]
            found = published(entry)
            entry = sayable(dataclasses.replace(entry, attempt=claim.attempt, reports=made, adapter=found))
            keep_result(place.folder, entry)
            return self._end(claim, entry, display)

        return run_trial(trial, place, report, accept)

    def _known(self, slot: Slot, claim: Claim, fingerprint: str) -> Record | None:
        """What a complete trial of the same configuration found, as this trial's."""
        entry = record.answered(self.log.records, fingerprint)
        if entry is None:
            return None
        reason = f"same configuration as trial {entry.trial}: looked up, not trained again"
        return dataclasses.replace(
            entry, trial=slot.number, arm=slot.arm.name, point=claim.point, reason=reason, reports=[]
        )

    def _accept(self, claim: Claim, entry: Record) -> bool:
        """Record a result, unless the trial was given to another worker: this one was taken for dead."""

        def accept() -> bool:
            self._refresh()
            if self.claims.last(claim.trial) != claim or self.claims.done(claim.trial, self.log):
                self.mirror.put_back()
                return False
            publish(self.folder, claim)
            record.append(self.folder, entry)
            self._refresh()
            return True

        if accepted := under(self.locks, accept):
            forget_attempts(self.folder, claim.trial)
        return accepted

    def _put_back(self, claim: Claim, why: str | None) -> bool:
        """Let others have the trial; returns whether it was still this worker's."""

        def put_back() -> bool:
            self._refresh()
            if mine := self.claims.last(claim.trial) == claim:
                self.claims.put_back(claim, why)
            self.mirror.put_back()
            return mine

        return under(self.locks, put_back)

    def _stop_if_broken(self) -> None:
        last = self.log.records[-_UNEXPECTED_LIMIT:]
        broken = [entry for entry in last if not record.finished(entry) and self.claims.done(entry.trial, self.log)]
        if len(broken) == _UNEXPECTED_LIMIT:
            raise RuntimeError(f"the last {_UNEXPECTED_LIMIT} trials failed alike: {broken[-1].reason}")


@contextmanager
def join(config: Config, folder: Path) -> Iterator[Worker]:
    """Become a worker of a study that was begun. Raises ConfigError where its data are others or it has room for one.

    While inside, others see signs of life of this process; when it ends, however it does, its trial is free.
    """
    same_inputs(config, folder)
    locks = open_locks(folder)
    try:
        signs = Signs(folder, locks, config.launch.lease_s)
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"

        def enrol() -> Beat:
            check_workers(1 + len(workers_of(signs)))
            if not locks.take(name):
                raise ConfigError(f"study={folder.name}: the lock {name} is taken")
            return Beat(folder, name, signs.beat_s, _where())

        beat = under(locks, enrol)
        try:
            with closing(Worker(config, folder, name, signs, beat)) as worker:
                yield worker
        finally:
            beat.close()
            locks.drop(name)
    finally:
        locks.close()


def workers_of(signs: Signs) -> dict[str, dict[str, Any]]:
    """The last sign of every worker that is there. Asked under the study's lock."""
    return {name: sign for name, sign in signs.all().items() if signs.alive(name)}


def _where() -> dict[str, Any]:
    told: dict[str, Any] = {"host": socket.gethostname(), "trial": None}
    told |= {"started": started_at(os.getpid()), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
    if job := os.environ.get("SLURM_ARRAY_JOB_ID"):
        told["job"] = f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}"
    return told
