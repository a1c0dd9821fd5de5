"""Keeps the weights of the best evaluation, and ends training when it is too long ago."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from harness.record import direction
from harness.training.loop import Callback, Trainer
from harness.training.module import TrialModule, trained_tensors
from harness.training.sharding import copy_into, to_full


class BestCheckpoint(Callback):
    """Keeps the weights of the best evaluation in a file: in memory they would count as the trial's.

    `objective` is the name of a validation score; of `loss` a lower value is better, of any other a higher one.
    Evaluations before step `not_before` do not count: AdaLoRA's scores mean little before it has reached its final
    ranks. After `patience` evaluations without a new best training ends; None: never.
    """

    def __init__(self, objective: str, path: Path, not_before: int = 0, patience: int | None = None) -> None:
        self.objective, self.path, self.not_before, self.patience = objective, path, not_before, patience
        self.sign = direction(objective)
        self.best: dict[str, float] = {}
        self.best_step = self.evaluations_since = 0

    def state_dict(self) -> dict[str, Any]:
        """The best scores, and the weights that made them."""
        state = {"best": self.best, "best_step": self.best_step, "evaluations_since": self.evaluations_since}
        return state | {"weights": load_file(self.path) if self.best else {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.evaluations_since = state_dict["evaluations_since"]
        if self.best:
            save_file(state_dict["weights"], self.path)

    def after_evaluation(self, trainer: Trainer) -> None:
        scores = trainer.module.scores
        if trainer.step < self.not_before:
            return
        if not self.best or self.sign * scores[self.objective] > self.sign * self.best[self.objective]:
            self.best, self.best_step, self.evaluations_since = dict(scores), trainer.step, 0
            save_file({name: to_full(tensor) for name, tensor in trained_tensors(trainer.module)}, self.path)
        else:
            self.evaluations_since += 1
            trainer.should_stop = self.patience is not None and self.evaluations_since >= self.patience

    def restore(self, module: TrialModule) -> None:
        """Load the weights of the best evaluation into the module."""
        stored = load_file(self.path)
        with torch.no_grad():
            for name, tensor in trained_tensors(module):
                copy_into(tensor, stored[name])
