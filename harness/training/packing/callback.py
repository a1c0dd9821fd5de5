"""Takes the features of a trial's training batches from the pack that it trains in."""

import lightning as L

from harness.training.module import Batch
from harness.training.packing.pack import PackMember


class PackCallback(L.Callback):
    """Puts what the head reads into a batch, and passes the gradients of it back; it comes last of all callbacks."""

    def __init__(self, member: PackMember) -> None:
        self.member = member

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Batch, index: int) -> None:
        batch["head_input"] = self.member.forward(dict(batch))

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.member.backward()
