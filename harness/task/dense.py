"""Dense tasks: images and several answers for each pixel, read or made, in three splits.

Shapes: N images of a split, B of a batch, T tasks, K channels of an answer, S pixels a side.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from harness.config import ShapesDenseConfig, Tokens
from harness.task.base import SPLITS, Inputs, Losses, Task
from harness.task.dense_answers import Answer, answer_of
from harness.task.shapes import CLASSES, render

if TYPE_CHECKING:
    from harness.task.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class DenseInputs(Inputs):
    """A split's images (N, 3, S, S) as bytes, and every task's answers: classes (N, S, S), or numbers (N, K, S, S)."""

    images: np.ndarray
    answers: dict[str, np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        return np.ones(len(self.images), dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """`images` (B, 3, S, S) as bytes, `rows` (B), and under each task's name its answers."""
        chosen = list(rows)
        answers = {name: torch.from_numpy(values[chosen]) for name, values in self.answers.items()}
        return {"images": torch.from_numpy(self.images[chosen]), "rows": torch.tensor(chosen)} | answers


@dataclasses.dataclass(frozen=True)
class DenseTask(Task):
    """Several tasks on the same images. `channels` are those of each answer, in the order of the tasks; `answers` say
    how each is learned and scored.
    """

    name: str
    source: str
    channels: Mapping[str, int]
    answers: Mapping[str, Answer]
    splits: Mapping[str, Inputs]
    sha256: str
    classes: tuple[str, ...] = ()
    alone: Mapping[str, float] | None = None

    @property
    def outputs(self) -> Mapping[str, int]:
        return self.channels

    def describe(self) -> dict[str, object]:
        """With each task's measure, its direction and its unit."""
        rows = {split: len(inputs) for split, inputs in self.splits.items()}
        common: dict[str, object] = {"source": self.source, "sha256": self.sha256, "rows": rows}
        tasks = {
            name: common | {"name": self.name, "measure": answer.measure, "better": answer.better, "unit": answer.unit}
            for name, answer in self.answers.items()
        }
        return common | {"name": self.name, "tasks": tasks}

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        return self.splits[split]

    def metrics(self) -> "Metrics":
        from harness.task.alone_metrics import MetricsAgainstAlone
        from harness.task.dense_metrics import DenseMetrics

        together = DenseMetrics(self.answers, self.channels)
        if self.alone is None:
            return together
        alone = {
            f"{name}/{answer.measure}": (self.alone[name], answer.better == "lower is better")
            for name, answer in self.answers.items()
        }
        return MetricsAgainstAlone(together, alone)

    @property
    def losses(self) -> Losses:
        return partial(_losses, self.answers, self.channels)


def _losses(
    answers: Mapping[str, Answer], channels: Mapping[str, int], outputs: Tensor, batch: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """The mean loss of each task (T) of outputs (B, ΣK, S, S), and its number."""
    parts = outputs.split(list(channels.values()), 1)
    found = [answers[name].loss(part, batch[name]) for name, part in zip(channels, parts, strict=True)]
    return torch.stack(found), torch.arange(len(found), device=outputs.device)


def read_dense(config: ShapesDenseConfig) -> DenseTask:
    """Render every split: a scene is a function of seed, split and number alone, so that more rows keep the first."""
    rows = dict(zip(SPLITS, (config.train_rows, config.validation_rows, config.test_rows), strict=True))
    splits = {split: _rendered(config, number, rows[split]) for number, split in enumerate(SPLITS)}
    channels, train = config.known_outputs, splits["train"].answers
    unit = "units of half the image"
    answers = {name: answer_of(name, count, train[name], unit) for name, count in channels.items()}
    return DenseTask(config.name, "rendered", channels, answers, splits, _digest(splits), CLASSES, config.alone)


def _rendered(config: ShapesDenseConfig, split: int, rows: int) -> DenseInputs:
    scenes = [render(config.image_size, np.random.default_rng([config.split_seed, split, row])) for row in range(rows)]
    answers = {}
    for name in config.chosen:
        values = np.stack([vars(scene)[name] for scene in scenes])
        by_class = values.dtype == np.int64
        answers[name] = values if by_class else values.reshape(*values.shape[:3], -1).transpose(0, 3, 1, 2).copy()
    return DenseInputs(np.stack([scene.image for scene in scenes]).transpose(0, 3, 1, 2).copy(), answers)


def _digest(splits: Mapping[str, DenseInputs]) -> str:
    whole = hashlib.sha256()
    for split, inputs in splits.items():
        for name, values in {"images": inputs.images, **inputs.answers}.items():
            whole.update(repr((split, name, values.shape)).encode() + values.tobytes())
    return whole.hexdigest()
