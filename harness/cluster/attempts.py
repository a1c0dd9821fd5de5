"""The folders of a trial's attempts: each has its own until it is recorded, for who was taken for dead may still write.

A result is kept there before the study's lock is asked for: whatever then becomes of the worker, its database or the
log, the next attempt finds it and trains nothing.
"""

import shutil
from pathlib import Path
from typing import Any

from harness import record
from harness.cluster.assignments import Assignment
from harness.record import Record
from harness.system.jsonl import JsonlLog, sync_folder, sync_tree
from harness.trial import CHECKPOINTS

_RESULT = "record.json"


def attempt_folder(study: Path, claim: Assignment, fingerprint: str) -> tuple[Path, Record | None]:
    """The folder of an attempt, with the result of an earlier one that was not recorded, or with its checkpoints."""
    final, here = _folder(study, claim.trial), _folder(study, claim.trial, claim.attempt)
    shutil.rmtree(here, ignore_errors=True)
    earlier = [_folder(study, claim.trial, attempt) for attempt in reversed(range(1, claim.attempt))]
    for left in (*earlier, final):  # a worker may have vanished between a folder's last name and the record
        if kept := _result(left, fingerprint):
            left.rename(here)
            return here, kept
    here.mkdir(parents=True)
    for left in earlier:
        if (left / CHECKPOINTS).is_dir():
            (left / CHECKPOINTS).rename(here / CHECKPOINTS)
            break
    return here, None


def keep_result(folder: Path, entry: Record) -> None:
    """Put a trial's record beside its files. When this returns, they all are on the disk."""
    sync_tree(folder)
    JsonlLog(folder / _RESULT).append(record.to_json(entry))


def has_result(study: Path, trial: int, fingerprint: str) -> bool:
    """Whether an attempt at a trial left a result."""
    folders = (_folder(study, trial), *(study / "trials").glob(f"{trial:04d}-*"))
    return any(_result(folder, fingerprint) for folder in folders)


def publish(study: Path, claim: Assignment) -> None:
    """Give the folder of the attempt that is recorded the trial's own name. A trial that was looked up has none."""
    here, final = _folder(study, claim.trial, claim.attempt), _folder(study, claim.trial)
    if here.is_dir():
        shutil.rmtree(final, ignore_errors=True)
        here.rename(final)
        sync_folder(final.parent)


def published(entry: Record) -> dict[str, Any]:
    """Where the adapter will be."""
    return entry.adapter | {"path": f"trials/{entry.trial:04d}/adapter"} if entry.adapter else {}


def forget_attempts(study: Path, trial: int) -> None:
    """Remove what attempts at a recorded trial left."""
    for path in (study / "trials").glob(f"{trial:04d}-*"):
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(_folder(study, trial) / CHECKPOINTS, ignore_errors=True)


def _result(folder: Path, fingerprint: str) -> Record | None:
    """The result that an attempt left, if it is whole, of this configuration, and none to be tried again."""
    for fields in JsonlLog(folder / _RESULT).new():
        entry = Record(**fields)
        if entry.fingerprint == fingerprint and record.is_final(entry):
            return entry
    return None


def _folder(study: Path, trial: int, attempt: int | None = None) -> Path:
    return study / "trials" / (f"{trial:04d}" if attempt is None else f"{trial:04d}-{attempt}")
