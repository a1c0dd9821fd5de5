"""What moves ranks while a trial trains: AdaLoRA's falling budget, DyLoRA's random prefixes."""

from typing import Any

import lightning as L
import numpy as np
from torch import nn

from harness.lora import Budget, highest_rank, set_active


class FallingBudget(L.Callback):
    """AdaLoRA: after every step look at the gradients, and enforce the budget that the schedule gives."""

    def __init__(self, base: nn.Module, final: int, steps: int) -> None:
        self.budget = Budget(base, final, steps)

    def state_dict(self) -> dict[str, Any]:
        """What the budget remembers of the gradients."""
        return self.budget.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As it was."""
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
        """The generator's state."""
        return dict(self.draw.bit_generator.state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As it was."""
        self.draw.bit_generator.state = state_dict

    def on_train_batch_start(self, *_: Any) -> None:
        """Draw a rank."""
        set_active(self.base, int(self.draw.integers(1, self.highest + 1)))

    def on_train_batch_end(self, *_: Any) -> None:
        """Outside of training all ranks count."""
        set_active(self.base, self.highest)
