"""Scores that add up over batches and devices, and what each example did, so that trials compare item by item."""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy


class Scores(nn.Module):
    """What an evaluation measures: `names` of the scores, `columns` of what `update` returns for each example."""

    names: tuple[str, ...]
    columns: tuple[str, ...]

    @abstractmethod
    def update(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Add a batch; returns a row for each example (B, len(columns))."""

    @abstractmethod
    def close(self) -> dict[str, float]:
        """The scores of all since the last close. They always have a `loss`, which is not finite if a logit is not."""


class ClassScores(Scores):
    """Accuracy and mean cross-entropy of logits (B, C) against labels (B)."""

    names = ("accuracy", "loss")
    columns = ("label", "predicted")

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.mean_loss = MeanMetric(nan_strategy="disable")  # by default NaN would be left out of the mean

    def update(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As Scores.update."""
        self.accuracy.update(logits, labels)
        self.mean_loss.update(F.cross_entropy(logits, labels, reduction="none"))
        return torch.stack([labels, logits.argmax(-1)], 1)

    def close(self) -> dict[str, float]:
        """As Scores.close."""
        scores = {"accuracy": float(self.accuracy.compute()), "loss": float(self.mean_loss.compute())}
        self.accuracy.reset()
        self.mean_loss.reset()
        return scores
