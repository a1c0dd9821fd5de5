"""Ends a trial whose training loss is not finite."""

from typing import Any

import lightning as L
import torch

from harness.training.distributed import all_reduce_max
from harness.training.module import Diverged


class DivergenceCheck(L.Callback):
    """Raises Diverged. The loss is read only every few steps, since reading it waits for the device."""

    def __init__(self, every: int = 10) -> None:
        self.every = every

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if trainer.global_step % self.every:
            return
        found = outputs["loss"] + outputs["bare"]  # of a batch in parts, the first is of the last part alone
        if all_reduce_max(int(not torch.isfinite(found))):
            raise Diverged(f"training loss {float(outputs['loss'])} at step {trainer.global_step}")
