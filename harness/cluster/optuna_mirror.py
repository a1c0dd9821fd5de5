"""The mirror of a study in Optuna's storage, which its dashboard and plots read. The records are the truth.

Optuna takes all trials of one of its studies for draws from one space by one rule. So the study of the search's name
holds the trials of the search alone; baselines, and trials that confirm, have a study each beside it.

An error of the mirror is logged once, and the study continues: the next worker that reconciles, or run=rebuild, repairs
the mirror.
"""

import logging
import statistics
from collections.abc import Callable, Iterator, Sequence
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
from harness.record import Phase, Record, figure, read
from harness.record.figures import SHORT
from harness.search.methods import experimental_allowed
from harness.search.plan import STATES, SearchPlan
from harness.search.pruning import curve_of
from harness.search.space import compared_distributions, distributions, encoded, parameters
from harness.system import fault_injection
from harness.system.redaction import redact
from harness.system.study_files import COMMAND

log = logging.getLogger(__name__)

# Optuna announces each trial by default; the display does that.
optuna.logging.set_verbosity(optuna.logging.WARNING)


SEARCH, BASELINES, CONFIRM = "search", "baselines", "confirm"
"""What one of Optuna's studies holds. That of the search has the study's name, the others add theirs to it."""
_HOLDS = "trials"
"""The attribute that says so; a study of an earlier version holds all and says nothing."""


