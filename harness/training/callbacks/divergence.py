"""Ends a trial whose training loss is not finite."""

from typing import Any

import torch

from harness.training.distributed import all_reduce_max
from harness.training.loop import Callback, Trainer
from harness.training.module import Diverged


class DivergenceCheck(Callback):
    """Raises Diverged. The loss is read only every few steps, since reading it waits for the device."""

    def __init__(self, every: int = 10) -> None:
        self.every = every

    def after_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        if trainer.step % self.every:
            return
        found = trainer.loss + trainer.bare  # of a batch in parts, the first is of the last part alone
        if all_reduce_max(int(not torch.isfinite(found))):
            raise Diverged(f"training loss {float(trainer.loss)} at step {trainer.step}")
