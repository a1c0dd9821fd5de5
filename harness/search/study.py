"""The loop of a study: propose, train, record, tell; stopped at any moment, the same command goes on.

The record log is the truth. Optuna's study is a mirror of it that its dashboard and plots can read.
"""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from harness.config import Config, ConfigError, check, lay_over, plain, to_yaml
from harness.devices import resolve_device
from harness.network import count
from harness.preflight import same_question
from harness.record import Record, finished
from harness.search.display import Display
from harness.search.ledger import CONFIG, Ledger
from harness.search.space import Arm, Point, arms, distributions, propose
from harness.trial import Place, fingerprint_of, identity, run_trial

log = logging.getLogger(__name__)

_JOURNAL = "optuna.journal"
_UNEXPECTED_LIMIT = 3  # trials that fail of an unforeseen error one after another: the study itself is broken
# Optuna announces each trial by default; the display does that.
optuna.logging.set_verbosity(optuna.logging.WARNING)


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


def run_study(config: Config, ledger: Ledger) -> None:
    """Run every trial of the study that has no record yet.

    Raises ConfigError before anything is trained if the study was begun with another configuration or other data;
    Interrupted when a stop was asked for, everything so far being on the disk.
    """
    sweep = config.sweep
    assert sweep is not None
    tree = plain(config)
    all_arms = arms(sweep)
    same_question(ledger.folder, tree)
    (ledger.folder / CONFIG).write_text(to_yaml(tree))
    _same_inputs(ledger, config)
    mirror = _open_optuna(ledger, config.trainer.objective)
    slots = schedule(all_arms, sweep.trials)
    recorded = {entry.trial for entry in ledger.records if finished(entry)}
    left = [slot for slot in slots if slot.number not in recorded]
    with Display(len(slots), len(slots) - len(left)) as display:
        for slot in left:
            _run_slot(config, tree, ledger, mirror, slot, display)


def _run_slot(
    config: Config,
    tree: dict[str, Any],
    ledger: Ledger,
    mirror: optuna.Study,
    slot: Slot,
    display: Display,
) -> None:
    """One trial from proposal to record. The record is on the disk before Optuna hears of it."""
    sweep = config.sweep
    assert sweep is not None
    arm = slot.arm
    history = [entry for entry in ledger.records if entry.arm == arm.name]
    point = propose(arm, slot.index, config.seed, sweep.startup, config.trainer.objective, history)
    trial_config = _trial_config(tree, arm, point)
    trial = _ask(mirror, slot, point, arms(sweep))
    display.begin(slot.number, arm.name, point)

    def report(step: int, scores: dict[str, float]) -> bool:
        trial.report(scores[config.trainer.objective], step)
        display.scores(step, scores)
        return sweep.prune_after is not None and _below_median(mirror, trial, arm.name, step, sweep.prune_after)

    fingerprint = fingerprint_of(trial_config)
    if known := ledger.find(fingerprint):
        reason = f"same configuration as trial {known.trial}: looked up, not trained again"
        entry = dataclasses.replace(known, trial=slot.number, arm=arm.name, point=point, reason=reason)
    else:
        folder = ledger.trial_folder(slot.number)
        entry = run_trial(trial_config, Place(config.study, slot.number, arm.name, folder, point), report)
    ledger.add(entry)
    _tell(mirror, trial, entry, config.trainer.objective)
    display.end(entry)
    _stop_if_broken(ledger)


def _trial_config(tree: dict[str, Any], arm: Arm, point: Point) -> Config:
    """The configuration of one trial: the study's, with the arm's values and then the nuisance values laid over."""
    return check(lay_over(lay_over(tree, arm.values), point) | {"run": "trial", "sweep": None})


def _stop_if_broken(ledger: Ledger) -> None:
    last = ledger.records[-_UNEXPECTED_LIMIT:]
    if len(last) == _UNEXPECTED_LIMIT and all(entry.reason.startswith("error:") for entry in last):
        raise RuntimeError(f"the last {_UNEXPECTED_LIMIT} trials failed alike: {last[-1].reason}")


