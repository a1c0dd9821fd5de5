"""Checks before any file is written, and stand-ins for data that cannot be reached."""

import logging
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.job import compose
from harness.config import Config, ConfigError
from harness.config.extras import check_extras
from harness.config.processes import trains_remotely
from harness.config.tasks.base import ORDER_MEASURES
from harness.system import assets
from harness.system.paths import listed
from harness.system.study_files import CONFIG

if TYPE_CHECKING:
    from harness.task import Task

log = logging.getLogger(__name__)


def check_installed(config: Config) -> None:
    """Say which optional packages are missing, before anything that needs them is imported."""
    from harness.cluster.database import storage_address

    check_extras(config, storage_address())


def check_runnable(config: Config) -> None:
    """Say what cannot run before anything is fetched or made: packages, device, variant, data of the user's own."""
    check_installed(config)
    if not trains_remotely(config):
        from harness.devices import resolve_device, resolve_precision

        device = resolve_device(config.trainer.accelerator, config.trainer.devices)
        if config.trainer.precision != "fastest":  # which is one that the device has
            resolve_precision(config.trainer.precision, device, config.model.base_dtype)
    from harness.trial.adapt import method_of

    method_of(config).check()
    from harness.trial.guests import check_guests
    from harness.trial.tracking import resolve_mode

    check_guests(config)
    resolve_mode(config.tracking.mode)
    from harness.trial.base_checks import check_base
    from harness.trial.optimizers import check_optimizer

    check_optimizer(config)

    check_base(config)
    if config.task.read_early:
        from harness.task import build_task

        if mistakes := unmeasured(config, build_task(config.task)):
            raise ConfigError(*mistakes)


def unmeasured(config: Config, task: "Task") -> list[str]:
    """Return an error for each ranking measure that cannot be computed: a held-out split has no row of a class."""
    asked = [name for name in (config.trainer.objective, *config.trainer.measures) if name in ORDER_MEASURES]
    missing = {split: names for split, names in task.findings().missing.items() if split != "train" and names}
    return [
        f"trainer.objective={name}: {split} has no row of {listed(classes)}, and {name} is the mean over all classes; "
        "balanced_accuracy is over those that there are"
        for name, (split, classes) in product(asked, missing.items())
    ]


def check_study(config: Config) -> None:
    """Check a study as `check_runnable` does, and its storage, its launcher and every arm."""
    check_runnable(config)
    from harness.cluster.launchers.registry import check_launch
    from harness.cluster.study import check_arms

    check_launch(config)
    check_arms(config)


def refuse_study_folder(results: str, study: str) -> None:
    """Raise ConfigError where the folder of single trials is a study's."""
    if (Path(results) / study / CONFIG).exists():
        raise ConfigError(f"study={study}: that is a study; give single trials a name of their own")


def with_data(config: Config, words: Sequence[str]) -> Config:
    """The configuration, with the stand-in under its own name where the data set cannot be reached."""
    stand_in = config.task.fallback
    if stand_in is None:
        return config
    from harness.task import build_task

    try:
        build_task(config.task)
        return config
    except assets.Unreachable as error:
        log.warning(
            "WARNING: %s cannot be reached (%s).\n"
            "WARNING: training on %s instead; results carry that name. task.data=FOLDER gives a local copy.",
            config.task.name,
            error,
            stand_in,
        )
    return compose([*_kept(words, config.task.name), f"task={stand_in}"])


def _kept(words: Sequence[str], task: str) -> list[str]:
    """The words without what was said of the data set; how much of it to read and how to split it stays."""
    keys = ("max_length", "split_seed", "image_size", "train_rows", "validation_rows", "test_rows")
    still_true = tuple(f"task.{key}=" for key in keys)
    kept = []
    for word in words:
        bare = word.lstrip("+~")
        if not bare.startswith(("task=", "task.")) or bare.startswith(still_true):
            kept.append(word)
        elif bare.startswith("task."):
            log.warning("WARNING: %s was said of %s; it is not taken over.", word, task)
    return kept
