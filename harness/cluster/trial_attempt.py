"""One attempt at a trial by a worker: what is reported while it trains, and how its record is written."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cluster.assignments import Assignment, Slot
from harness.cluster.attempts import keep_result
from harness.cluster.display import Reporter
from harness.cluster.earlier import costs_so_far
from harness.config import Config
from harness.record import Record, fail_if_not_finite, ran_out_of_memory
from harness.search.pruning import Rule, never
from harness.system import fault_injection
from harness.trial import TrialContext

if TYPE_CHECKING:
    from harness.cluster.worker import Worker


class TrialAttempt:
    """An attempt at a trial: its configuration, folder and reports. `ended` is its record, once there is one."""

    def __init__(self, worker: "Worker", slot: Slot, assignment: Assignment, display: Reporter) -> None:
        self.worker, self.slot, self.assignment, self.display = worker, slot, assignment, display
        self.prunes: Rule = never
        self.folder: Path | None = None
        self.ended: Record | None = None
        self.reports: dict[int, float] = {}
        self._so_far: Callable[[], Record] | None = None

    @cached_property
    def config(self) -> Config:
        """The trial's own configuration. Raises ConfigError."""
        return self.worker.config_of(self.slot, self.assignment.point)

    @property
    def context(self) -> TrialContext:
        """The trial's place in its study."""
        assert self.folder is not None
        context = self.worker.context_of(self.slot, self.assignment, self.folder)
        return dataclasses.replace(context, watch=self._watch)

    def _watch(self, so_far: Callable[[], Record]) -> None:
        self._so_far = so_far

    def costs(self) -> dict[str, float]:
        """Return the trial's known costs so far."""
        return costs_so_far(self._so_far()) if self._so_far is not None else {}

    def report(self, step: int, scores: dict[str, float]) -> bool:
        """Report an evaluation to Optuna, the heartbeat and the display; returns whether to prune."""
        objective = self.config.trainer.objective
        self.reports[step] = scores[objective]
        self.worker.mirror.report(self.slot.number, step, scores[objective])
        self.worker.heartbeat.progress(self.slot.number, {"step": step, "score": scores[objective]})
        self.display.scores(self.slot.number, step, scores)
        return self.prunes(self.reports, step)

    def accept(self, entry: Record) -> bool:
        """Keep a result beside its files, then record it; returns whether it counts.

        A trial that ran out of memory beside others is no result: it is requeued, to run alone. Nor is one that halts
        at a rung: it waits for the others.
        """
        assert self.folder is not None
        if ran_out_of_memory(entry) and self.worker.packed.pack_size(self.slot.number) > 1:
            self.worker.requeue_alone(self.assignment, entry.reason)
            return False
        made = [[step, value] for step, value in self.reports.items()]
        changed = dataclasses.replace(self._whole(entry), attempt=self.assignment.attempt, reports=made)
        entry = fail_if_not_finite(changed)
        if self.context.halts and entry.state == "pruned":
            fault_injection.crash_point("before_halt")
            self.worker.halt(self.assignment, entry)
            self.display.halt(self.slot.number, max(self.reports))
            return False
        keep_result(self.folder, entry)
        return self.record(entry)

    def _whole(self, entry: Record) -> Record:
        """With the seconds up to the rung that it went on from."""
        *_, halted = [None, *self.worker.assignments.halts(self.slot.number)]
        if halted is None:
            return entry
        now, before = entry.time, halted.time
        trained = (now.train_s or 0.0) + (before.train_s or 0.0)
        spent = dataclasses.replace(now, train_s=trained, total_s=now.total_s + before.total_s)
        return dataclasses.replace(entry, time=spent)

    def record(self, entry: Record) -> bool:
        """Record a result and tell Optuna, unless the trial was assigned to another worker."""
        fault_injection.crash_point("before_record")
        accepted = self.worker.accept(self.assignment, entry)
        fault_injection.crash_point("before_tell")
        if accepted:
            self.worker.mirror.tell(entry)
            self.display.end(entry, self.worker.done, self.worker.total)
        return accepted
