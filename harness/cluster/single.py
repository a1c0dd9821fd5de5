"""A single trial: a study of one arm and one trial, in a folder that collects single trials.

Each trial's configuration is in its own folder: the same command, given again, finds the trial it left unfinished.
"""

import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from harness.cluster.assignments import AssignmentLog, repair_logs
from harness.cluster.heartbeat import HeartbeatMonitor
from harness.cluster.locks.file import FileLocks
from harness.cluster.mirror import NoMirror
from harness.cluster.registration import registered
from harness.cluster.study_folder import study_folder
from harness.cluster.worker import Worker
from harness.config import Config, ConfigError, ExtraArmConfig, SweepConfig, check, fingerprint, read_stored
from harness.record import Log, Record
from harness.system.figures import figure
from harness.system.study_files import CONFIG
from harness.trial import CHECKPOINTS
from harness.trial.fingerprints import identity

log = logging.getLogger(__name__)


class TrialProgress:
    """The progress of a single trial: a log line for each evaluation."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def begin(self, number: int, arm: str, point: dict[str, Any]) -> None:
        self._started = time.perf_counter()

    def scores(self, number: int, step: int, scores: dict[str, float]) -> None:
        shown = ", ".join(f"{name} {figure(value)}" for name, value in scores.items() if "/" not in name)
        log.info("step %d, %.0f s: validation %s", step, time.perf_counter() - self._started, shown)

    def halt(self, number: int, step: int) -> None:
        return

    def end(self, entry: Record, done: int, total: int) -> None:
        return


@contextmanager
def join_single(config: Config) -> Iterator[Worker]:
    """Become the worker of one trial, in the folder of single trials of that name, which is created if needed.

    Raises ConfigError where the folder cannot be created, or where another process runs a trial in it.
    """
    folder = study_folder(config.results, config.study)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        locks = FileLocks(folder)
    except OSError as error:
        raise ConfigError(f"results={config.results}: {error.strerror or error}") from None
    with closing(locks):
        heartbeats = HeartbeatMonitor(folder, locks, config.launch.lease_s)

        def check_alone() -> None:
            if heartbeats.workers():
                raise ConfigError(
                    f"study={config.study}: another process is running it; wait for it, or give another name"
                )

        with registered(heartbeats, check_alone) as (name, heartbeat):
            with locks.study_lock():
                number = _open(folder, config)
            yield Worker(
                _as_study(config),
                folder,
                name,
                heartbeats=heartbeats,
                heartbeat=heartbeat,
                mirror=NoMirror(),
                first=number,
            )


def _as_study(config: Config) -> Config:
    arm: dict[str, ExtraArmConfig] = {config.lora.name: ExtraArmConfig(set={}, nuisance={})}
    sweep = SweepConfig(
        scientific={}, nuisance={}, baselines=arm, trials=1, startup=1, prune_after=None, test=True, confirm=None
    )
    return replace(config, sweep=sweep)


def _open(folder: Path, config: Config) -> int:
    """The number of the trial, reopened however often it was attempted: the user asks for it again."""
    repair_logs(folder)
    records, assignments = Log(folder), AssignmentLog(folder)
    records.refresh()
    assignments.refresh()
    number = _number(folder, config, {entry.trial for entry in records.records})
    if assignments.lost(number):
        assignments.reopen(number)
    return number


def _number(folder: Path, config: Config, recorded: set[int]) -> int:
    """The number of an unfinished trial of this configuration, else the first free one."""
    here, kept = identity(config), set()
    wanted = fingerprint(config, here)
    for path in sorted((folder / "trials").glob("[0-9]*")):
        number = int(path.name.partition("-")[0])
        if number not in recorded and _fingerprint_in(path, here) == wanted:
            return number
        if (path / CHECKPOINTS).exists():
            kept.add(number)  # of another configuration, which may be run again
    return next(number for number in itertools.count(max(recorded, default=-1) + 1) if number not in kept)


def _fingerprint_in(trial: Path, identity_here: dict[str, str]) -> str:
    """The fingerprint of the trial in a folder; empty where it has no valid configuration."""
    try:
        return fingerprint(check(read_stored(trial / CONFIG)), identity_here)
    except (OSError, ConfigError, yaml.YAMLError):
        return ""
