"""What every model has in common: a pretrained base, a fresh head, and names for the layers an adapter can go to."""

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Outputs = int | Mapping[str, int]
"""How many outputs a head has; of each task, where there are several."""


class Heads(nn.ModuleDict):
    """A head for each task, by name. A batch is of one task, or says of each row which (`tasks`, numbers in order)."""

    def of(self, features: Tensor, tasks_B: Tensor) -> Tensor:
        """The outputs of a batch's own head (B, C)."""
        task = int(tasks_B[0])
        assert bool((tasks_B == task).all()), "rows of more than one task in one batch"
        outputs: Tensor = list(self.values())[task](features)
        return outputs


class Uncertainty(nn.Module):
    """Weights of tasks' losses by a learned log variance each: Σ e^(−s)·L + s (Kendall et al., 2018)."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        # A tensor for each task: one that is not in the batch gets no gradient, and the optimiser leaves it alone.
        self.log_variance = nn.ParameterList([nn.Parameter(torch.zeros(())) for _ in range(tasks)])

    def forward(self, loss: Tensor, tasks_B: Tensor) -> Tensor:
        """The weighted loss of a batch of one task."""
        s: Tensor = self.log_variance[int(tasks_B[0])]
        return torch.exp(-s) * loss + s


class Network(nn.Module):
    """A pretrained `base` and a fresh `head`, or a head for each task.

    `targets` maps the names a user gives (query, value, …) to patterns of module names inside `base`.
    """

    def __init__(self, base: nn.Module, head: nn.Module, targets: dict[str, str]) -> None:
        super().__init__()
        self.base, self.head, self.targets = base, head, targets
        self.weighting: Uncertainty | None = None

    @abstractmethod
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C), or (B, L, C) where every token has an answer."""

    def answer(self, features: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """What the head, or the head of the batch's task, makes of features (B, F)."""
        if isinstance(self.head, Heads):
            return self.head.of(features, batch["tasks"])
        outputs: Tensor = self.head(features)
        return outputs


def make_head(outputs: Outputs, make: Callable[[int], nn.Module]) -> nn.Module:
    """A head of so many outputs, or one for each task."""
    if isinstance(outputs, int):
        return make(outputs)
    return Heads({name: make(count) for name, count in outputs.items()})


def linear(features: int, outputs: int) -> nn.Linear:
    """A fresh linear layer, small."""
    head = nn.Linear(features, outputs)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head
