"""Optuna's mirror of a study, which its dashboard and plots can read. The records are the truth; it follows them.

Whatever goes wrong in it is said once, and the study goes on: the next worker that looks, or run=rebuild, mends it.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from harness.cluster.assignments import Assignment, Slot
from harness.cluster.locks import LockLost
from harness.cluster.storage import close_storage, open_storage
from harness.record import Record
from harness.search.pruning import curve_of
from harness.search.space import Arm, distributions
from harness.system import fault_injection
from harness.system.redaction import redact

log = logging.getLogger(__name__)

# Optuna announces each trial by default; the display does that.
optuna.logging.set_verbosity(optuna.logging.WARNING)


class OptunaMirror:
    """One study of Optuna's. Settling is for one process at a time: the caller holds the study's lock."""

    def __init__(self, folder: Path, objective: str, all_arms: Sequence[Arm]) -> None:
        self.objective = objective
        self._arms = {arm.name: arm for arm in all_arms}
        self._names = CategoricalDistribution(list(self._arms))
        self._failing = False
        self._storage, self._name = open_storage(folder)
        self._study = self._open()
        self._trial: int | None = None  # Optuna's id of the trial that was entered

    def close(self) -> None:
        """Let go of the storage."""
        close_storage(self._storage)

    def enter(self, slot: Slot, claim: Assignment) -> None:
        """A trial is begun. Entered whole, as running: nobody else can be handed it."""
        self._trial = None

        def enter() -> None:
            entered = optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params={"arm": slot.arm.name} | claim.point,
                distributions={"arm": self._names} | distributions(slot.arm),
                user_attrs={"trial": slot.number, "arm": slot.arm.name, "attempt": claim.attempt},
            )
            study = self._storage.get_study_id_from_name(self._name)
            self._trial = self._storage.create_new_trial(study, entered)

        self._try(enter)

    def report(self, step: int, value: float) -> None:
        """An evaluation of the trial that was entered."""
        if (trial := self._trial) is not None:
            self._try(lambda: self._storage.set_trial_intermediate_value(trial, step, value))

    def tell(self, entry: Record) -> None:
        """The trial that was entered has a record."""
        if (trial := self._trial) is not None:
            self._try(lambda: self._tell(self._storage.get_trial_number_from_id(trial), entry))

    def requeue(self) -> None:
        """The trial that was entered was not finished; it is entered again when it goes on."""
        if (trial := self._trial) is not None:
            self._try(lambda: self._fail(self._storage.get_trial_number_from_id(trial)))

    def settle(self, record_of: Callable[[int], Record | None], live: Callable[[int, int], bool]) -> None:
        """Settle every trial left running: by its record, or, where nobody is at it any more, as failed.

        `live` says of a trial and an attempt whether a worker is at it.
        """

        def settle() -> None:
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                number, attempt = trial.user_attrs.get("trial", -1), trial.user_attrs.get("attempt", 1)
                entry = record_of(number)
                fault_injection.crash_point("in_reconcile")
                if entry is not None and entry.attempt == attempt:
                    self._tell(trial.number, entry)
                elif not live(number, attempt):
                    self._fail(trial.number)

        self._try(settle)

    def backfill(self, records: Sequence[Record]) -> None:
        """Add what was recorded while Optuna's storage was out of reach."""

        def backfill() -> None:
            ended = (TrialState.COMPLETE, TrialState.PRUNED)
            known = {trial.user_attrs.get("trial") for trial in self._study.get_trials(deepcopy=False, states=ended)}
            missed = [entry for entry in records if entry.state != "fail" and entry.trial not in known]
            self._study.add_trials([self._remembered(entry) for entry in missed if entry.arm in self._arms])

        self._try(backfill)

    def rebuild(self, records: Sequence[Record]) -> int:
        """Make the study again from the records alone; returns how many trials it holds."""
        optuna.delete_study(study_name=self._name, storage=self._storage)
        self._study = self._open()
        entries = [entry for entry in records if entry.arm in self._arms]
        self._study.add_trials([self._remembered(entry) for entry in entries])
        return len(entries)

    def _open(self) -> optuna.Study:
        direction = StudyDirection.MINIMIZE if self.objective == "loss" else StudyDirection.MAXIMIZE
        return optuna.create_study(
            storage=self._storage, study_name=self._name, direction=direction, load_if_exists=True
        )

    def _remembered(self, entry: Record) -> optuna.trial.FrozenTrial:
        done = entry.state == "complete"
        state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "fail": TrialState.FAIL}[entry.state]
        return optuna.trial.create_trial(
            state=state,
            value=entry.scores["val"][self.objective] if done else None,
            params={"arm": entry.arm} | entry.point,
            distributions={"arm": self._names} | distributions(self._arms[entry.arm]),
            user_attrs={"trial": entry.trial, "arm": entry.arm, "attempt": entry.attempt},
            intermediate_values=curve_of(entry),
        )

    def _tell(self, number: int, entry: Record) -> None:
        if entry.state == "complete":
            self._say(number, TrialState.COMPLETE, entry.scores["val"][self.objective])
        else:
            self._say(number, TrialState.PRUNED if entry.state == "pruned" else TrialState.FAIL)

    def _fail(self, number: int) -> None:
        self._say(number, TrialState.FAIL)

    def _say(self, number: int, state: TrialState, value: float | None = None) -> None:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # who settles the study said it just then
            self._study.tell(number, value, state=state, skip_if_finished=True)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
            self._failing = False
        except LockLost:  # of the study's lock, under which it is settled
            raise
        except Exception as error:  # a mirror that breaks must not take the trial with it
            if not self._failing:
                said = redact(" ".join(str(error).split()))[:200]
                log.warning("Optuna's mirror: %s: %s; the records are complete", type(error).__name__, said)
            self._failing = True
