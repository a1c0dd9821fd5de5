"""Early stopping: ends training when the best evaluation is too long ago."""

import lightning as L

from harness.training.callbacks.best_checkpoint import BestCheckpoint


class EarlyStopping(L.Callback):
    """Stops after `patience` evaluations without a new best; None: never. It comes after `best` in the trainer."""

    def __init__(self, best: BestCheckpoint, patience: int | None) -> None:
        self.best, self.patience = best, patience

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.patience is not None and self.best.evaluations_since >= self.patience:
            trainer.should_stop = True
