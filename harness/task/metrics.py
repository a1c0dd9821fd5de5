"""Metrics that add up over batches and devices, and a row for each example, so that trials compare item by item."""

import math
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import CatMetric, MeanMetric, SumMetric
from torchmetrics import Metric as TorchMetric
from torchmetrics.classification import MulticlassAccuracy

from harness.config import ConfigError
from harness.config.tasks.base import GROUP_MEASURE
from harness.task.ctc import ctc_nats
from harness.task.ignored import IGNORED


class Metrics(nn.Module):
    """The metrics of an evaluation: `names` of the scores, `columns` of the rows that `update` returns."""

    names: tuple[str, ...]
    columns: tuple[str, ...]
    counts_by: tuple[str, ...] = ("accuracy", "r2", "f1_micro")
    """The scores by the first of which a task counts beside others, where it has it: each is 1 for perfect answers."""

    @abstractmethod
    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Add a batch and its logits; returns a row for each example (B, len(columns))."""

    @abstractmethod
    def compute_and_reset(self) -> dict[str, float]:
        """The scores of all batches since the last reset. `loss` is always among them, not finite if a logit is not."""

    def leave_out(self, names: Collection[str]) -> None:
        """Do without measures of these names, where it has any beside its own."""

    def beside(self, rows: Tensor) -> Tensor:
        """From rows as `update` returns them: the label, the prediction, and whether it is right (B, 3).

        Where a row has several answers: how many are there, are given, and are right.
        """
        return torch.cat([rows[:, :2], (rows[:, :1] == rows[:, 1:2]).to(rows.dtype)], 1)

    def answers(self, logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The labels (B) and the logits (B, C) of a batch, as a measure of the user's own reads them."""
        return batch["labels"], logits.float()

    def shares(self, logits: Tensor) -> Tensor | None:
        """The probability of each class (B, C), where the answer is a class or a set of them."""
        return None

    def tags(self, logits: Tensor, batch: Mapping[str, Tensor]) -> list[list[int]]:
        """Return the predicted tag of each token of each row, if there is a tag for each of them."""
        return []


class ClassMetrics(Metrics):
    """Accuracy and mean cross-entropy of logits (B, C) against labels (B)."""

    names = ("accuracy", "loss")
    columns = ("label", "predicted")

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.mean_loss = MeanMetric(nan_strategy="disable")  # by default NaN would be left out of the mean

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        labels = batch["labels"]
        self.accuracy.update(logits, labels)
        self.mean_loss.update(F.cross_entropy(logits, labels, reduction="none"))
        return torch.stack([labels, logits.argmax(-1)], 1)

    def shares(self, logits: Tensor) -> Tensor:
        return logits.float().softmax(-1)

    def compute_and_reset(self) -> dict[str, float]:
        scores = {"accuracy": float(self.accuracy.compute()), "loss": float(self.mean_loss.compute())}
        self.accuracy.reset()
        self.mean_loss.reset()
        return scores


class GroupMetrics(Metrics):
    """A task's own metrics of classes, and `group_exact`, the share of groups of rows of which every row is right.

    Batches have the number of each row's group, of `count`, in `groups` (B).
    """

    def __init__(self, own: Metrics, count: int) -> None:
        super().__init__()
        self.own, self.count = own, count
        self.names, self.columns = (*own.names, GROUP_MEASURE), (*own.columns, "group")
        self.rows = VectorSum(2 * count)  # by group: those that are wrong, and all

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        groups, wrong = batch["groups"], (logits.argmax(-1) != batch["labels"]).double()
        rows = torch.zeros(2 * self.count, dtype=torch.float64, device=wrong.device)
        rows.index_add_(0, torch.cat([groups, groups + self.count]), torch.cat([wrong, torch.ones_like(wrong)]))
        self.rows.update(rows)
        found = self.own.update(logits, batch)
        return torch.cat([found, groups.unsqueeze(1).to(found.dtype)], 1)

    def shares(self, logits: Tensor) -> Tensor | None:
        return self.own.shares(logits)

    def compute_and_reset(self) -> dict[str, float]:
        wrong, there = self.rows.compute().cpu().view(2, -1)
        self.rows.reset()
        exact = float((wrong[there > 0] == 0).double().mean())
        return self.own.compute_and_reset() | {GROUP_MEASURE: exact}


