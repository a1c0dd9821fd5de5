"""Checkpoints of a trial: it is put down between two steps and taken up again there, bit for bit on a CPU.

A checkpoint is staged beside its place, synced and moved there; its digest lies beside it, the trial's fingerprint
inside. One that is torn, altered or another trial's is passed over for the one before it, or for the start.
"""

import logging
import os
import random
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from harness import faults
from harness.assets import sha256_of
from harness.lines import sync_folder
from harness.training.callbacks import trained
from harness.training.interrupt import raise_if_asked, reclaim, stop_is_asked

log = logging.getLogger(__name__)

EVERY_S = 60.0  # a process that is killed loses no more than this; a shorter trial is put down only when asked
_KEPT = 2


class Keeper(L.Callback):
    """Puts a trial down when a stop is asked for, and every minute; takes it up where it was put down.

    It comes first of all callbacks, so that what they do before a step is still to come at the point it keeps.
    With several devices it only ends the trial.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.batches: Any = None  # of the training loader, which needs the trainer
        self.resumed_at = 0
        self._state: dict[str, Any] = {}
        self._random: dict[str, Any] | None = None
        self._last = time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Weights and the position in the data, before the loader begins."""
        if trainer.world_size > 1:
            return
        self._state = load(self.folder, self.fingerprint)
        if not self._state:
            return
        self.resumed_at = self._state["step"]
        _put_back(trained(module), self._state["weights"])
        trainer.fit_loop.load_state_dict(self._state["loops"])
        self.batches.resume_at(self._state["batches"])

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """What exists only now: optimiser, schedule, what the other callbacks remember."""
        reclaim()  # Lightning's answer to SIGTERM would end the trial before it is put down
        state, self._state = self._state, {}
        if not state:
            return
        trainer.optimizers[0].load_state_dict(state["optimizer"])
        trainer.lr_scheduler_configs[0].scheduler.load_state_dict(state["schedule"])
        trainer.precision_plugin.load_state_dict(state["precision"])
        self._remind(trainer, state)
        trainer.should_stop = state["ended"]
        self._random = state["random"]
        log.info("trial goes on from step %d", self.resumed_at)

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Between two steps."""
        if self._random is not None:
            _set_random_state(self._random)
            self._random = None
        faults.point("in_training")
        if stop_is_asked() or time.monotonic() - self._last > EVERY_S:
            self._save(trainer, module, ended=False)
        raise_if_asked()

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The evaluation that follows may take long, too."""
        if stop_is_asked() or time.monotonic() - self._last > EVERY_S:
            self._save(trainer, module, ended=True)
        raise_if_asked()

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """After the last step there is nothing to train, and no other hook is called."""
        state, self._state = self._state, {}
        if state:
            self._remind(trainer, state)

    def _remind(self, trainer: L.Trainer, state: dict[str, Any]) -> None:
        for callback in self._others(trainer):
            callback.load_state_dict(state["callbacks"].get(type(callback).__name__, {}))

    def _others(self, trainer: L.Trainer) -> list[L.Callback]:
        return [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]

    def _save(self, trainer: L.Trainer, module: L.LightningModule, ended: bool) -> None:
        if trainer.world_size > 1:
            return
        loops = _between_batches(trainer.fit_loop.state_dict())
        state = {
            "fingerprint": self.fingerprint,
            "step": trainer.global_step,
            "ended": ended,
            "batches": loops["epoch_loop.batch_progress"]["total"]["completed"],
            "loops": loops,
            "weights": {name: tensor.detach().cpu() for name, tensor in trained(module)},
            "optimizer": trainer.optimizers[0].state_dict(),
            "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "precision": trainer.precision_plugin.state_dict(),
            "callbacks": {type(callback).__name__: callback.state_dict() for callback in self._others(trainer)},
            "random": _random_state(),
        }
        save(self.folder, state)
        self._last = time.monotonic()


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; when this returns it is on the disk, and of earlier ones the last is kept."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{state['step']:08d}.pt"
    staged = folder / f".{path.name}"
    with open(staged, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    faults.point("in_checkpoint")
    path.with_suffix(".sha256").write_text(sha256_of(staged))
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
        if state["fingerprint"] == fingerprint:
            return state
        log.warning("%s is another trial's (%s): it is passed over", path, state["fingerprint"])
    return {}


def _put_back(tensors: Any, kept: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in tensors:
            tensor.copy_(kept[name])


def _between_batches(loops: dict[str, Any]) -> dict[str, Any]:
    """Lightning's counters as they stand between two batches; it is asked when the next one was already fetched."""
    progress = loops["epoch_loop.batch_progress"]
    for count in (progress["total"], progress["current"]):
        count["ready"] = count["started"] = count["processed"] = count["completed"]
    progress["is_last_batch"] = False
    return loops


def _random_state() -> dict[str, Any]:
    """Of the generators that training draws from; numpy's global one is none of them."""
    return {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
