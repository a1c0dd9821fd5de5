"""A study: begun once, checked, opened again; and the configuration of each of its trials."""

import dataclasses
import logging
from contextlib import closing
from pathlib import Path
from typing import Any

from harness import record
from harness.cluster.assignments import AssignmentLog, repair_logs
from harness.cluster.history import read_history, seal_history
from harness.cluster.optuna_storage import create_tables
from harness.cluster.restart import restarted_itself
from harness.cluster.storage import check_storage, forget_unused_storage, open_locks
from harness.cluster.study_folder import study_folder, write_command
from harness.cluster.undo import left_as_found
from harness.config import Config, ConfigError, ConfirmConfig, apply_overrides, check, read_stored, to_dict, to_yaml
from harness.config.arm_checks import ArmMistakes, check_objective, corners
from harness.config.arms import Arm, Point, arm_of, arms
from harness.config.layer_ranks import PREFIX, overrides
from harness.config.preflight import check_same_config
from harness.config.processes import trains_remotely
from harness.config.searched_ranks import SHAPELESS
from harness.record import Log, is_final
from harness.search.confirmation import fresh_order, fresh_seeds
from harness.search.history import History
from harness.search.proposals import startup_point
from harness.system.jsonl import replace_text
from harness.system.study_files import CONFIG
from harness.trial.adapt import count
from harness.trial.fingerprints import identity

logger = logging.getLogger(__name__)


def begin_study(config: Config) -> Path:
    """Create the folder of a study, or open it again; trials that ended in an unforeseen error are reopened.

    Once a trial that confirms was assigned, those of the search stay as they ended: another best trial of an arm would
    be another point than the one that is confirmed.
    Raises ConfigError before anything is trained if the study was begun with another configuration, other data or in
    another storage, and where the storage cannot be opened; nothing is left of a study that could not be begun.
    """
    folder = study_folder(config.results, config.study)
    check_storage()
    history = read_history(config)
    with left_as_found(folder):
        _begin(config, folder, history)
    return folder


def _begin(config: Config, folder: Path, history: History | None) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        forget_unused_storage(folder)
        locks = open_locks(folder)
    except OSError as error:
        raise ConfigError(f"results={config.results}: {error.strerror or error}") from None
    with closing(locks), locks.study_lock():
        create_tables()
        repair_logs(folder)
        log, assignments = Log(folder), AssignmentLog(folder)
        log.refresh()
        assignments.refresh()
        check_same_config(folder, to_dict(config))
        check_same_inputs(config, folder)
        if confirming := _confirming(log, assignments):
            _refuse_other_search(config, folder)
        seal_history(history, config, folder, locks)  # first: with a configuration workers take the study for begun
        replace_text(folder / CONFIG, to_yaml(to_dict(config)))
        write_command(folder)
        for entry in () if restarted_itself(config.study) else log.records:
            settled = confirming and entry.phase == "search"
            if not is_final(entry) and not settled and assignments.done(entry.trial, log):
                assignments.reopen(entry.trial)


def _confirming(log: Log, assignments: AssignmentLog) -> bool:
    return assignments.confirming or any(entry.phase == "confirm" for entry in log.records)


def with_kept_confirmation(config: Config) -> Config:
    """The same study, confirmed as it has been so far where a trial that confirms was begun.

    The words that began a study would take back what run=confirm has said of seeds and margin since.
    """
    assert config.sweep is not None
    folder, own = study_folder(config.results, config.study), config.sweep.confirm
    log, assignments = Log(folder), AssignmentLog(folder)
    log.refresh()
    assignments.refresh()
    if not (folder / CONFIG).exists() or not _confirming(log, assignments):
        return config
    stored = read_stored(folder / CONFIG)["sweep"]["confirm"]
    kept = ConfirmConfig(**stored) if stored else own
    if kept is not None and own is not None:
        kept = dataclasses.replace(kept, set=own.set)
    if kept is None or kept == own:
        return config
    logger.info(
        "study %s stays confirmed: the best %d arms, %d seeds, a margin of %g; run=confirm changes them",
        *(config.study, kept.top, kept.seeds, kept.margin),
    )
    return dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, confirm=kept))


