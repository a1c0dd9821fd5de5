"""The effective rank of what an adaptation has learned."""

import math

import torch
from torch import Tensor, nn

from harness.lora.adapted import named_updates
from harness.lora.update import LowRankUpdate


def effective_ranks(network: nn.Module) -> dict[str, float]:
    """{target: effective rank of s·BA}, e to the entropy of its singular values' shares (Roy and Vetterli, 2007).

    0 where nothing was learned; of a mixture one for each task.
    """
    return {
        name + ending: effective_rank(update, *factors)
        for name, update in named_updates(network)
        for ending, factors in update.factor_pairs().items()
    }


@torch.no_grad()
def effective_rank(update: LowRankUpdate, down: Tensor, up: Tensor) -> float:
    """The effective rank of what a update has learned: BA, less the B and A it started from where W gave them away."""
    down, up = down.double(), up.double()
    if update.start_A is not None and update.start_B is not None:
        down, up = torch.cat([down, update.start_A.double()]), torch.cat([up, -update.start_B.double()], 1)
    values = torch.linalg.svdvals(torch.linalg.qr(up).R @ torch.linalg.qr(down.t()).R.t())
    values = values[values > 1e-12 * max(float(values.max()), 1e-300)] if len(values) else values
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return math.exp(float(-(shares * shares.log()).sum()))
