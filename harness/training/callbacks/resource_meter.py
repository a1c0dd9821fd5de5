"""Measures the time of steps and the memory of a trial."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from harness.record import Memory, plain
from harness.training.accounting import MemoryMeter, StepClock
from harness.training.loop import Callback, Trainer


class ResourceMeter(Callback):
    """Seconds and examples of each step; peaks of memory in bytes, of training and of evaluation separately.

    `pack_size` says how many trials the worker trained at most while it had this one. `step_bytes` is what was counted
    of a step's tensors before.
    """

    def __init__(self, device: torch.device, pack_size: Callable[[], int] = lambda: 1) -> None:
        self.memory, self.clock = MemoryMeter(device), StepClock(device)
        self.train_peak = self.eval_peak = 0
        self._pack_size, self._pack_size_before = pack_size, 1
        self._reset_next = True  # the next training step starts a new peak
        self.parts = Memory()
        self.step_bytes: int | None = None

    def state_dict(self) -> dict[str, Any]:
        times = {
            "seconds": list(self.clock.seconds),
            "cpu_seconds": list(self.clock.cpu_seconds),
            "examples": list(self.clock.examples),
            "load": self.clock.load,
        }
        peaks = {"train_peak": self.train_peak, "eval_peak": self.eval_peak, "parts": plain(self.parts)}
        return times | peaks | {"pack_size": self.pack_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The peaks are the highest of all processes that trained the trial."""
        self.clock.seconds, self.clock.examples = state_dict["seconds"], state_dict["examples"]
        self.clock.cpu_seconds = state_dict.get("cpu_seconds", [])  # checkpoints of before have none
        self.clock.load = state_dict.get("load", 0.0)
        self.train_peak, self.eval_peak = state_dict["train_peak"], state_dict["eval_peak"]
        self.parts = Memory.read(state_dict["parts"])
        self._pack_size_before = state_dict.get("pack_size", 1)

    @property
    def pack_size(self) -> int:
        """The most trials that the worker trained at once during this one: times and memory are totals over all of
        them.
        """
        return max(self._pack_size(), self._pack_size_before)

    def before_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        """The first step is a warm-up: its peak does not count."""
        if trainer.step == 1 or self._reset_next:
            self.memory.reset()
            self._reset_next = False
        self.clock.start()

    def after_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        self.clock.stop(len(batch["rows"]) * trainer.fabric.world_size)

    def before_evaluation(self, trainer: Trainer) -> None:
        self.train_peak = max(self.train_peak, self.memory.peak())
        parts = self.memory.components(trainer.module, trainer.optimizer, self.train_peak, self.eval_peak)
        self.parts = dataclasses.replace(parts, step=self.step_bytes)
        self.memory.reset()

    def after_evaluation(self, trainer: Trainer) -> None:
        self.eval_peak = max(self.eval_peak, self.memory.peak())
        self.parts = dataclasses.replace(self.parts, eval_peak=self.eval_peak)
        self._reset_next = True
