"""Checkpoints of a trial on the disk, and the state of its random generators.

A checkpoint is written to a temporary file, synced and renamed; its digest is in a file beside it, the trial's
fingerprint inside. A checkpoint that is torn, altered or another trial's is skipped for the one before it.
"""

import io
import logging
import os
import random
import time
from pathlib import Path
from typing import Any

import torch

from harness.system import fault_injection
from harness.system.assets import sha256_of
from harness.system.jsonl import sync_folder

log = logging.getLogger(__name__)

EVERY_S = 60.0  # a process that is killed loses no more; a shorter trial is saved only when a stop is requested
_EVALUATES_S = 10.0  # the same before a step that an evaluation follows, during which no trial can be saved
_KEPT = 2
_FORM = 1  # the version of a checkpoint's contents
# The names of an earlier version: the states of callbacks by their class, of which one was split, and other keys.
_FORMER_CALLBACKS = {
    "Watch": ("BestCheckpoint", "PruningCallback"),
    "Pulse": ("UnusedParameterCheck",),
    "Meters": ("ResourceMeter",),
    "Curve": ("MetricsCsvLogger",),
    "FallingBudget": ("RankScheduleCallback",),
    "NestedRanks": ("RankScheduleCallback",),
}
_FORMER_KEYS = {"sequence": "continual"}
_FORMER_PART, _PART = ".pairs.", ".updates."  # in the names of an adapted layer's tensors


class Checkpoints:
    """The checkpoints of one trial, and the time since the last one was saved."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._last = time.monotonic()

    def due(self, evaluates: bool) -> bool:
        """Return whether a kill would lose too much since the last one; `evaluates`: an evaluation comes next."""
        return time.monotonic() - self._last > (min(_EVALUATES_S, EVERY_S) if evaluates else EVERY_S)

    def save(self, state: dict[str, Any]) -> None:
        save(self.folder, {"fingerprint": self.fingerprint} | state)
        self._last = time.monotonic()

    def load(self) -> dict[str, Any]:
        return load(self.folder, self.fingerprint)


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, and remove all earlier ones but the last. When this returns, it is on the disk.

    It is named after its step, or after the next free number: an existing one is never overwritten, since file and
    digest cannot be replaced at once.
    """
    folder.mkdir(exist_ok=True)
    last = max((int(path.stem) for path in folder.glob("*.pt")), default=-1)
    path = folder / f"{max(state['step'], last + 1):08d}.pt"
    staged = path.with_suffix(".new")
    with open(staged, "wb") as file:
        torch.save({"form": _FORM} | state, file)
        file.flush()
        os.fsync(file.fileno())
    fault_injection.crash_point("in_checkpoint")
    with open(path.with_suffix(".sha256"), "w") as file:
        file.write(sha256_of(staged))
        file.flush()
        os.fsync(file.fileno())
    os.replace(staged, path)
    sync_folder(folder)
    for old in sorted(folder.glob("*.pt"))[:-_KEPT]:
        old.unlink()
        old.with_suffix(".sha256").unlink(missing_ok=True)


def load(folder: Path, fingerprint: str) -> dict[str, Any]:
    """The newest intact checkpoint of this trial; empty where there is none."""
    for path in sorted(folder.glob("*.pt"), reverse=True):
        digest = path.with_suffix(".sha256")
        if not digest.exists() or digest.read_text() != sha256_of(path):
            log.warning("%s is damaged: it is skipped", path)
            continue
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("form") != _FORM:
            log.warning("%s was written by another version: it is skipped", path)
        elif state["fingerprint"] != fingerprint:
            log.warning("%s is another trial's (%s): it is skipped", path, state["fingerprint"])
        else:
            return _renamed(state)
    return {}


def _renamed(state: dict[str, Any]) -> dict[str, Any]:
    """The state under the names of this version."""
    found = {_FORMER_KEYS.get(key, key): _with_new_parts(value) for key, value in state.items()}
    if "callbacks" in found:
        found["callbacks"] = {
            name: each
            for former, each in found["callbacks"].items()
            for name in _FORMER_CALLBACKS.get(former, (former,))
        }
    return found


def _with_new_parts(value: Any) -> Any:
    """A part of a state in which the tensors of updates have the names of this version."""
    if isinstance(value, str):
        return value.replace(_FORMER_PART, _PART)
    if isinstance(value, dict):
        return {_with_new_parts(key): _with_new_parts(each) for key, each in value.items()}
    return [_with_new_parts(each) for each in value] if isinstance(value, list) else value


def to_bytes(state: Any) -> bytes:
    """A state as one process sends it to another."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def from_bytes(content: bytes) -> Any:
    """The inverse of `to_bytes`."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def random_state() -> dict[str, Any]:
    """The state of the generators that training draws from, on this process's GPU; not of numpy's global one."""
    return {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the state of the generators."""
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    if (states := state["cuda"]) and torch.cuda.is_available():  # earlier versions saved that of each GPU
        torch.cuda.set_rng_state(states[min(torch.cuda.current_device(), len(states) - 1)])
