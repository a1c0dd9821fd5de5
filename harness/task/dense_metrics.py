"""The metrics of dense tasks: each task's loss and measure over a split, and its measure on every image."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from harness.task.dense_answers import Answer
from harness.task.metrics import Metrics


class _Sums(Metric):
    """Sums over batches and devices, in float64."""

    total: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(count, dtype=torch.float64), dist_reduce_fx="sum")
        self.set_dtype(torch.float64)

    def update(self, values: Tensor) -> None:
        self.total += values

    def compute(self) -> Tensor:
        return self.total


class DenseMetrics(Metrics):
    """Scores task/measure and task/loss; `score` is the mean of the measures as shares of 1, `loss` that of the losses.

    Measures are over all pixels of a split. A row holds each task's measure on one image.
    """

    def __init__(self, answers: Mapping[str, Answer], channels: Mapping[str, int]) -> None:
        super().__init__()
        self.kinds, self.channels = dict(answers), dict(channels)
        self.columns = tuple(f"{name}/{kind.measure}" for name, kind in self.kinds.items())
        figures = (figure for name, kind in self.kinds.items() for figure in (f"{name}/{kind.measure}", f"{name}/loss"))
        self.names = ("score", "loss", *figures)
        self.sums = nn.ModuleList([_Sums(1 + len(self.kinds)), *(_Sums(kind.n_sums) for kind in self.kinds.values())])

    def update(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Add a batch and its outputs (B, ΣK, S, S)."""
        rows, losses, columns = len(logits), [logits.new_ones((), dtype=torch.float64)], []
        parts = logits.split(list(self.channels.values()), 1)
        for (name, kind), part, total in zip(self.kinds.items(), parts, self.sums[1:], strict=True):
            losses.append(kind.loss(part, batch[name]).double())
            sums = kind.sums(part, batch[name])
            total.update(sums.sum(0))  # type: ignore[operator]
            columns.append(torch.tensor([kind.measured(row).value for row in sums.cpu()], dtype=torch.float64))
        self.sums[0].update(rows * torch.stack(losses))  # type: ignore[operator]
        return torch.stack(columns, 1)

    def compute_and_reset(self) -> dict[str, float]:
        (rows, *losses), *sums = [total.compute().cpu() for total in self.sums]  # type: ignore[operator]
        for total in self.sums:
            total.reset()  # type: ignore[operator]
        found: dict[str, float] = {}
        shares = []
        for (name, kind), loss, one in zip(self.kinds.items(), losses, sums, strict=True):
            measured = kind.measured(one)
            found |= {f"{name}/{kind.measure}": measured.value, f"{name}/loss": float(loss / rows)}
            shares.append(measured.share)
        loss = float(sum(losses) / rows / len(losses))
        return {"score": sum(shares) / len(shares), "loss": loss} | found
