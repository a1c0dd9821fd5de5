"""The rows of several networks in one batch, each network's dropout drawn from its own generator.

Shapes: N networks, B rows of each, L tokens of the longest row of all, D of a head of attention.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class NotByRows(Exception):
    """A layer's inputs do not have a row for each of the batch's, in their order: whose they are cannot be told."""


class JoinedRows:
    """The assignment of rows to networks: `counts` rows of each network in order, and the tokens of its longest row.

    Where all rows are as long, no lengths need to be known. `states` are those of each network's generator, as it would
    have it in a pass of its own; `generator` is the one that dropout draws from.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.counts: list[int] = []
        self.lengths: list[int] = []
        self.states: list[Tensor] = []

    def set(self, counts: Sequence[int], lengths: Sequence[int], states: Sequence[Tensor]) -> None:
        """The rows of the next pass."""
        self.counts, self.lengths, self.states = list(counts), list(lengths), list(states)

    def each(self, x: Tensor) -> Sequence[Tensor]:
        """The rows of each network. Raises NotByRows."""
        if len(x) != sum(self.counts):
            raise NotByRows(f"{len(x)} rows of {sum(self.counts)}")
        own: Sequence[Tensor] = x.split(self.counts)
        return own

    def dropout(self, x: Tensor, drops: Sequence[float]) -> Tensor:
        """Dropout of the rows of each network with its own probability."""

        def drop(own: Tensor, place: int) -> Tensor:
            return torch.dropout(own, drops[place], True) if drops[place] else own

        return self._drawn(self.each(x), drop)

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Compute scaled_dot_product_attention of (N·B, heads, L, D) network by network, with dropout inside."""
        keys, values = self.each(key), self.each(value)
        masks = [None] * len(self.counts) if attn_mask is None else self._masks(attn_mask)

        def attend(own: Tensor, place: int) -> Tensor:
            length = own.shape[2]
            known = masks[place]
            known = None if known is None else known[..., : min(length, known.shape[-2]), :length]
            near, there = (tensor[place][:, :, :length] for tensor in (keys, values))
            return F.scaled_dot_product_attention(
                own, near, there, known, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )

        return self._drawn(self.each(query), attend, axes=(2,))

    def _masks(self, mask: Tensor) -> list[Tensor | None]:
        return list(self.each(mask.expand(sum(self.counts), *mask.shape[1:])))

    def _drawn(
        self, rows: Sequence[Tensor], change: Callable[[Tensor, int], Tensor], axes: Sequence[int] | None = None
    ) -> Tensor:
        """Draw each network's rows with its own generator, at its own length, padded with zeros."""
        longest, parts = max(self.lengths), []
        for place, own in enumerate(rows):
            length = self.lengths[place]
            where = _token_axes(own, longest) if axes is None else axes
            if length < longest:
                own = _cut(own, where, length)
            self.generator.set_state(self.states[place])
            made = change(own, place)
            self.states[place] = self.generator.get_state()
            parts.append(_padded(made, where, longest - length))
        return torch.cat(parts)


class OwnDropout(TorchFunctionMode):
    """Inside, all dropout is drawn network by network, that of attention too."""

    def __init__(self, rows: JoinedRows) -> None:
        super().__init__()
        self.rows = rows

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = kwargs or {}
        if function is F.dropout:
            return self._dropout(*args, **known)
        if function is F.scaled_dot_product_attention and known.get("dropout_p"):
            return self.rows.attention(*args, **known)
        return function(*args, **known)

    def _dropout(self, x: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
        return self.rows.dropout(x, [p] * len(self.rows.counts)) if training and p else x


def _cut(x: Tensor, axes: Sequence[int], length: int) -> Tensor:
    """Cut off the tokens that pad rows to the longest of the other networks' rows."""
    for axis in axes:
        x = x.narrow(axis, 0, length)
    return x.contiguous()


def _padded(x: Tensor, axes: Sequence[int], missing: int) -> Tensor:
    if not missing:
        return x
    padding: list[int] = []
    for axis in reversed(range(x.ndim)):
        padding += [0, missing if axis in axes else 0]
    return F.pad(x, padding)


def _token_axes(x: Tensor, longest: int) -> tuple[int, ...]:
    """Return the token axes: after the rows (B, L, …), or both last axes of attention (B, heads, L, L)."""
    if x.ndim == 4 and x.shape[-1] == x.shape[-2] == longest:
        return 2, 3
    return (1,) if x.ndim >= 3 and x.shape[1] == longest else ()
