"""Layers whose adapters have forms of their own (DoRA, convolutions, …): each adapter's rows are computed apart.

Shapes: B rows, L positions, E features.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from harness.lora.layers import Adapted, LoraConv, LoraEmbedding, LoraLinear
from harness.lora.routing import TaskRouter
from harness.lora.weight_space_layers import LoraAttention, LoraKernel


def rows_apart(base: nn.Module, adapted: Mapping[int, Adapted], route: TaskRouter) -> nn.Module | None:
    """The adapted forms of one layer side by side, by the adapter's number; None where its rows cannot be told apart.

    Recurrent layers may get packed sequences, and attention need not have the rows first.
    """
    kinds = tuple({type(layer) for layer in adapted.values()})
    if all(issubclass(kind, LoraLinear | LoraConv | LoraEmbedding | LoraKernel) for kind in kinds):
        return RowsApart(base, adapted, route)
    if kinds == (LoraAttention,) and isinstance(base, nn.MultiheadAttention) and base.batch_first:
        return AttentionApart(base, adapted, route)
    return None


class _Apart(nn.Module):
    """`adapted` has a layer for each adapter that changes it, all of them around the same frozen `base`."""

    def __init__(self, base: nn.Module, adapted: Mapping[int, Adapted], route: TaskRouter) -> None:
        super().__init__()
        self.base, self.route = base, route
        self.adapted = nn.ModuleDict({str(number): layer for number, layer in adapted.items()})

    def of(self, number: int) -> nn.Module:
        """The layer as an adapter has it: the plain one where it leaves it alone."""
        if str(number) not in self.adapted:
            return self.base
        return self.adapted[str(number)]

    def each(self, count: int, compute: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Compute each adapter's layer on its own rows, and put the results together in the order of the rows.

        There are `count` rows; if rows and positions share one dimension, a row's positions are contiguous.
        """
        rows = self.route.rows
        assert isinstance(rows, Tensor), "rows that are all alike need no parting"
        rows = rows.repeat_interleave(count // len(rows))
        places = {number: (rows == number).nonzero().squeeze(1) for number in rows.unique().tolist()}
        parts = [compute(self.of(number), mine) for number, mine in places.items()]
        return torch.cat(parts)[torch.cat(list(places.values())).argsort()]


class RowsApart(_Apart):
    """A layer of one input (B, …) and one output (B, …)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) to (B, …)."""
        if isinstance(self.route.rows, int):
            y: Tensor = self.of(self.route.rows)(x)
            return y
        return self.each(len(x), lambda layer, places: layer(x[places]))

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as of an adapted linear layer."""
        return self.base.get_parameter("weight")


class AttentionApart(_Apart):
    """Fused attention over rows that come first."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """(B, L, E) to (B, L, E); attention weights are not given."""
        assert not need_weights, "the weights of several adapters are not put together"

        def attend(layer: nn.Module, places: Tensor) -> Tensor:
            padded = None if key_padding_mask is None else key_padding_mask[places]
            rows = query[places], key[places], value[places]
            y: Tensor = layer(*rows, key_padding_mask=padded, need_weights=False, attn_mask=attn_mask)[0]
            return y

        if isinstance(self.route.rows, int):
            return attend(self.of(self.route.rows), torch.arange(len(query), device=query.device)), None
        return self.each(len(query), attend), None
