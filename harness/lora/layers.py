"""Branch form: a frozen layer with low-rank updates beside it. The weight itself is never made.

Shapes: I inputs, O outputs, R rank.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from harness.lora.update import LowRankUpdate, frozen_weight


class Adapted(nn.Module):
    """A frozen layer `base` and the updates that change its weights, by name."""

    def __init__(self, base: nn.Module, updates: Mapping[str, LowRankUpdate]) -> None:
        super().__init__()
        self.base = base
        self.updates = nn.ModuleDict(updates)

    def __getattr__(self, name: str) -> Any:
        """Plain attributes of the base, such as a convolution's stride, which networks read of their layers.

        Raises AttributeError for tensors and modules: those of the base lack the updates.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base" or isinstance(value := getattr(self.base, name), Tensor | nn.Module):
                raise
            return value

    @abstractmethod
    def forward(self, *inputs: Any) -> Any:
        """Compute the base's output with its changed weights; it takes the base's arguments."""

    def low_rank(self) -> list[tuple[str, LowRankUpdate]]:
        """The updates and their names."""
        return [(name, update) for name, update in self.updates.items() if isinstance(update, LowRankUpdate)]

    def matrix(self, update: LowRankUpdate) -> Tensor:
        """The frozen matrix that an update changes (O, I), a view; of a layer of few bits a copy in floats."""
        return update.where.of(frozen_weight(self.base, update.where.weight))

    def weights(self) -> dict[str, Tensor]:
        """Every weight of the base that is changed, as it is with the change: differentiable in the updates."""
        changed: dict[str, Tensor] = {}
        for _, update in self.low_rank():
            name = update.where.weight
            weight = changed[name] if name in changed else frozen_weight(self.base, name).clone()
            matrix = update.where.of(weight)  # with what earlier updates of the same matrix have made of it
            matrix.copy_(update.merged_weight(matrix))
            changed[name] = weight
        return changed

    def of_task(self, task: str) -> "Adapted":
        """The layer as the rows of one task have it."""
        return self

    def merged(self) -> nn.Module:
        """Return the layer that replaces this one once its changed weights are merged into the base."""
        return self.base


class LoraLinear(Adapted):
    """y = Wx + b + s·BA·drop(x) beside a frozen nn.Linear or transformers' Conv1D.

    An update may be of some outputs only: query, key and value fused in one matrix have an update each.
    """

    def __init__(self, base: nn.Module, updates: Mapping[str, LowRankUpdate], dropout: float = 0.0) -> None:
        super().__init__(base, updates)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O)."""
        y: Tensor = self.base(x)
        dropped = self.dropout(x)
        for _, update in self.low_rank():
            down, up = update.factors()
            offset, stop = update.where.offset, update.where.stop
            low = F.linear(dropped, down)
            if not update.scales_outputs and offset == 0 and stop == y.shape[-1]:
                # One kernel scales, multiplies and adds, in place of three.
                flat = y.reshape(-1, stop), low.reshape(-1, low.shape[-1])
                y = torch.addmm(*flat, up.t(), alpha=update.scale).view(y.shape)
                continue
            change = F.linear(low * update.scale, up)
            if (scaling := update.output_scaling(self.matrix(update))) is not None:
                mine = y[..., offset:stop].clone()
                change = _magnified(mine, self._bias(offset, stop), change, scaling)
            if offset == 0 and stop == y.shape[-1]:
                y = y + change
            else:
                y[..., offset:stop] += change
        return y

    @property
    def weight(self) -> Tensor:
        """The frozen weight: T5's feed-forward layer asks its last projection what type it computes in."""
        return frozen_weight(self.base, "weight")

    def _bias(self, offset: int, stop: int) -> Tensor | None:
        bias = self.base.bias
        return bias[offset:stop] if isinstance(bias, Tensor) else None


class LoraConv(Adapted):
    """A frozen convolution of one group with a branch: A is a convolution of its geometry to R channels, B is 1×1."""

    def __init__(self, base: nn.Conv1d | nn.Conv2d, updates: Mapping[str, LowRankUpdate], dropout: float = 0.0) -> None:
        super().__init__(base, updates)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, …) to (B, O, …)."""
        y: Tensor = self.base(x)
        ((_, update),) = self.low_rank()
        down, up = update.factors()
        kernel = self.base.get_parameter("weight")
        # functional_call keeps the base's stride, padding, padding mode and dilation, whatever they are.
        geometry: dict[str, Tensor | None] = {"weight": down.view(len(down), *kernel.shape[1:]), "bias": None}
        low = functional_call(self.base, geometry, (self.dropout(x),))  # type: ignore[arg-type]
        convolve = F.conv1d if kernel.ndim == 3 else F.conv2d
        ones = [1] * (kernel.ndim - 2)
        change = convolve(low * update.scale, up.view(*up.shape, *ones))
        if (scaling := update.output_scaling(self.matrix(update))) is not None:
            bias = self.base.bias
            flat_bias = bias.view(-1, *ones) if isinstance(bias, Tensor) else None
            change = _magnified(y, flat_bias, change, scaling.view(-1, *ones))
        return y + change


class LoraEmbedding(Adapted):
    """A frozen nn.Embedding with a branch: A holds R numbers for each word, B makes them a vector.

    A starts at zero and B at random, as in loralib: with the roles as elsewhere B would learn nothing at first from
    the words that never came.
    """

    def __init__(self, base: nn.Embedding, updates: Mapping[str, LowRankUpdate]) -> None:
        super().__init__(base, updates)
        self.padding_id = base.padding_idx

    def forward(self, x: Tensor) -> Tensor:
        """Ids (…) to vectors (…, O)."""
        y: Tensor = self.base(x)
        ((_, update),) = self.low_rank()
        down, up = update.factors()
        change = F.linear(F.embedding(x, down.t(), self.padding_id) * update.scale, up)
        if (scaling := update.output_scaling(self.matrix(update))) is not None:
            change = _magnified(y, None, change, scaling)
        return y + change


def _magnified(y: Tensor, bias: Tensor | None, change: Tensor, scaling: Tensor) -> Tensor:
    """Return the addend that turns y = Wx + b into scaling·(Wx + change) + b (DoRA)."""
    product = y if bias is None else y - bias
    return (scaling - 1) * product + scaling * change
