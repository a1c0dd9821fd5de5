"""A study is begun once, checked, and opened again: what it may be asked, and what a trial of it is."""

import dataclasses
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from harness import record
from harness.cluster.assignments import AssignmentLog, repair_logs
from harness.cluster.ledger import CONFIG
from harness.cluster.storage import open_locks
from harness.config import Config, ConfigError, apply_overrides, check, to_dict, to_yaml
from harness.config.preflight import check_same_config
from harness.config.processes import trains_remotely
from harness.record import Log, is_final
from harness.search.space import Arm, Point, arms
from harness.system.jsonl import replace_text
from harness.trial import identity
from harness.trial.adapt import count

REPLACED = "HARNESS_REPLACED"
"""Names the studies of a command that has replaced its own process: it is not a user who asks again."""


def begin_study(config: Config) -> Path:
    """Make the folder of a study, or open it again; trials that ended in an unforeseen error are tried again.

    Raises ConfigError before anything is trained if the study was begun with another configuration, other data or in
    another storage.
    """
    folder = study_folder(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        locks = open_locks(folder)
    except OSError as error:
        raise ConfigError(f"results={config.results}: {error.strerror or error}") from None
    with closing(locks), locks.mutex():
        repair_logs(folder)
        log, claims = Log(folder), AssignmentLog(folder)
        log.refresh()
        claims.refresh()
        _keep(folder, to_dict(config))
        check_same_inputs(config, folder)
        again = config.study not in os.environ.get(REPLACED, "").split()
        for entry in log.records if again else ():
            if not is_final(entry) and claims.done(entry.trial, log):
                claims.reopen(entry.trial)
    return folder


def load_study(results: str, study: str) -> Config:
    """The configuration of a study that was begun, from its own file. Raises ConfigError where there is none."""
    path = Path(results) / study / CONFIG
    if not path.exists():
        raise ConfigError(f"study={study}: no such study in {results}; begin it with run=study")
    tree = yaml.safe_load(path.read_text())
    return check(tree | {"results": results, "study": study})


def study_folder(config: Config) -> Path:
    """The folder of a study."""
    return (Path(config.results) / config.study).absolute()


def trial_config(tree: dict[str, Any], arm: Arm, point: Point) -> Config:
    """The configuration of one trial: the study's, with the arm's values and then the nuisance values laid over."""
    return check(apply_overrides(apply_overrides(tree, arm.values), point) | {"run": "trial", "sweep": None})


def check_study(config: Config) -> None:
    """Compose, check and build every arm on the meta device; raises ConfigError with all that cannot run."""
    assert config.sweep is not None
    tree, all_arms = to_dict(config), arms(config.sweep)
    names = [arm.name for arm in all_arms]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"sweep: two arms are called {', '.join(sorted(doubles))}")
    mistakes: dict[str, list[str]] = {}
    for arm in all_arms:
        try:
            count(trial_config(tree, arm, {key: bounds.low for key, bounds in arm.nuisance.items()}))
        except ConfigError as error:
            mistakes.setdefault(str(error), []).append(arm.name)
    if mistakes:
        raise ConfigError(*(f"arm {', '.join(names)}: {mistake}" for mistake, names in mistakes.items()))


def _keep(folder: Path, tree: dict[str, Any]) -> None:
    """Write the study's configuration, unless the study was begun with another question."""
    check_same_config(folder, tree)
    replace_text(folder / CONFIG, to_yaml(tree))


def input_identity(config: Config) -> dict[str, str]:
    """The identity of the study's trials, as far as this machine can tell it: its device need not be the workers'."""
    if not trains_remotely(config):
        return identity(config)
    trainer = dataclasses.replace(config.trainer, accelerator="cpu", devices=1)
    found = identity(dataclasses.replace(config, trainer=trainer))
    return {key: value for key, value in found.items() if key not in ("device", "precision")}


def check_same_inputs(config: Config, folder: Path) -> None:
    """Refuse to go on where data, weights or device are not those of the records so far: such trials do not compare."""
    assert config.sweep is not None
    now = input_identity(config)
    others = {arm.name for arm in arms(config.sweep) if any(key.startswith(("task", "model")) for key in arm.values)}
    for entry in record.read(folder):
        if entry.arm in others or (entry.task, entry.model) != (config.task.name, config.model.name):
            continue  # the task or the model is what is compared
        changed = [key for key in now if entry.hardware.get(key, now[key]) != now[key]]
        if changed:
            raise ConfigError(
                f"study={config.study}: begun on other inputs; give it another name, or set back:",
                *(f"  {key}: was {entry.hardware[key]}, is {now[key]}" for key in changed),
            )
