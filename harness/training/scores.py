"""Scores that add up over batches and devices, and what each example did, so that trials compare item by item."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, SumMetric
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


class TokenScores(Scores):
    """Cross-entropy in nats a target token and its exponential, perplexity, of logits (B, L, V) against labels (B, L).

    The mean is over all target tokens, whatever batches they came in; each example's row is the mean over its own
    tokens, and how many they are.
    """

    names = ("loss", "perplexity")
    columns = ("loss", "tokens")

    def __init__(self) -> None:
        super().__init__()
        # Not a weighted MeanMetric: with its check for NaN disabled, torchmetrics 1.9 forgets the weights.
        self.nats = SumMetric(nan_strategy="disable").set_dtype(torch.float64)
        self.tokens = SumMetric(nan_strategy="disable").set_dtype(torch.float64)

    def update(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As Scores.update."""
        loss_BL = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none", ignore_index=-100)
        tokens_B = (labels != -100).sum(1)
        nats_B = loss_BL.double().sum(1)
        self.nats.update(nats_B)
        self.tokens.update(tokens_B.double())
        return torch.stack([nats_B / tokens_B, tokens_B.double()], 1)

    def close(self) -> dict[str, float]:
        """As Scores.close."""
        loss = float(self.nats.compute() / self.tokens.compute())
        self.nats.reset()
        self.tokens.reset()
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
