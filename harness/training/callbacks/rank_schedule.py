"""Lets a variant move ranks during training."""

from typing import Any

import lightning as L

from harness.lora import RankSchedule


class RankScheduleCallback(L.Callback):
    """Calls a schedule before and after every training step; its state is the schedule's."""

    def __init__(self, schedule: RankSchedule) -> None:
        self.schedule = schedule

    def state_dict(self) -> dict[str, Any]:
        return self.schedule.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.schedule.load(state_dict)

    def on_train_batch_start(self, *_: Any) -> None:
        self.schedule.before_step()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """The gradients of this step are still there."""
        self.schedule.after_step(trainer.global_step)