class LabelSetMetrics(Metrics):
    """Metrics of logits (B, C) against sets of classes (B, C) of ones and zeros: F1 of all decisions and the mean of
    the classes' F1, a class being predicted if its probability is above a half; the share of rows that are right as a
    whole; and the mean binary cross-entropy of a decision.

    A row says of each class, numbered from 1, whether it is there (1), answered (2), both (3) or neither (0).
    """

    names = ("f1_micro", "f1_macro", "exact", "loss")

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.columns = ("loss", "tokens", "exact", *(f"class_{number}" for number in range(1, classes + 1)))
        # By class: right answers, answers, labels; then rows, rows that are right, losses.
        self.classes, self.counts = classes, VectorSum(3 * classes + 3)

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        labels = batch["labels"].double()
        answers = (logits > 0).double()
        loss_B = F.binary_cross_entropy_with_logits(logits.double(), labels, reduction="none").mean(1)
        exact_B = (answers == labels).all(1).double()
        rows = torch.stack([exact_B.new_tensor(len(labels)), exact_B.sum(), loss_B.sum()])
        self.counts.update(torch.cat([(answers * labels).sum(0), answers.sum(0), labels.sum(0), rows]))
        return torch.cat([torch.stack([loss_B, torch.ones_like(loss_B), exact_B], 1), labels + 2 * answers], 1)

    def shares(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid()

    def beside(self, rows: Tensor) -> Tensor:
        """Count, per row, the classes that are true, that are predicted, and that are both (B, 3)."""
        marks = rows[:, 3:].long()
        return torch.stack([(marks & 1).sum(1), (marks >> 1).sum(1), (marks == 3).sum(1)], 1)

    def compute_and_reset(self) -> dict[str, float]:
        counts = self.counts.compute().cpu()
        self.counts.reset()
        right, answered, there = counts[: 3 * self.classes].view(3, -1)
        rows, exact, loss = counts[3 * self.classes :].tolist()
        both = answered + there
        by_class = torch.where(both > 0, 2 * right / both.clamp(min=1), torch.zeros_like(right))
        micro = 2 * float(right.sum()) / max(1.0, float(both.sum()))
        return {"f1_micro": micro, "f1_macro": float(by_class.mean()), "exact": exact / rows, "loss": loss / rows}


class VectorSum(TorchMetric):
    """A sum of vectors over batches and devices, in float64."""

    sums: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.set_dtype(torch.float64)

    def update(self, values: Tensor) -> None:
        """Add a vector."""
        self.sums += values

    def compute(self) -> Tensor:
        """The sum."""
        return self.sums


class TokenMetrics(Metrics):
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

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        labels = batch["labels"]
        tokens_B = (labels != IGNORED).sum(1)
        nats_B = ctc_nats(logits, batch) if "blank" in batch else _token_nats(logits, labels)
        nats_B = nats_B.double()
        self.nats.update(nats_B)
        self.tokens.update(tokens_B.double())
        return torch.stack([nats_B / tokens_B, tokens_B.double()], 1)

    def compute_and_reset(self) -> dict[str, float]:
        loss = float(self.nats.compute() / self.tokens.compute())
        self.nats.reset()
        self.tokens.reset()
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}


def _token_nats(logits_BLV: Tensor, labels_BL: Tensor) -> Tensor:
    loss_BL = F.cross_entropy(logits_BLV.float().transpose(1, 2), labels_BL, reduction="none", ignore_index=IGNORED)
    return loss_BL.double().sum(1)