def _refuse_other_search(config: Config, folder: Path) -> None:
    """Raise ConfigError where trials would be confirmed that differ from those that already are.

    More trials of the search could change the points that are trained with fresh seeds.
    """
    assert config.sweep is not None
    before = read_stored(folder / CONFIG)["sweep"]
    back = "set it back, or give the study another name"
    for key, trials in (("trials", config.sweep.trials), ("baseline_trials", config.sweep.baseline_trials)):
        if before.get(key) != trials:
            raise ConfigError(
                f"sweep.{key}={trials}: study={config.study} was confirmed after {before.get(key)} trials "
                f"an arm; {back}"
            )
    if not before["confirm"] or not config.sweep.confirm:
        return
    was, now = ConfirmConfig(**before["confirm"]), config.sweep.confirm
    for key, then, asked in (("set", was.set, now.set), ("orders", was.orders, now.orders)):
        if then != asked:
            raise ConfigError(f"sweep.confirm.{key}={asked}: study={config.study} was confirmed with {then}; {back}")


def trial_config(tree: dict[str, Any], arm: Arm, point: Point, seed: int | None = None) -> Config:
    """The configuration of one trial: the study's, overridden by the arm's values and then by the nuisance values.

    With a `seed` it is of a trial that confirms, and has what those have otherwise.
    """
    made = apply_overrides(tree, arm.values)
    if seed is not None:
        confirm = tree["sweep"]["confirm"]
        made = apply_overrides(made, confirm["set"]) | {"seed": seed}
        if confirm["orders"]:
            task = made["task"]
            order = fresh_order(task["order"] or list(task["tasks"]), seed, tree["seed"])
            made = apply_overrides(made, {"task.order": order})
    return check(apply_overrides(made, overrides(arm.ranks, point)) | {"run": "trial", "sweep": None})


def check_arms(config: Config) -> None:
    """Compose, check and build every arm on the meta device; raises ConfigError with all that cannot run."""
    assert config.sweep is not None
    tree, all_arms = to_dict(config), arms(config.sweep)
    names = [arm.name for arm in all_arms]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"sweep: two arms are called {', '.join(sorted(doubles))}")
    mistakes = ArmMistakes()
    for arm in all_arms:
        for index, point in enumerate(_points(arm, config)):
            try:
                trial = trial_config(tree, arm, point)
                check_objective(config, trial)
                if index in _counted_points(arm) or not all(key.startswith(_SHAPELESS) for key in arm.nuisance):
                    count(trial)
                if index == 0 and config.sweep.confirm is not None:
                    check_objective(config, trial_config(tree, arm, point, fresh_seeds(config.seed, 1)[0]))
            except ConfigError as error:
                mistakes.add(arm.name, arm.nuisance, error)
    mistakes.raise_if_any()


def _counted_points(arm: Arm) -> tuple[int, ...]:
    """The corners that are counted: where ranks by group are searched, all at their lowest and all at their highest."""
    return (0, 1) if arm.ranks is not None else (0,)


_SHAPELESS = (*SHAPELESS, PREFIX)
"""Of an arm that has no other dimensions one count says all."""
_DRAWN = 64  # points of an arm that are drawn to be checked, at most


def _points(arm: Arm, config: Config) -> list[Point]:
    """Return the points at which an arm is checked: the corners of its ranges, and the points of its first trials."""
    assert config.sweep is not None
    first = min(config.sweep.startup, config.sweep.trials, _DRAWN)
    drawn = (startup_point(arm, index, config.seed) for index in range(first))
    return [*corners(arm.nuisance), *drawn] if arm.nuisance else [{}]


def input_identity(config: Config) -> dict[str, str]:
    """The identity of the study's trials, as far as this machine knows it: its device need not be the workers'."""
    if not trains_remotely(config):
        return identity(config)
    trainer = dataclasses.replace(config.trainer, accelerator="cpu", devices=1)
    found = identity(dataclasses.replace(config, trainer=trainer))
    return {key: value for key, value in found.items() if key not in ("device", "precision")}


def check_same_inputs(config: Config, folder: Path) -> None:
    """Refuse to continue where data, weights or device differ from the records so far: such trials do not compare."""
    assert config.sweep is not None
    now = input_identity(config)
    all_arms = arms(config.sweep)

    def differs(name: str) -> bool:
        arm = arm_of(all_arms, name)
        return arm is not None and any(key.startswith(("task", "model")) for key in (*arm.values, *arm.nuisance))

    for entry in record.read(folder):
        if differs(entry.arm) or (entry.task, entry.model) != (config.task.name, config.model.name):
            continue  # the task or the model is what is compared
        if entry.phase == "confirm":
            continue  # it may have an order of the tasks of its own; the search that it follows is asked
        changed = [key for key in now if entry.provenance.inputs.get(key, now[key]) != now[key]]
        if changed:
            raise ConfigError(
                f"study={config.study}: begun on other inputs; give it another name, or set back:",
                *(f"  {key}: was {entry.provenance.inputs[key]}, is {now[key]}" for key in changed),
            )
