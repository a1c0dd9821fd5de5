"""The launchers by the name that `launch` gives them in the configuration."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from harness.cluster.database import check_workers
from harness.cluster.launchers import here, local, slurm
from harness.config import Config


@dataclasses.dataclass(frozen=True)
class Launcher:
    """`check` raises ConfigError for what cannot be launched; `settle` gives a number to workers that are asked for by
    `auto`; `run` returns when every trial has a record.

    `run` raises Interrupted when a stop was requested: workers of this machine are stopped first, SLURM's continue.
    """

    check: Callable[[Config], None]
    run: Callable[[Config, Path], None]
    settle: Callable[[Config], Config] = lambda config: config


LAUNCHERS = {
    "here": Launcher(here.check, here.run),
    "local": Launcher(local.check, local.run, local.settle),
    "slurm": Launcher(slurm.check, slurm.run),
}


def check_launch(config: Config) -> None:
    """Refuse what cannot be launched before anything is created. Raises ConfigError."""
    check_workers(config.launch.worker_count)
    launcher_of(config).check(config)


def launcher_of(config: Config) -> Launcher:
    """The launcher that `config.launch` names."""
    return LAUNCHERS[config.launch.name]
