"""Checkpoints of a trial on the disk, and the state of what it draws from.

A checkpoint is staged beside its place, synced and moved there; its digest lies beside it, the trial's fingerprint
inside. One that is torn, altered or another trial's is passed over for the one before it, or for the start.
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

EVERY_S = 60.0  # a process that is killed loses no more than this; a shorter trial is put down only when asked
_EVALUATES_S = 10.0  # the same before a step that an evaluation follows, in which no trial can be put down
_KEPT = 2
_FORM = 1  # of what a checkpoint holds; one of another form was written by another version


class Checkpoints:
    """Those of one trial, and the time since the last of them."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._last = time.monotonic()

    def due(self, evaluates: bool) -> bool:
        """Whether the last one is so old that a kill would lose too much, in this step or an evaluation after it."""
        return time.monotonic() - self._last > (min(_EVALUATES_S, EVERY_S) if evaluates else EVERY_S)

    def save(self, state: dict[str, Any]) -> None:
        """As `save`."""
        save(self.folder, {"fingerprint": self.fingerprint} | state)
        self._last = time.monotonic()

    def load(self) -> dict[str, Any]:
        """As `load`."""
        return load(self.folder, self.fingerprint)


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; when this returns it is on the disk, and of earlier ones the last is kept.

    It has the number of its step, or the next free one: where another has that number it is never written over, since
    between file and digest there would be a moment without either.
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
    """The newest checkpoint of this trial that is whole; empty where there is none."""
    for path in sorted(folder.glob("*.pt"), reverse=True):
        digest = path.with_suffix(".sha256")
        if not digest.exists() or digest.read_text() != sha256_of(path):
            log.warning("%s is damaged: it is passed over", path)
            continue
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("form") != _FORM:
            log.warning("%s was written by another version: it is passed over", path)
        elif state["fingerprint"] != fingerprint:
            log.warning("%s is another trial's (%s): it is passed over", path, state["fingerprint"])
        else:
            return state
    return {}


def packed(state: Any) -> bytes:
    """A state as one process sends it to another."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def unpacked(content: bytes) -> Any:
    """What `packed` made."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def random_state() -> dict[str, Any]:
    """Of the generators that training draws from; numpy's global one is none of them."""
    return {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Draw on from there."""
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
