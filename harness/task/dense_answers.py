"""The loss and the measure of each kind of dense answer.

Shapes: B images, K channels of the answer, S pixels a side. Missing answers are VOID (classes)
or not a number.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

VOID = 255
"""The class of a pixel without an answer."""

_THRESHOLDS = torch.arange(0.05, 1, 0.05, dtype=torch.float64)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A figure of a task over a whole split, and that as a share of 1, perfect."""

    value: float
    share: float


class Answer(ABC):
    """A kind of answer for every pixel: its loss, and a measure that is made from sums over images.

    `measure` is its name in scores, `better` its direction, `unit` its unit, `n_sums` (N) how many sums it takes.
    """

    measure: str
    n_sums: int
    better: Literal["higher is better", "lower is better"]
    unit: str

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean over all pixels with an answer, of outputs (B, K, S, S)."""

    @abstractmethod
    def sums(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return each image's contribution to the measure's sums, float64 (B, N)."""

    @abstractmethod
    def measured(self, sums: Tensor) -> Measured:
        """The measure of sums (N); not a number where no pixel has an answer."""


class Classes(Answer):
    """Classes (B, S, S): cross-entropy, and the mean over classes of intersection over union."""

    measure, better, unit = "miou", "higher is better", ""

    def __init__(self, classes: int) -> None:
        self.classes, self.n_sums = classes, 3 * classes

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        # 0 where no pixel of a batch has a class, as of the parts of people in images without any.
        none = (labels == VOID).all()
        return F.cross_entropy(outputs.float(), labels.masked_fill(none, 0), ignore_index=VOID) * ~none

    def sums(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return, for each class, the pixels of the intersection, the label and the prediction (B, 3·K)."""
        known = (labels != VOID)[..., None]
        is_it = F.one_hot(labels.clamp(max=self.classes - 1), self.classes) * known
        taken = F.one_hot(outputs.argmax(1), self.classes) * known
        return torch.cat([part.double().sum((1, 2)) for part in (is_it * taken, is_it, taken)], 1)

    def measured(self, sums: Tensor) -> Measured:
        """Over the classes that are there or taken to be there."""
        both, is_it, taken = sums.view(3, self.classes)
        union = is_it + taken - both
        value = float((both[union > 0] / union[union > 0]).mean())
        return Measured(value, value)


class Mask(Answer):
    """A mask (B, 1, S, S) of zeros and ones: cross-entropy in which both count alike, and the largest F.

    F is (1 + β²)·P·R / (β²·P + R) at the best of 19 thresholds over the whole split, without a tolerance for edges that
    are some pixels off. Saliency takes β² = 0.3 (Achanta et al., 2009), edges 1.
    """

    measure, better, unit = "max_f", "higher is better", ""
    n_sums = 40

    def __init__(self, beta_squared: float) -> None:
        self.beta_squared = beta_squared

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        known = ~labels.isnan()
        outputs, labels = outputs.float()[known], labels[known]
        ones = labels.mean().clamp(0.01, 0.99)
        weights = torch.where(labels > 0.5, 1 - ones, ones)
        return F.binary_cross_entropy_with_logits(outputs, labels, weights, reduction="sum") / weights.sum()

    def sums(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Hits, and pixels that are taken for ones, at each threshold; ones; all (B, 2·19 + 2)."""
        known = ~labels.isnan()
        chance, ones = torch.sigmoid(outputs.double()).flatten(1), (labels.nan_to_num() > 0.5).flatten(1)
        known = known.flatten(1)
        taken = (chance[..., None] > _THRESHOLDS.to(chance.device)) & known[..., None]
        hits = (taken & ones[..., None]).double().sum(1)
        return torch.cat([hits, taken.double().sum(1), ones.double().sum(1, True), known.double().sum(1, True)], 1)

    def measured(self, sums: Tensor) -> Measured:
        hits, taken, ones = sums[:19], sums[19:38], sums[38]
        precision, recall = hits / taken.clamp(min=1), hits / ones.clamp(min=1)
        f = (1 + self.beta_squared) * precision * recall / (self.beta_squared * precision + recall).clamp(min=1e-12)
        value = float(f.max()) if sums[39] else math.nan
        return Measured(value, value)


class Numbers(Answer):
    """A number (B, 1, S, S): mean absolute error, and the root of the mean squared error over pixels.

    Outputs are standardised by `mean` and `sd`, labels and the measure are in their own unit. The share is R², what of
    the variance of the split is explained.
    """

    measure, better = "rmse", "lower is better"
    n_sums = 4

    def __init__(self, mean: float, sd: float, unit: str) -> None:
        self.mean, self.sd, self.unit = mean, sd, unit

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        known = ~labels.isnan()
        return F.l1_loss(outputs.float()[known], (labels[known] - self.mean) / self.sd)

    def sums(self, outputs: Tensor, labels: Tensor) -> Tensor:
        known = ~labels.isnan()
        labels, error = labels.double().nan_to_num(), (outputs.double() * self.sd + self.mean - labels).nan_to_num()
        parts = (known.double(), error.square(), labels, labels.square())
        return torch.stack([part.flatten(1).sum(1) for part in parts], 1)

    def measured(self, sums: Tensor) -> Measured:
        pixels, error, total, square = sums.tolist()
        if not pixels:
            return Measured(math.nan, math.nan)
        variance = square / pixels - (total / pixels) ** 2
        return Measured(math.sqrt(error / pixels), 1 - error / pixels / variance if variance > 0 else math.nan)


class Normals(Answer):
    """Unit vectors (B, 3, S, S): 1 − cosine, and the mean angle to the truth. The share is 1 − angle/90°."""

    measure, better, unit = "angle", "lower is better", "degrees"
    n_sums = 2

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        known = ~labels[:, 0].isnan()
        return 1 - F.cosine_similarity(outputs.float(), labels, dim=1)[known].mean()

    def sums(self, outputs: Tensor, labels: Tensor) -> Tensor:
        known = ~labels[:, 0].isnan()
        cosine = F.cosine_similarity(outputs.double(), labels.double().nan_to_num(), dim=1).clamp(-1, 1)
        angle = torch.rad2deg(torch.arccos(cosine)) * known
        return torch.stack([known.double().flatten(1).sum(1), angle.flatten(1).sum(1)], 1)

    def measured(self, sums: Tensor) -> Measured:
        value = float(sums[1] / sums[0])
        return Measured(value, 1 - value / 90)


def answer_of(task: str, outputs: int, labels: np.ndarray, unit: str) -> Answer:
    """Return the answer kind of the named task; `labels` are of the training split, `unit` is depth's."""
    match task:
        case "saliency":
            return Mask(0.3)
        case "edges":
            return Mask(1.0)
        case "depth":
            return Numbers(float(np.nanmean(labels)), float(np.nanstd(labels)) or 1.0, unit)
        case "normals":
            return Normals()
        case _:
            return Classes(outputs)
