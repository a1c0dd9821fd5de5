"""The mirror of a study in Optuna's storage, which its dashboard and plots read. The records are the truth.

An error of the mirror is logged once, and the study continues: the next worker that reconciles, or run=rebuild, repairs
the mirror.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from harness.cluster.assignments import Assignment, Slot
from harness.cluster.locks import LockLost
from harness.cluster.optuna_storage import close_storage, open_storage
from harness.config import Config
from harness.config.arms import JOINT, Arm, arm_of, arms
from harness.record import Record, figure
from harness.record.figures import SHORT
from harness.search.methods import experimental_allowed
from harness.search.plan import STATES, SearchPlan
from harness.search.pruning import curve_of
from harness.search.space import compared_distributions, distributions, encoded, parameters
from harness.system import fault_injection
from harness.system.redaction import redact

log = logging.getLogger(__name__)

# Optuna announces each trial by default; the display does that.
optuna.logging.set_verbosity(optuna.logging.WARNING)


class OptunaMirror:
    """One study in Optuna's storage. The caller of `reconcile` and `backfill` holds the study's lock."""

    def __init__(self, folder: Path, config: Config) -> None:
        assert config.sweep is not None
        self._plan, self._arms = SearchPlan.of(config), arms(config.sweep)
        self._compared = compared_distributions(self._arms)
        self._said = {"task": config.task.name, "model": config.model.name, "study": config.study}
        self._failing = False
        self._storage, self._name = open_storage(folder)
        self._study = self._open()
        self._running: dict[int, int] = {}  # Optuna's ids of this worker's running trials, by their numbers

    def close(self) -> None:
        """Close the storage."""
        close_storage(self._storage)

    def begin(self, slot: Slot, assignment: Assignment) -> None:
        """Add a trial as running, with its parameters, so that Optuna gives it to no other worker.

        One that has waited at a rung is there.
        """
        self._running.pop(slot.number, None)

        def begin() -> None:
            running = optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=self._of_arm(slot.arm) | parameters(slot.arm, assignment.point),
                distributions=self._kinds(slot.arm) | distributions(slot.arm, assignment.point),
                user_attrs={"trial": slot.number, "arm": slot.arm.name_of(assignment.point)}
                | {"attempt": assignment.attempt, "phase": slot.phase},
            )
            study = self._storage.get_study_id_from_name(self._name)
            halted = self._halted(study, slot.number) if self._plan.halves else None
            if halted is None:
                halted = self._storage.create_new_trial(study, running)
            else:
                self._storage.set_trial_user_attr(halted, "attempt", assignment.attempt)
            self._running[slot.number] = halted

        self._try(begin)

    def _halted(self, study: int, number: int) -> int | None:
        """Optuna's id of a trial that has waited at a rung: it is running there all the while."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        found = (each.number for each in trials if each.user_attrs.get("trial") == number)
        at = next(found, None)
        return None if at is None else self._storage.get_trial_id_from_study_id_trial_number(study, at)

    def report(self, trial: int, step: int, value: float) -> None:
        """Add an evaluation of a running trial."""
        if (number := self._running.get(trial)) is not None:
            self._try(lambda: self._storage.set_trial_intermediate_value(number, step, value))

    def tell(self, entry: Record) -> None:
        """Finish a running trial by its record."""
        if (number := self._running.get(entry.trial)) is not None:
            self._try(lambda: self._tell(self._storage.get_trial_number_from_id(number), entry))

    def requeue(self, trial: int) -> None:
        """Fail a running trial, which was not finished; its next attempt adds it again."""
        if (number := self._running.get(trial)) is not None:
            self._try(lambda: self._fail(self._storage.get_trial_number_from_id(number)))

    def reconcile(self, record_of: Callable[[int], Record | None], live: Callable[[int, int], bool]) -> None:
        """Finish every trial left running: by its record, or as failed where no worker has it any more.

        `live` tells of a trial and an attempt whether a worker has it.
        """

        def reconcile() -> None:
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                number, attempt = trial.user_attrs.get("trial", -1), trial.user_attrs.get("attempt", 1)
                entry = record_of(number)
                fault_injection.crash_point("in_reconcile")
                if entry is not None and entry.attempt == attempt:
                    self._tell(trial.number, entry)
                elif not live(number, attempt):
                    self._fail(trial.number)

        self._try(reconcile)

    def backfill(self, records: Sequence[Record]) -> None:
        """Add records that were written while Optuna's storage was out of reach."""

        def backfill() -> None:
            ended = (TrialState.COMPLETE, TrialState.PRUNED)
            known = {trial.user_attrs.get("trial") for trial in self._study.get_trials(deepcopy=False, states=ended)}
            missed = [entry for entry in records if entry.state != "fail" and entry.trial not in known]
            self._study.add_trials([self._frozen_trial(entry) for entry in missed if arm_of(self._arms, entry.arm)])

        self._try(backfill)

    def rebuild(self, records: Sequence[Record]) -> int:
        """Rebuild the study from the records alone; returns how many trials it holds."""
        optuna.delete_study(study_name=self._name, storage=self._storage)
        self._study = self._open()
        entries = [entry for entry in records if arm_of(self._arms, entry.arm)]
        self._study.add_trials([self._frozen_trial(entry) for entry in entries])
        return len(entries)

    def _open(self) -> optuna.Study:
        study = optuna.create_study(
            storage=self._storage, study_name=self._name, directions=self._plan.directions, load_if_exists=True
        )
        with experimental_allowed():
            if study.metric_names != self._plan.names:
                study.set_metric_names(self._plan.names)
        for key, value in self._said.items():
            if study.user_attrs.get(key) != value:
                study.set_user_attr(key, value)
        return study

    def _of_arm(self, arm: Arm) -> dict[str, Any]:
        """The parameters that say the arm: its name, and the values that are compared, numbers as numbers."""
        known = self._kinds(arm)
        values = {key: encoded(value) for key, value in arm.values.items() if key in known}
        return {"arm": arm.name if arm.name in known["arm"].choices else JOINT} | values

    def _kinds(self, arm: Arm) -> dict[str, Any]:
        return {key: kind for key, kind in self._compared.items() if key == "arm" or key in arm.values}

    def _frozen_trial(self, entry: Record) -> optuna.trial.FrozenTrial:
        values, arm = self._plan.values(entry), arm_of(self._arms, entry.arm)
        assert arm is not None
        complete = entry.state == "complete" and values is not None
        return optuna.trial.create_trial(
            state=STATES[entry.state] if complete or entry.state != "complete" else TrialState.FAIL,
            values=values if complete else None,
            params=self._of_arm(arm) | parameters(arm, entry.point),
            distributions=self._kinds(arm) | distributions(arm, entry.point),
            user_attrs={"trial": entry.trial, "arm": entry.arm, "attempt": entry.attempt, "phase": entry.phase}
            | _attributes(entry),
            intermediate_values=curve_of(entry),
            constraints=self._plan.violations(entry) if self._plan.constraints and complete else None,
        )

    def _tell(self, number: int, entry: Record) -> None:
        values = self._plan.values(entry)
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._describe(number, entry)
        if entry.state == "complete" and values is not None:
            self._finish(number, TrialState.COMPLETE, values)
        else:
            self._finish(number, TrialState.PRUNED if entry.state == "pruned" else TrialState.FAIL)

    def _describe(self, number: int, entry: Record) -> None:
        """Say of a running trial, which may be another worker's, what its record says."""
        study = self._storage.get_study_id_from_name(self._name)
        running = optuna.trial.Trial(self._study, self._storage.get_trial_id_from_study_id_trial_number(study, number))
        for key, value in _attributes(entry).items():
            running.set_user_attr(key, value)
        for name, exceeded in self._plan.violations(entry).items():
            running.set_constraint(name, exceeded)

    def _fail(self, number: int) -> None:
        self._finish(number, TrialState.FAIL)

    def _finish(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # another worker reconciled it just then
            self._study.tell(number, values, state=state, skip_if_finished=True)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
            self._failing = False
        except LockLost:  # of the study's lock, under which the mirror is reconciled
            raise
        except Exception as error:  # a mirror that breaks must not take the trial with it
            if not self._failing:
                message = redact(" ".join(str(error).split()))[:200]
                log.warning("Optuna's mirror: %s: %s; the records are complete", type(error).__name__, message)
            self._failing = True


def _attributes(entry: Record) -> dict[str, Any]:
    """What a trial was and cost, and what it scored on validation; nothing of the test split."""
    found: dict[str, Any] = {name: value for name in SHORT if (value := figure(entry, name)) is not None}
    if entry.lora.is_low_rank and entry.lora.rank is not None:
        found["rank"] = entry.lora.rank
    return found | {f"val {name}": value for name, value in entry.scores.get("val", {}).items()}