class OptunaMirror:
    """One study in Optuna's storage. The caller, as that of `reconcile` and `backfill`, holds the study's lock."""

    def __init__(self, folder: Path, config: Config) -> None:
        assert config.sweep is not None
        self._plan, self._arms = SearchPlan.of(config), arms(config.sweep)
        searched = [arm for arm in self._arms if not arm.baseline]
        self._compared = compared_distributions(searched) if searched else {}
        self._beside = compared_distributions(self._arms)
        self._said = {"task": config.task.name, "model": config.model.name, "study": config.study}
        if (folder / COMMAND).exists():
            self._said["command"] = (folder / COMMAND).read_text().strip()
        self._failing = False
        self._storage, self._name = open_storage(folder)
        self._studies: dict[str, optuna.Study] = {}
        self._running: dict[int, tuple[optuna.Study, int]] = {}
        """This worker's running trials by their numbers: Optuna's study, and the id there."""
        if self._is_of_earlier_version():
            self.rebuild(read(folder))
        self._study(SEARCH)

    def close(self) -> None:
        """Close the storage."""
        close_storage(self._storage)

    def begin(self, slot: Slot, assignment: Assignment) -> None:
        """Add a trial as running, with its parameters, so that Optuna gives it to no other worker.

        One that has waited at a rung is there.
        """
        self._running.pop(slot.number, None)

        def begin() -> None:
            held = _held_by(slot.phase, slot.arm)
            running = optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=self._of_arm(slot.arm, held) | parameters(slot.arm, assignment.point),
                distributions=self._kinds(slot.arm, held) | distributions(slot.arm, assignment.point),
                user_attrs={"trial": slot.number, "arm": slot.arm.name_of(assignment.point)}
                | {"attempt": assignment.attempt, "phase": slot.phase},
            )
            study = self._study(held)
            halted = self._halted(study, slot.number) if self._plan.halves else None
            if halted is None:
                halted = self._storage.create_new_trial(self._study_id(study), running)
            else:
                self._storage.set_trial_user_attr(halted, "attempt", assignment.attempt)
            self._running[slot.number] = study, halted

        self._try(begin)

    def _halted(self, study: optuna.Study, number: int) -> int | None:
        """Optuna's id of a trial that has waited at a rung: it is running there all the while."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        found = (each.number for each in trials if each.user_attrs.get("trial") == number)
        at = next(found, None)
        return None if at is None else self._id_of(study, at)

    def _study_id(self, study: optuna.Study) -> int:
        return self._storage.get_study_id_from_name(study.study_name)

    def _id_of(self, study: optuna.Study, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id(study), number)

    def report(self, trial: int, step: int, value: float) -> None:
        """Add an evaluation of a running trial."""
        if (at := self._running.get(trial)) is not None:
            self._try(lambda: self._storage.set_trial_intermediate_value(at[1], step, value))

    def tell(self, entry: Record) -> None:
        """Finish a running trial by its record."""
        if (at := self._running.get(entry.trial)) is not None:
            self._try(lambda: self._tell(at[0], self._storage.get_trial_number_from_id(at[1]), entry))

    def requeue(self, trial: int) -> None:
        """Fail a running trial, which was not finished; its next attempt adds it again."""
        if (at := self._running.get(trial)) is not None:
            number = self._storage.get_trial_number_from_id
            self._try(lambda: self._finish(at[0], number(at[1]), TrialState.FAIL))

    def reconcile(self, record_of: Callable[[int], Record | None], live: Callable[[int, int], bool]) -> None:
        """Finish every trial left running: by its record, or as failed where no worker has it any more.

        `live` returns whether a worker has a trial and an attempt.
        """

        def reconcile() -> None:
            for study in self._existing():
                for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                    number, attempt = trial.user_attrs.get("trial", -1), trial.user_attrs.get("attempt", 1)
                    entry = record_of(number)
                    fault_injection.crash_point("in_reconcile")
                    if entry is not None and entry.attempt == attempt:
                        self._tell(study, trial.number, entry)
                    elif not live(number, attempt):
                        self._finish(study, trial.number, TrialState.FAIL)

        self._try(reconcile)

    def backfill(self, records: Sequence[Record]) -> None:
        """Add records that were written while Optuna's storage was out of reach."""

        def backfill() -> None:
            ended = (TrialState.COMPLETE, TrialState.PRUNED)
            trials = (each for study in self._existing() for each in study.get_trials(deepcopy=False, states=ended))
            known = {trial.user_attrs.get("trial") for trial in trials}
            self._add([each for each in records if self._state(each) in ended and each.trial not in known])

        self._try(backfill)

    def rebuild(self, records: Sequence[Record]) -> int:
        """Rebuild the study from the records alone; returns how many trials it holds."""
        for held in (SEARCH, BASELINES, CONFIRM):
            with suppress(KeyError):
                optuna.delete_study(study_name=self._name_of(held), storage=self._storage)
        self._studies.clear()
        self._study(SEARCH)
        return self._add(records)

    def _add(self, records: Sequence[Record]) -> int:
        """Add trials as their records say; returns how many are of the study's arms."""
        known = [(entry, arm) for entry in records if (arm := arm_of(self._arms, entry.arm)) is not None]
        for held in dict.fromkeys(_held_by(entry.phase, arm) for entry, arm in known):
            own = [(entry, arm) for entry, arm in known if _held_by(entry.phase, arm) == held]
            self._study(held).add_trials([self._frozen_trial(entry, arm, held) for entry, arm in own])
        return len(known)

    def _name_of(self, held: str) -> str:
        return self._name if held == SEARCH else f"{self._name}-{held}"

    def _existing(self) -> Iterator[optuna.Study]:
        """Optuna's studies that there are, other workers' among them."""
        for held in (SEARCH, BASELINES, CONFIRM):
            with suppress(KeyError):
                self._storage.get_study_id_from_name(self._name_of(held))
                yield self._study(held)

    def _is_of_earlier_version(self) -> bool:
        try:
            study = optuna.load_study(study_name=self._name, storage=self._storage)
        except KeyError:
            return False
        return _HOLDS not in study.user_attrs and bool(study.get_trials(deepcopy=False))

    def _study(self, held: str) -> optuna.Study:
        """One of Optuna's studies, made where there is none."""
        if held not in self._studies:
            self._studies[held] = self._open(self._name_of(held), held)
        return self._studies[held]

    def _open(self, name: str, held: str) -> optuna.Study:
        study = optuna.create_study(
            storage=self._storage, study_name=name, directions=self._plan.directions, load_if_exists=True
        )
        with experimental_allowed():
            if study.metric_names != self._plan.names:
                study.set_metric_names(self._plan.names)
        for key, value in (self._said | {_HOLDS: held}).items():
            if study.user_attrs.get(key) != value:
                study.set_user_attr(key, value)
        return study

    def _of_arm(self, arm: Arm, held: str) -> dict[str, Any]:
        """The parameters that say the arm: the values that are compared, numbers as numbers; beside a search its name.

        In a search the values say the name, and an importance would be shared between both.
        """
        known = self._kinds(arm, held)
        values = {key: encoded(value) for key, value in arm.values.items() if key in known}
        named = {"arm": arm.name if arm.name in known["arm"].choices else JOINT} if "arm" in known else {}
        return named | values

    def _kinds(self, arm: Arm, held: str) -> dict[str, Any]:
        if held == SEARCH:
            return {key: kind for key, kind in self._compared.items() if key in arm.values}
        return {key: kind for key, kind in self._beside.items() if key == "arm" or key in arm.values}

    def _state(self, entry: Record) -> TrialState:
        """Return a trial's state in Optuna: one that lacks an objective has failed there."""
        lacks = entry.state == "complete" and self._plan.values(entry) is None
        return TrialState.FAIL if lacks else STATES[entry.state]

    def _frozen_trial(self, entry: Record, arm: Arm, held: str) -> optuna.trial.FrozenTrial:
        complete = (state := self._state(entry)) is TrialState.COMPLETE
        return optuna.trial.create_trial(
            state=state,
            values=self._plan.values(entry) if complete else None,
            params=self._of_arm(arm, held) | parameters(arm, entry.point),
            distributions=self._kinds(arm, held) | distributions(arm, entry.point),
            user_attrs={"trial": entry.trial, "arm": entry.arm, "attempt": entry.attempt, "phase": entry.phase}
            | _attributes(entry),
            intermediate_values=curve_of(entry),
            constraints=self._plan.violations(entry) if self._plan.constraints and complete else None,
        )

    def _tell(self, study: optuna.Study, number: int, entry: Record) -> None:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._describe(study, number, entry)
        state = self._state(entry)
        self._finish(study, number, state, self._plan.values(entry) if state is TrialState.COMPLETE else None)

    def _describe(self, study: optuna.Study, number: int, entry: Record) -> None:
        """Say of a running trial, which may be another worker's, what its record says."""
        running = optuna.trial.Trial(study, self._id_of(study, number))
        for key, value in _attributes(entry).items():
            running.set_user_attr(key, value)
        for name, exceeded in self._plan.violations(entry).items():
            running.set_constraint(name, exceeded)

    def _finish(
        self, study: optuna.Study, number: int, state: TrialState, values: Sequence[float] | None = None
    ) -> None:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # another worker reconciled it just then
            study.tell(number, values, state=state, skip_if_finished=True)

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


def _held_by(phase: Phase, arm: Arm) -> str:
    """Return which of Optuna's studies has a trial."""
    return CONFIRM if phase == "confirm" else BASELINES if arm.baseline else SEARCH


def _attributes(entry: Record) -> dict[str, Any]:
    """A trial's settings, costs and validation scores; nothing of the test split.

    The rank is the mean over layers; where they differ, the lowest and the highest are given, too.
    """
    found: dict[str, Any] = {name: value for name in SHORT if (value := figure(entry, name)) is not None}
    ranks = set(entry.adapter.ranks.values())
    if entry.lora.is_low_rank and len(ranks) > 1:
        found["rank"] = statistics.fmean(entry.adapter.ranks.values())
        found |= {"lowest rank": min(ranks), "highest rank": max(ranks)}
    elif entry.lora.is_low_rank and entry.lora.rank is not None:
        found["rank"] = next(iter(ranks), entry.lora.rank)
    return found | {f"val {name}": value for name, value in entry.scores.get("val", {}).items()}
