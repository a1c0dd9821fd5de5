"""Takes the features of a trial's training batches from the pack that it trains in."""

from typing import Any

from harness.training.loop import Callback, Trainer
from harness.training.packing.pack import PackMember


class PackCallback(Callback):
    """Puts what the head reads into a batch, and passes the gradients of it back; it comes last of all callbacks."""

    def __init__(self, member: PackMember) -> None:
        self.member = member

    def before_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        batch["head_input"] = self.member.forward(dict(batch))

    def after_backward(self) -> None:
        self.member.backward()