class RegressionMetrics(Metrics):
    """Regression of standardised labels (B) by predictions (B, 1).

    `loss` is the mean squared error in standardised units; `rmse` and R² (the variance explained) are in the labels'
    own unit, given by their `mean` and `sd`. As scikit-learn has it, R² of labels that are all one number is 1 where
    every answer is exact, else 0, and of a single label NaN.
    """

    names = ("rmse", "r2", "loss")
    columns = ("label", "predicted")

    def __init__(self, mean: float, sd: float) -> None:
        super().__init__()
        self.mean, self.sd = mean, sd
        self.sums = SumMetrics(2)  # rows and squared errors
        self.labels = CatMetric(nan_strategy="disable").set_dtype(torch.float64)  # sums lose a small variance

    def answers(self, logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Both in the labels' own unit."""
        return batch["labels"].double() * self.sd + self.mean, logits.double() * self.sd + self.mean

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        labels = batch["labels"].double()
        guess = logits.squeeze(-1).double()
        self.sums.add([torch.ones_like(labels), (guess - labels).square()])
        self.labels.update(labels)
        return torch.stack([labels, guess], 1) * self.sd + self.mean

    def compute_and_reset(self) -> dict[str, float]:
        rows, error = self.sums.compute_and_reset()
        labels = torch.atleast_1d(self.labels.compute()).cpu()
        self.labels.reset()
        loss = error / rows
        return {"rmse": self.sd * math.sqrt(loss), "r2": _r2(loss, labels), "loss": loss}


def _r2(loss: float, labels: Tensor) -> float:
    if len(labels) < 2:
        return math.nan
    if bool((labels == labels[0]).all()):
        return 1.0 if loss == 0 else 0.0
    return 1 - loss / float(labels.var(correction=0))


class SumMetrics(nn.Module):
    """Sums over batches and devices, in float64."""

    def __init__(self, count: int) -> None:
        super().__init__()
        sums = (SumMetric(nan_strategy="disable").set_dtype(torch.float64) for _ in range(count))
        self.sums = nn.ModuleList(sums)

    def add(self, values: list[Tensor]) -> None:
        """Add a batch of values to each sum."""
        for metric, value in zip(self.sums, values, strict=True):
            metric.update(value)  # type: ignore[operator]

    def compute_and_reset(self) -> list[float]:
        """The sums since the last reset."""
        found = [float(metric.compute()) for metric in self.sums]  # type: ignore[operator]
        for metric in self.sums:
            metric.reset()  # type: ignore[operator]
        return found


def share_name(task: str, metrics: Metrics) -> str:
    """The score by which a task counts beside others: accuracy, R² of numbers, F1 of several labels or of spans.

    Each is 1 for perfect answers. Raises ConfigError where the metrics have none of them.
    """
    found = next((name for name in metrics.counts_by if name in metrics.names), None)
    if found is None:
        told = ", ".join(sorted(metrics.names))
        raise ConfigError(f"task.tasks.{task}: it has {told}, and beside others counts accuracy, r2 or f1_micro")
    return found


class MixtureMetrics(Metrics):
    """The metrics of several tasks, named task/score, each over its own examples.

    `loss` is the mean of the tasks' losses, `score` the mean of their accuracies, R² or F1 of several labels or of
    spans: each is 1 for perfect answers. Raises ConfigError for a task with none of them.
    """

    columns = ("task", "label", "predicted", "right")

    def __init__(self, parts: Mapping[str, Metrics]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self._by_task = dict(parts)
        self._shares = {task: share_name(task, part) for task, part in parts.items()}
        self.names = ("score", "loss", *(f"{task}/{name}" for task, part in parts.items() for name in part.names))

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """All rows of the batch are of one task."""
        part = list(self._by_task.values())[int(batch["tasks"][0])]
        rows = part.beside(part.update(logits, batch)).double()
        return torch.cat([batch["tasks"].unsqueeze(1).double(), rows], 1)

    def compute_and_reset(self) -> dict[str, float]:
        found = {task: part.compute_and_reset() for task, part in self._by_task.items()}
        loss = sum(scores["loss"] for scores in found.values()) / len(found)
        score = sum(scores[self._shares[task]] for task, scores in found.items()) / len(found)
        named = {f"{task}/{name}": value for task, scores in found.items() for name, value in scores.items()}
        return {"score": score, "loss": loss} | named


class MeasureError(Exception):
    """A measure raised an error, or returned what is no finite number."""


class MeasuredMetrics(Metrics):
    """A task's own metrics, and under their names further measures over all rows of an evaluation.

    Only for evaluations in one process: the rows of other devices are not gathered.
    """

    def __init__(self, own: Metrics, measures: Mapping[str, Callable[[Tensor, Tensor], float]]) -> None:
        super().__init__()
        self.own, self.measures = own, dict(measures)
        self.names, self.columns = (*own.names, *self.measures), own.columns
        self._answers: list[tuple[Tensor, Tensor]] = []

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        labels, outputs = self.own.answers(logits, batch)
        self._answers.append((labels.cpu(), outputs.cpu()))
        return self.own.update(logits, batch)

    def shares(self, logits: Tensor) -> Tensor | None:
        return self.own.shares(logits)

    def tags(self, logits: Tensor, batch: Mapping[str, Tensor]) -> list[list[int]]:
        return self.own.tags(logits, batch)

    def leave_out(self, names: Collection[str]) -> None:
        self.measures = {name: measure for name, measure in self.measures.items() if name not in names}

    def compute_and_reset(self) -> dict[str, float]:
        """Raises MeasureError, which names the measure."""
        scores = self.own.compute_and_reset()
        labels, logits = (torch.cat(parts) for parts in zip(*self._answers, strict=True))
        self._answers = []
        # A trial that diverged fails for that, not for what a measure makes of NaN.
        finite = math.isfinite(scores["loss"])
        measured = {name: self._measure(name, labels, logits) if finite else math.nan for name in self.measures}
        return scores | measured

    def _measure(self, name: str, labels: Tensor, logits: Tensor) -> float:
        try:
            found = float(self.measures[name](labels, logits))
        except MemoryError:
            raise
        except Exception as error:  # the user's code may fail in any way
            raise MeasureError(f"trainer.objective={name}: {type(error).__name__}: {error}") from error
        if not math.isfinite(found):
            raise MeasureError(f"trainer.objective={name}: score is {found}, and has to be a finite number")
        return found
