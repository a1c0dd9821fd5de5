"""Delta form: s·BA is added to a frozen weight before the layer uses it, where a branch beside it will not do.

Shapes: I inputs, O outputs, R rank, H hidden size, G gates (4 in an LSTM, 3 in a GRU).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.lora.layers import new_pair


class LoraRecurrent(nn.Module):
    """A frozen nn.LSTM or nn.GRU whose input and hidden weights get a low-rank change in every layer and direction.

    The gates of a weight (G·H, I) share one A (R, I) with a stacked B (G·H, R), or, with `each_gate`, have a pair of
    their own. W + s·BA is made once a forward pass, not once a time step.
    """

    def __init__(self, base: nn.LSTM | nn.GRU, rank: int, scale: float, each_gate: bool = False) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.gates = (4 if isinstance(base, nn.LSTM) else 3) if each_gate else 1
        self.lora_A, self.lora_B = nn.ParameterDict(), nn.ParameterDict()
        for name in recurrent_weights(base):
            weight = getattr(base, name)
            for gate in range(self.gates):
                down, up = new_pair(weight, weight.shape[1], weight.shape[0] // self.gates, rank)
                self.lora_A[f"{name}_{gate}"], self.lora_B[f"{name}_{gate}"] = down, up

    def forward(self, x: Any, state: Any = None) -> Any:
        """As the base: a tensor or a packed sequence in, (output, state) out."""
        changed = {name: getattr(self.base, name) + self.delta(name) for name in recurrent_weights(self.base)}
        return functional_call(self.base, changed, (x, state))

    def delta(self, name: str) -> Tensor:
        """s·BA of one weight, shaped like it: (G·H, I)."""
        pairs = [(self.lora_B[f"{name}_{gate}"], self.lora_A[f"{name}_{gate}"]) for gate in range(self.gates)]
        return self.scale * torch.cat([up @ down for up, down in pairs])


class LoraConvDelta(nn.Module):
    """A square nn.Conv2d in loralib's factorisation: A (R·k, I·k), B (O·k, R·k), and BA reshaped to the kernel.

    It has more parameters than the branch of the same rank; published counts of convolutions are often of this form.
    """

    def __init__(self, base: nn.Conv2d, rank: int, scale: float) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        size = base.kernel_size[0]
        rows = base.out_channels // base.groups * size
        self.lora_A, self.lora_B = new_pair(base.weight, base.in_channels * size, rows, rank * size)

    def forward(self, x: Tensor) -> Tensor:
        """As the base."""
        y: Tensor = functional_call(self.base, {"weight": self.base.weight + self.delta()}, (x,))
        return y

    def delta(self) -> Tensor:
        """s·BA, shaped like the kernel."""
        return self.scale * (self.lora_B @ self.lora_A).view_as(self.base.weight)


def recurrent_weights(base: nn.LSTM | nn.GRU) -> Iterator[str]:
    """The names of the input and hidden weights of all layers and directions."""
    return (name for name, _ in base.named_parameters() if name.startswith(("weight_ih", "weight_hh")))
