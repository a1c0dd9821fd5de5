"""Delta form: s·BA is added to a frozen weight before the layer uses it, where a branch beside it will not do.

Recurrent layers, fused attention, mixtures of experts, and convolutions in groups or in loralib's factorisation.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from harness.base_layers.kinds import is_experts
from harness.lora.layers import Adapted
from harness.lora.update import LowRankUpdate, WeightSlice, frozen_weight


class LoraKernel(Adapted):
    """A frozen convolution whose kernel is changed, in any number of groups.

    The kernel (O, I/groups, k, …) is a matrix with one row for each output channel; so A holds R kernels, B says how
    much of each an output channel adds to its own. For a depthwise convolution that is k×k to rank, then 1×1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, …) to (B, O, …)."""
        y: Tensor = functional_call(self.base, self.weights(), (x,))
        return y


class LoraRecurrent(Adapted):
    """A frozen nn.LSTM or nn.GRU with a change in the input and hidden weights of every layer and direction.

    The weights are made once a forward pass, not once a time step.
    """

    def __init__(self, base: nn.LSTM | nn.GRU, updates: Mapping[str, LowRankUpdate]) -> None:
        super().__init__(base, updates)
        # cuDNN would move the changed weights, which are results of a computation, into one chunk of memory.
        base.flatten_parameters = _leave_where_they_are  # type: ignore[method-assign]

    def forward(self, x: Any, state: Any = None) -> Any:
        """A tensor or a packed sequence to (output, state)."""
        base = self.base
        assert isinstance(base, nn.LSTM | nn.GRU)
        kept = base._flat_weights
        try:
            return functional_call(base, self.weights(), (x, state))
        finally:
            base._flat_weights = kept  # else the changed weights and their graph live until the next pass


class LoraAttention(Adapted):
    """A frozen nn.MultiheadAttention with changes in its fused or separate projections."""

    def __init__(self, base: nn.MultiheadAttention, updates: Mapping[str, LowRankUpdate]) -> None:
        super().__init__(base, updates)
        self.batch_first, self.num_heads, self.embed_dim = base.batch_first, base.num_heads, base.embed_dim
        self.in_proj_bias = base.in_proj_bias
        # PyTorch's encoder layers read the projections past forward() in evaluation if these are of one size: not here.
        self._qkv_same_embed_dim = False

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, L, E) to (B, L, E) and the attention weights, where those are asked for."""
        arguments = (query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)
        result: tuple[Tensor, Tensor | None] = functional_call(self.base, self.weights(), arguments)
        return result


class LoraExperts(Adapted):
    """The frozen experts of a mixture, as transformers fuses them, with a change in each expert's matrices.

    The weights are made once a forward pass for all experts, whichever the tokens go to.
    """

    def forward(self, *inputs: Any) -> Any:
        """Map tokens (N, H), with the experts of each (N, K) and their weights, to (N, H), as the experts do."""
        return functional_call(self.base, self.weights(), inputs)

    @override
    def weights(self) -> dict[str, Tensor]:
        changed: dict[str, list[Tensor]] = {}
        for _, update in self.low_rank():
            where, weight = update.where, frozen_weight(self.base, update.where.weight)
            merged = update.merged_weight(self.matrix(update)).to(weight.dtype)
            assert where.expert is not None
            changed.setdefault(where.weight, list(weight))[where.expert] = merged.t() if where.transposed else merged
        return {name: torch.stack(matrices) for name, matrices in changed.items()}


def expert_weights(layer: nn.Module) -> list[str]:
    """The names of the weights that hold a matrix for each expert; empty for a layer that is no such mixture."""
    if not is_experts(layer):
        return []
    return [name for name, weight in layer.named_parameters(recurse=False) if weight.ndim == 3]


def expert_slices(layer: nn.Module) -> dict[str, WeightSlice]:
    """Every expert's own matrices, by the name of the weight and the expert's number: `down_proj_0`."""
    transposed = bool(getattr(layer, "is_transposed", False))
    slices: dict[str, WeightSlice] = {}
    for name in expert_weights(layer):
        count, *shape = layer.get_parameter(name).shape
        whole = WeightSlice(name, 0, shape[1 if transposed else 0], transposed)
        slices |= {f"{name}_{expert}": dataclasses.replace(whole, expert=expert) for expert in range(count)}
    return slices


def _leave_where_they_are() -> None:
    """In place of RNNBase.flatten_parameters."""


def recurrent_weights(base: nn.LSTM | nn.GRU) -> Iterator[str]:
    """The names of the input and hidden weights of all layers and directions."""
    return (name for name, _ in base.named_parameters() if name.startswith(("weight_ih", "weight_hh")))
