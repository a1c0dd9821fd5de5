"""Early stopping: ends training when the best evaluation is too long ago."""

from harness.training.callbacks.best_checkpoint import BestCheckpoint
from harness.training.loop import Callback, Trainer


class EarlyStopping(Callback):
    """Stops after `patience` evaluations without a new best; None: never. It comes after `best` in the trainer."""

    def __init__(self, best: BestCheckpoint, patience: int | None) -> None:
        self.best, self.patience = best, patience

    def after_evaluation(self, trainer: Trainer) -> None:
        if self.patience is not None and self.best.evaluations_since >= self.patience:
            trainer.should_stop = True
