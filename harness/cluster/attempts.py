"""The folders of a trial's attempts. Each attempt has its own until it is recorded: a worker that was taken for dead
may still write.

A result is stored there before the study's lock is acquired: whatever then happens to the worker, its database or the
log, the next attempt finds the result and trains nothing.
"""

import shutil
from pathlib import Path

from harness import record
from harness.cluster.assignments import Assignment
from harness.record import Record, trial_path
from harness.system.jsonl import JsonlLog, sync_folder, sync_tree
from harness.trial import CHECKPOINTS

_RESULT = "record.json"


def attempt_folder(study: Path, assignment: Assignment, fingerprint: str) -> tuple[Path, Record | None]:
    """The folder of an attempt, with an earlier attempt's result that was not recorded, or with its checkpoints."""
    final, current = _folder(study, assignment.trial), _folder(study, assignment.trial, assignment.attempt)
    shutil.rmtree(current, ignore_errors=True)
    earlier = [_folder(study, assignment.trial, attempt) for attempt in reversed(range(1, assignment.attempt))]
    for left in (*earlier, final):  # a worker may have vanished after `publish` and before the record
        if result := _result(left, fingerprint):
            left.rename(current)
            return current, result
    current.mkdir(parents=True)
    for left in (*earlier, final):  # a single trial of an earlier version had its own name from the start
        if (left / CHECKPOINTS).is_dir():
            (left / CHECKPOINTS).rename(current / CHECKPOINTS)
            break
    return current, None


def keep_result(folder: Path, entry: Record) -> None:
    """Write a trial's record beside its files. When this returns, all of them are on the disk."""
    sync_tree(folder)
    JsonlLog(folder / _RESULT).append(record.to_json(entry))


def has_result(study: Path, trial: int, fingerprint: str) -> bool:
    """Return whether an attempt at a trial left a result."""
    folders = (_folder(study, trial), *study.glob(f"{trial_path(trial)}-*"))
    return any(_result(folder, fingerprint) for folder in folders)


def publish(study: Path, assignment: Assignment) -> None:
    """Rename the folder of the recorded attempt to the trial's own name; a trial that was looked up has no folder."""
    current, final = _folder(study, assignment.trial, assignment.attempt), _folder(study, assignment.trial)
    if current.is_dir():
        shutil.rmtree(final, ignore_errors=True)
        current.rename(final)
        sync_folder(final.parent)


def forget_attempts(study: Path, trial: int) -> None:
    """Remove what attempts at a recorded trial left."""
    for path in study.glob(f"{trial_path(trial)}-*"):
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(_folder(study, trial) / CHECKPOINTS, ignore_errors=True)


def _result(folder: Path, fingerprint: str) -> Record | None:
    """The result that an attempt left, if it is complete, of this configuration, and not to be tried again."""
    for fields in JsonlLog(folder / _RESULT).new():
        entry = record.from_tree(fields)
        if entry.fingerprint == fingerprint and record.is_final(entry):
            return entry
    return None


def _folder(study: Path, trial: int, attempt: int | None = None) -> Path:
    return study / (trial_path(trial) if attempt is None else f"{trial_path(trial)}-{attempt}")
