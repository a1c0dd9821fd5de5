"""Finds trained tensors that never get a gradient other than zero: they cost memory and learn nothing."""

from typing import Any

import torch

from harness.training.distributed import all_reduce_max_each
from harness.training.loop import Callback, Trainer
from harness.training.sharding import to_local


class UnusedParameterCheck(Callback):
    """Collects the names of trained tensors without a gradient so far.

    Whether a gradient has anything in it stays on the device, and is read every few steps: to read waits for it.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self._trained: dict[str, torch.nn.Parameter] = {}
        self._waiting: dict[str, torch.nn.Parameter] | None = None
        self._found: dict[str, torch.Tensor] = {}  # by name, of those that wait: whether a gradient was not zero

    def begin(self, trainer: Trainer) -> None:
        self._trained = {name: tensor for name, tensor in trainer.module.named_parameters() if tensor.requires_grad}

    def after_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        """Only tensors that got no gradient so far are checked."""
        if self._waiting is None:
            self._waiting = dict(self._trained)
        for name, tensor in self._waiting.items():
            if tensor.grad is not None:
                found = to_local(tensor.grad).any()
                self._found[name] = found | self._found[name] if name in self._found else found
        if trainer.step % self.every == 0:
            self._read()

    def _read(self) -> None:
        used = torch.stack(list(self._found.values())).tolist() if self._found else []
        for name, seen in zip(self._found, used, strict=True):
            if seen and self._waiting is not None:
                del self._waiting[name]
        self._found = {}

    def end(self, trainer: Trainer) -> None:
        """A sharded tensor is used if any shard of it is."""
        self.load_state_dict(self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """The tensors that got no gradient on any device; every process must call this."""
        return {} if self._waiting is None else {"waiting": self._unused_everywhere()}

    def _unused_everywhere(self) -> list[str]:
        self._read()
        used = all_reduce_max_each([int(name not in (self._waiting or {})) for name in self._trained])
        return [name for name, seen in zip(self._trained, used, strict=True) if not seen]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict:
            self._waiting = {name: self._trained[name] for name in state_dict["waiting"]}

    @property
    def unused(self) -> list[str]:
        """Names inside the model, in its order."""
        self._read()  # training may have ended in the middle
        return [name.removeprefix("model.") for name in self._waiting or {}]
