"""The weighting of the losses of several tasks in a step.

Shapes: T tasks in a step; a batch of one task has one loss.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


class Weighting(nn.Module):
    """Weights of tasks' losses, which training changes. Parameters of its own learn at the heads' rate."""

    def watch(self, shared: Sequence[nn.Parameter]) -> None:
        """Take notice of the trained parameters that serve all tasks."""
        return

    @abstractmethod
    def forward(self, losses_T: Tensor, tasks_T: Tensor) -> Tensor:
        """The weighted sum of the losses of the tasks of these numbers."""


class Uncertainty(Weighting):
    """Weights by a learned log variance of each task: Σ e^(−s)·L + s (Kendall et al., 2018)."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        # A tensor for each task: one that is not in the batch gets no gradient, and the optimiser leaves it alone.
        self.log_variance = nn.ParameterList([nn.Parameter(torch.zeros(())) for _ in range(tasks)])

    def forward(self, losses_T: Tensor, tasks_T: Tensor) -> Tensor:
        weighted = []
        for loss, task in zip(losses_T, tasks_T, strict=True):
            s: Tensor = self.log_variance[int(task)]
            weighted.append(torch.exp(-s) * loss + s)
        return torch.stack(weighted).sum()


class GradNorm(Weighting):
    """Weights that bring the tasks' gradients to norms in keeping with how far each has come (Chen et al., 2018).

    Each step, with G_i = w_i·‖∇L_i‖ over one shared tensor and r_i the ratio of L_i to its first value, over the mean
    of these ratios: w_i moves by −`rate`·d/dw_i |G_i − mean(G)·r_i^`alpha`|, the target held fixed, and the weights are
    scaled to add up to T. The tensor is the last shared matrix, in the network's order, that all gradients reach.
    """

    weights: Tensor
    first: Tensor

    def __init__(self, tasks: int, alpha: float = 1.5, rate: float = 0.025) -> None:
        super().__init__()
        self.alpha, self.rate = alpha, rate
        self.register_buffer("weights", torch.ones(tasks))
        self.register_buffer("first", torch.zeros(tasks))
        self._shared: list[nn.Parameter] = []  # a plain list: they are the network's, not this module's

    def watch(self, shared: Sequence[nn.Parameter]) -> None:
        self._shared = [tensor for tensor in shared if tensor.ndim > 1]

    def forward(self, losses_T: Tensor, tasks_T: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            self._update(losses_T)
        return (self.weights.detach().clone() * losses_T).sum()

    def _update(self, losses_T: Tensor) -> None:
        norms = self._norms(losses_T)
        with torch.no_grad():
            if not self.first.any():
                self.first.copy_(losses_T)
            ratios = losses_T.detach() / self.first.clamp(min=1e-12)
            target = (self.weights * norms).mean() * (ratios / ratios.mean()) ** self.alpha
            slopes = torch.sign(self.weights * norms - target) * norms
            # Steps relative to the mean norm: a rate then means the same at any scale of the losses.
            self.weights -= self.rate * slopes / norms.mean().clamp(min=1e-12)
            self.weights.clamp_(min=1e-3)
            self.weights *= len(self.weights) / self.weights.sum()

    def _norms(self, losses_T: Tensor) -> Tensor:
        """‖∇L_i‖ over the last shared tensor that every loss reaches."""
        for tensor in reversed(self._shared):
            found = [torch.autograd.grad(loss, tensor, retain_graph=True, allow_unused=True)[0] for loss in losses_T]
            norms = [one.norm() for one in found if one is not None]
            if len(norms) == len(losses_T) and all(map(bool, norms)):
                self._shared = [tensor]
                return torch.stack(norms)
        return torch.ones_like(losses_T)


WEIGHTINGS: Mapping[str, Callable[[int], Weighting]] = {"uncertainty": Uncertainty, "gradnorm": GradNorm}
"""By name; losses that count alike need none."""
