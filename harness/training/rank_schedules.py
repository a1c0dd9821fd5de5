"""Callbacks that change ranks during training: AdaLoRA's falling budget, DyLoRA's random prefixes."""

from typing import Any

import lightning as L
import numpy as np
from torch import nn

from harness.lora import Budget, highest_rank, set_active


class FallingBudget(L.Callback):
    """AdaLoRA: after every step, score the gradients and enforce the scheduled budget."""

    def __init__(self, base: nn.Module, final: int, steps: int) -> None:
        self.budget = Budget(base, final, steps)

    def state_dict(self) -> dict[str, Any]:
        return self.budget.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.budget.load(state_dict)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """The gradients of this step are still there."""
        self.budget.after_step(trainer.global_step)


class NestedRanks(L.Callback):
    """DyLoRA: every step trains a prefix of the ranks, its length uniform from 1 to the highest rank."""

    def __init__(self, base: nn.Module, seed: int) -> None:
        self.base, self.highest = base, highest_rank(base)
        self.draw = np.random.default_rng(seed)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.draw.bit_generator.state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.draw.bit_generator.state = state_dict

    def on_train_batch_start(self, *_: Any) -> None:
        set_active(self.base, int(self.draw.integers(1, self.highest + 1)))

    def on_train_batch_end(self, *_: Any) -> None:
        """Evaluations use all ranks."""
        set_active(self.base, self.highest)