def check_study(config: Config) -> None:
    """Compose, check and build every arm on the meta device; raises ConfigError with all that cannot run."""
    assert config.sweep is not None
    resolve_device(config.trainer.accelerator, config.trainer.devices)
    tree, all_arms = plain(config), arms(config.sweep)
    names = [arm.name for arm in all_arms]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"sweep: two arms are called {', '.join(sorted(doubles))}")
    mistakes: dict[str, list[str]] = {}
    for arm in all_arms:
        try:
            count(_trial_config(tree, arm, {key: bounds.low for key, bounds in arm.nuisance.items()}))
        except ConfigError as error:
            mistakes.setdefault(str(error), []).append(arm.name)
    if mistakes:
        raise ConfigError(*(f"arm {', '.join(names)}: {mistake}" for mistake, names in mistakes.items()))


def _same_inputs(ledger: Ledger, config: Config) -> None:
    """Refuse to go on where data, weights or device are not those of the records so far: such trials do not compare."""
    assert config.sweep is not None
    now = identity(config)
    others = {arm.name for arm in arms(config.sweep) if any(key.startswith(("task", "model")) for key in arm.values)}
    for entry in ledger.records:
        if entry.arm in others or (entry.task, entry.model) != (config.task.name, config.model.name):
            continue  # the task or the model is what is compared
        changed = [key for key in now if entry.hardware.get(key, now[key]) != now[key]]
        if changed:
            raise ConfigError(
                f"study={config.study}: begun on other inputs; give it another name, or set back:",
                *(f"  {key}: was {entry.hardware[key]}, is {now[key]}" for key in changed),
            )


def _open_optuna(ledger: Ledger, objective: str) -> optuna.Study:
    """Optuna's journal of this study, its torn tail cut, and every trial that was left running settled."""
    path = ledger.folder / _JOURNAL
    cut_torn_tail(path)
    backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
    study = optuna.create_study(
        storage=JournalStorage(backend),
        study_name=ledger.folder.name,
        direction="minimize" if objective == "loss" else "maximize",
        load_if_exists=True,
    )
    records = {entry.trial: entry for entry in ledger.records}
    while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.tell(study.ask(), state=TrialState.FAIL)  # entered, and killed before it began
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        entry = records.get(trial.user_attrs.get("trial", -1))
        if entry is not None:
            _tell(study, trial.number, entry, objective)
        else:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    return study


def cut_torn_tail(path: Path) -> None:
    """A process killed while it wrote leaves half a line; one more line after it makes the journal unreadable."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        with open(path, "rb+") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _ask(study: optuna.Study, slot: Slot, point: Point, all_arms: list[Arm]) -> optuna.Trial:
    """Enter a proposed trial into Optuna's study, parameters and all."""
    names = CategoricalDistribution([arm.name for arm in all_arms])
    study.enqueue_trial({"arm": slot.arm.name} | point, user_attrs={"trial": slot.number, "arm": slot.arm.name})
    return study.ask({"arm": names} | distributions(slot.arm))


def _tell(study: optuna.Study, trial: optuna.Trial | int, entry: Record, objective: str) -> None:
    if entry.state == "complete":
        study.tell(trial, entry.scores["val"][objective], skip_if_finished=True)
    else:
        state = TrialState.PRUNED if entry.state == "pruned" else TrialState.FAIL
        study.tell(trial, state=state, skip_if_finished=True)


def _below_median(study: optuna.Study, trial: optuna.Trial, arm: str, step: int, after: int) -> bool:
    """Whether the trial's best so far is worse than the median of the best so far of its own arm's other trials.

    Only trials that reached this step are compared, and only once `after` of them have.
    """
    sign = -1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else 1.0

    def best(values: Mapping[int, float]) -> float:
        return max(sign * value for at, value in values.items() if at <= step)

    others = [
        other.intermediate_values
        for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if other.user_attrs.get("arm") == arm and step in other.intermediate_values
    ]
    if len(others) < after:
        return False
    ranked = sorted(best(values) for values in others)
    middle = len(ranked) // 2
    median = ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2
    mine = study.get_trials(deepcopy=False)[trial.number].intermediate_values
    return best(mine) < median
