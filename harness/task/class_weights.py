"""Classes that count more than others in the loss of training: their weights, and rows that carry them.

Shapes: B rows of a batch, L tokens of a row, C classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.config import ConfigError, nearest
from harness.system.paths import listed
from harness.task.base import Inputs, Task
from harness.task.ignored import IGNORED
from harness.task.wrapped_inputs import WrappedInputs


def weighted(inputs: Inputs, task: Task, asked: str | Mapping[str, float]) -> Inputs:
    """The training rows with the weight of each label beside it. Raises ConfigError for classes that do not fit."""
    return WeightedInputs(inputs, torch.tensor(class_weights(task, asked), dtype=torch.float32))


def class_weights(task: Task, asked: str | Mapping[str, float]) -> list[float]:
    """The weight of each class, as they are numbered: what is asked for by name, or, balanced, so that all classes
    count alike: rows / (classes · rows of the class), as scikit-learn has it; of tags by their tokens.

    Raises ConfigError for names that are not the classes.
    """
    where = "trainer.class_weights"
    if not task.classes:
        raise ConfigError(f"{where}={asked}: task={task.name} has no classes; null")
    if not isinstance(asked, str):
        for name in asked:
            if name not in task.classes:
                raise ConfigError(f"{where}.{name}: no such class{nearest(name, task.classes)}; {listed(task.classes)}")
        if missing := [name for name in task.classes if name not in asked]:
            raise ConfigError(f"{where}: no weight of {listed(missing)}; each class has one")
        return [asked[name] for name in task.classes]
    labels = task.describe()["labels"]
    assert isinstance(labels, Mapping)
    counts = np.maximum(labels["train"], 1)
    found: list[float] = (np.sum(labels["train"]) / (len(counts) * counts)).tolist()
    return found


class WeightedInputs(WrappedInputs):
    """Rows whose training batches have `weights`, (B) or (B, L), of their labels; 0 where a label is left out."""

    def __init__(self, own: Inputs, weights_C: Tensor) -> None:
        super().__init__(own)
        self._weights_C = weights_C

    def training_batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        batch = self.own.training_batch(rows)
        labels = batch["labels"]
        return batch | {"weights": self._weights_C[labels.clamp(min=0)] * (labels != IGNORED)}
