"""Lets a variant move ranks during training."""

from typing import Any

from harness.lora import RankSchedule
from harness.training.loop import Callback, Trainer


class RankScheduleCallback(Callback):
    """Calls a schedule before and after every training step; its state is the schedule's."""

    def __init__(self, schedule: RankSchedule) -> None:
        self.schedule = schedule

    def state_dict(self) -> dict[str, Any]:
        return self.schedule.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.schedule.load(state_dict)

    def before_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        self.schedule.before_step()

    def after_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        self.schedule.after_step(trainer.step)
