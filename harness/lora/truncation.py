"""The singular values of a trained adapter, and the network with each update truncated to a lower rank.

Shapes: I inputs, O outputs, R rank; A is (R, I), B (O, R).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.lora.adapted import named_updates
from harness.lora.errors import SpecError
from harness.lora.update import LowRankUpdate


def singular_values(network: nn.Module) -> dict[str, list[float]]:
    """{target: the singular values of s·BA}, the greatest first.

    Raises SpecError for an update that is no product of A and B alone, which no cut of that leaves as it was.
    """
    return {name: (abs(update.scale) * _svd(update)[1]).tolist() for name, update in _plain(network)}


@contextmanager
def cut(network: nn.Module, ranks: Mapping[str, int]) -> Iterator[None]:
    """Inside, the change of each target is the nearest of its rank in `ranks` (Eckart and Young, 1936); 0 leaves none.

    A target that has no more than that keeps what it has.
    """
    before = [(update, update.lora_A.detach().clone(), update.lora_B.detach().clone()) for _, update in _plain(network)]
    try:
        with torch.no_grad():
            for name, update in _plain(network):
                if (rank := ranks[name]) < update.rank:
                    _cut(update, rank)
        yield
    finally:
        with torch.no_grad():
            for update, down, up in before:
                update.lora_A.copy_(down)
                update.lora_B.copy_(up)


def _plain(network: nn.Module) -> Iterator[tuple[str, LowRankUpdate]]:
    for name, update in named_updates(network):
        if type(update) is not LowRankUpdate or update.start_A is not None:
            raise SpecError(f"{name}: its change is not the product of A and B alone, and cannot be cut by SVD")
        yield name, update


def _cut(update: LowRankUpdate, rank: int) -> None:
    left, values, right = (part.to(update.lora_A.dtype) for part in _svd(update))
    update.lora_A.zero_()
    update.lora_B.zero_()
    update.lora_A[:rank] = values[:rank, None] * right[:rank]
    update.lora_B[:, :rank] = left[:, :rank]


@torch.no_grad()
def _svd(update: LowRankUpdate) -> tuple[Tensor, Tensor, Tensor]:
    """The singular vectors and values of BA: (O, K), (K) and (K, I), K at most R."""
    down, up = update.lora_A.double(), update.lora_B.double()
    outputs, inputs = torch.linalg.qr(up), torch.linalg.qr(down.t())
    left, values, right = torch.linalg.svd(outputs.R @ inputs.R.t(), full_matrices=False)
    return outputs.Q @ left, values, right @ inputs.Q.t()
