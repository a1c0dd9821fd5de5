"""Ends a trial when a stop was requested by a signal."""

from typing import Any

import lightning as L

from harness.training.distributed import raise_if_stop_requested_on_all

EVALUATION_PATIENCE_S = 10.0
"""How long an evaluation may still take after a stop request."""


class StopRequestCheck(L.Callback):
    """Raises Interrupted.

    `between_steps` is false where a CheckpointCallback ends the trial between two steps, after saving it.
    """

    def __init__(self, between_steps: bool = True) -> None:
        self.between_steps = between_steps

    def on_train_batch_end(self, *_: Any) -> None:
        if self.between_steps:
            raise_if_stop_requested_on_all()

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """An evaluation that is soon over is finished: the trial can be saved after it.

        Several devices may have different numbers of batches, and stop after the evaluation.
        """
        if trainer.world_size == 1:
            raise_if_stop_requested_on_all(EVALUATION_PATIENCE_S)

    def on_test_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.world_size == 1:
            raise_if_stop_requested_on_all()
