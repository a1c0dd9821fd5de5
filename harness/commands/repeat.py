"""run=repeat: a recorded trial trained again as it was, and what differs."""

import dataclasses
import itertools
from pathlib import Path

from harness import record
from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.failures import leave
from harness.commands.job import HydraJob
from harness.config import Config, ConfigError, check, read_stored
from harness.record import Record, environment_changes, trial_path
from harness.system.study_files import CONFIG

REPEATS = "repeats"
"""The folder in a study that holds its repeated trials, none of the study's own: a folder for each repetition, with
its record, and its trial under the number that it repeats.
"""


def run(job: HydraJob) -> None:
    """Train the trial again and print each score beside the one recorded; exits with 70 where it fails.

    Raises ConfigError where there is no such trial, or none that can be repeated.
    """
    refuse_several_processes("repeat")
    folder = Path(job.config.results) / job.config.study
    before = _recorded(folder, job.config)
    config = _as_it_was(folder, before, job.config)
    check_installed(config)
    from harness.system.signals import graceful_stop
    from harness.trial import TrialContext
    from harness.trial.run import run_trial

    place = _free_place(folder / REPEATS, before.trial)
    here = place / trial_path(before.trial)
    here.mkdir(parents=True)
    tested = "test" in before.scores
    context = TrialContext(before.study, before.trial, before.arm, here, before.point, before.phase, tested)
    with graceful_stop():
        after = run_trial(config, context, lambda step, scores: False)
    record.append(place, after)
    print("\n".join(differences(before, after)))
    if after.state == "fail":
        leave(70, f"trial {before.trial}, trained again, failed: {after.reason}")


def differences(before: Record, after: Record) -> list[str]:
    """A line for each score of a trial and of its repetition, and one for what of the environment differs."""
    lines = [f"trial {before.trial} ({before.arm}), trained again: {after.state}"]
    for split, scores in before.scores.items():
        for name, was in scores.items():
            now = after.scores.get(split, {}).get(name)
            change = "not reached" if now is None else "equal" if now == was else f"{now - was:+.6g}"
            lines.append(f"  {split} {name}: {was:.6g}, again {'–' if now is None else f'{now:.6g}'}: {change}")
    if before.fingerprint != after.fingerprint:
        lines.append(f"  fingerprint: was {before.fingerprint}, is {after.fingerprint}: data, weights or device differ")
    then = before.provenance.environment
    moved = ", ".join(environment_changes(then, after.provenance.environment))
    said = moved or "the same" if then else "not recorded then"
    return [*lines, f"  environment: {said}"]


def _recorded(folder: Path, asked: Config) -> Record:
    entries = {entry.trial: entry for entry in record.read(folder)}
    if not entries:
        raise ConfigError(f"study={asked.study}: no records in {folder}")
    if asked.trial not in entries:
        valid = ", ".join(map(str, sorted(entries)))
        raise ConfigError(f"trial={asked.trial}: study={asked.study} has no record of it; valid: {valid}")
    entry = entries[asked.trial]
    if entry.state != "complete":
        raise ConfigError(f"trial={asked.trial}: {entry.state}, {entry.reason}; a complete trial can be compared")
    return entry


def _as_it_was(folder: Path, before: Record, asked: Config) -> Config:
    """The trial's own configuration, with as many threads as it had, and without tracking."""
    path = folder / trial_path(before.trial) / CONFIG
    if not path.exists():
        raise ConfigError(
            f"trial={before.trial}: {path} is not there; its result was looked up, repeat the other trial"
        )
    config = check(read_stored(path))
    if config.trainer.devices > 1:
        raise ConfigError(
            f"trial={before.trial}: trained with trainer.devices={config.trainer.devices}; run=repeat takes one device"
        )
    threads = before.provenance.hardware.get("threads") if config.trainer.threads is None else config.trainer.threads
    trainer = dataclasses.replace(config.trainer, threads=threads)
    tracking = dataclasses.replace(config.tracking, mode="off")
    return dataclasses.replace(config, trainer=trainer, tracking=tracking, results=asked.results, study=asked.study)


def _free_place(repeats: Path, trial: int) -> Path:
    for count in itertools.count(1):
        place = repeats / f"{trial:04d}-{count}"
        if not place.exists():
            place.mkdir(parents=True)
            return place
    raise AssertionError
