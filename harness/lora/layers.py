"""Layers with a frozen weight and a low-rank branch beside it.

Shapes: I inputs, O outputs of the branch, R rank. A is (R, I) and starts Kaiming-uniform, B is (O, R) and starts at
zero, so that an adapted network starts as the network it was (Hu et al., 2022, section 4.1).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LoraLinear(nn.Module):
    """y = Wx + b + s·BA·drop(x) beside a frozen nn.Linear."""

    def __init__(self, base: nn.Linear, rank: int, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.lora_A, self.lora_B = _pair(base.weight, base.in_features, base.out_features, rank)

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O)."""
        y: Tensor = self.base(x)
        return y + self._branch(x)

    def _branch(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(self.dropout(x), self.lora_A) * self.scale, self.lora_B)

    def delta(self) -> Tensor:
        """s·BA, shaped like the frozen weight: (O, I)."""
        return self.scale * (self.lora_B @ self.lora_A)


class LoraPart(nn.Module):
    """The low-rank branch of one part of a fused projection: outputs `start` to `stop` of the whole."""

    def __init__(self, like: Tensor, inputs: int, start: int, stop: int, rank: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop
        self.lora_A, self.lora_B = _pair(like, inputs, stop - start, rank)


class LoraFused(nn.Module):
    """A frozen fused projection (query, key and value in one matrix) with a branch of its own for each named part.

    The base is an nn.Linear, or transformers' Conv1D, whose weight is transposed: (I, O).
    """

    def __init__(self, base: nn.Module, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.parts = nn.ModuleDict()

    def add(self, name: str, index: int, count: int, rank: int) -> None:
        """Adapt the index-th of `count` equal parts."""
        weight = self.base.weight
        inputs, outputs = fan(self.base)
        size = outputs // count
        assert isinstance(weight, Tensor)
        assert size * count == outputs
        self.parts[name] = LoraPart(weight, inputs, index * size, (index + 1) * size, rank)

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O)."""
        y: Tensor = self.base(x)
        dropped = self.dropout(x)
        for part in self.parts.values():
            assert isinstance(part, LoraPart)
            branch = F.linear(F.linear(dropped, part.lora_A) * self.scale, part.lora_B)
            y = y + F.pad(branch, (part.start, y.shape[-1] - part.stop))
        return y


def fan(layer: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of a linear layer, transformers' transposed Conv1D included."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0], weight.shape[1]


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is an nn.Linear or transformers' Conv1D (which is a linear layer under another name)."""
    return isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"


def _pair(like: Tensor, inputs: int, outputs: int, rank: int) -> tuple[nn.Parameter, nn.Parameter]:
    down = torch.empty(rank, inputs, device=like.device, dtype=like.dtype)
    nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    return nn.Parameter(down), nn.Parameter(torch.zeros(outputs, rank, device=like.device, dtype=like.dtype))
