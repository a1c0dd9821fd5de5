"""Writes learning curves to metrics.csv, and mirrors them to the experiment tracker."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.training.loop import Callback, Trainer


class MetricsCsvLogger(Callback):
    """One row every few steps and one at each evaluation; `mirror` gets the same values by step."""

    def __init__(
        self, path: Path, mirror: Callable[[int, dict[str, float]], None], scores: Sequence[str], every: int = 10
    ) -> None:
        self.path, self.mirror, self.every = path, mirror, every
        self.columns = ("step", "lr", "train_loss", *(f"val_{name}" for name in scores))

    def begin(self, trainer: Trainer) -> None:
        with open(self.path, "w", newline="") as file:
            csv.writer(file).writerow(self.columns)

    def state_dict(self) -> dict[str, Any]:
        """The text of the file so far."""
        return {"text": self.path.read_text()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Write the rows again, to the file and to the mirror."""
        self.path.write_text(state_dict["text"])
        with open(self.path, newline="") as file:
            for row in csv.DictReader(file):
                step = int(row.pop("step"))
                self.mirror(step, {name: float(value) for name, value in row.items() if value})

    def after_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        """The loss of this batch, and the learning rate of the next one."""
        if trainer.step % self.every == 0:
            lr = trainer.optimizer.param_groups[0]["lr"]
            self._write(trainer.step, {"lr": lr, "train_loss": float(trainer.bare)})

    def after_evaluation(self, trainer: Trainer) -> None:
        self._write(trainer.step, {f"val_{name}": value for name, value in trainer.module.scores.items()})

    def _write(self, step: int, values: dict[str, float]) -> None:
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow({"step": step, **values})
        self.mirror(step, values)
