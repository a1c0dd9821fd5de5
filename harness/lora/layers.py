"""Layers with a frozen weight and a low-rank branch beside it.

Shapes: I inputs, O outputs of the branch, R rank. A is (R, I) and starts Kaiming-uniform, B is (O, R) and starts at
zero, so that an adapted network starts as the network it was (Hu et al., 2022, section 4.1).
"""

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


class LoraLinear(nn.Module):
    """y = Wx + b + s·BA·drop(x) beside a frozen nn.Linear."""

    def __init__(self, base: nn.Linear, rank: int, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.lora_A, self.lora_B = new_pair(base.weight, base.in_features, base.out_features, rank)

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O)."""
        y: Tensor = self.base(x)
        return y + self._branch(x)

    def _branch(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(self.dropout(x), self.lora_A) * self.scale, self.lora_B)

    def delta(self) -> Tensor:
        """s·BA, shaped like the frozen weight: (O, I)."""
        return self.scale * (self.lora_B @ self.lora_A)


class LoraConv(nn.Module):
    """A frozen convolution with a branch beside it: A is a convolution of the same geometry to R channels, B is 1×1.

    So A is (R, I, k, …) and B (O, R, 1, …); the base has one group.
    """

    def __init__(self, base: nn.Conv1d | nn.Conv2d, rank: int, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        down = torch.empty(rank, *base.weight.shape[1:], device=base.weight.device, dtype=base.weight.dtype)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        up = torch.zeros(base.out_channels, rank, *[1] * (down.ndim - 2), device=down.device, dtype=down.dtype)
        self.lora_A, self.lora_B = nn.Parameter(down), nn.Parameter(up)

    def forward(self, x: Tensor) -> Tensor:
        """As the base."""
        y: Tensor = self.base(x)
        convolve = F.conv1d if isinstance(self.base, nn.Conv1d) else F.conv2d
        # functional_call keeps the base's stride, padding, padding mode and dilation, whatever they are.
        changed: dict[str, Tensor | None] = {"weight": self.lora_A, "bias": None}
        low = functional_call(self.base, changed, (self.dropout(x),))  # type: ignore[arg-type]
        return y + convolve(low * self.scale, self.lora_B)

    def delta(self) -> Tensor:
        """s·BA, shaped like the kernel: (O, I, k, …)."""
        return self.scale * torch.einsum("or,r...->o...", self.lora_B.flatten(1), self.lora_A)


class LoraPart(nn.Module):
    """The low-rank branch of one part of a fused projection: outputs `start` to `stop` of the whole."""

    def __init__(self, like: Tensor, inputs: int, start: int, stop: int, rank: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop
        self.lora_A, self.lora_B = new_pair(like, inputs, stop - start, rank)


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


def new_pair(like: Tensor, inputs: int, outputs: int, rank: int) -> tuple[nn.Parameter, nn.Parameter]:
    """A (R, I) and B (O, R) at their start, on the device and in the type of `like`."""
    down = torch.empty(rank, inputs, device=like.device, dtype=like.dtype)
    nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    return nn.Parameter(down), nn.Parameter(torch.zeros(outputs, rank, device=like.device, dtype=like.dtype))
