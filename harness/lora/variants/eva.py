"""EVA: A starts as the principal directions of the layer's input, and ranks may move (Paischer et al., 2024)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.lora.adapted import adapted_layers, replace, target_name
from harness.lora.errors import InitialisationError, SpecError
from harness.lora.layers import Adapted, LoraLinear
from harness.lora.update import LowRankUpdate
from harness.lora.variants.base import Feed, PlannedUpdate, Setting, Settings, Variant


def initialise(base: nn.Module, settings: Settings, feed: Feed) -> None:
    """A holds the leading principal directions of the layer's input (Paischer et al., 2024, section 3).

    With `redistribute` above 1 ranks move: the components of all layers compete by the share of their layer's variance
    that they explain, a layer gets at most that many times its rank, and the sum stays what it was. Every position of
    a batch counts, the padding of shorter rows too.
    """
    growth = settings["redistribute"]
    vectors, shares, allotted = {}, {}, {}
    for name, layer, vh, explained in _principal(base, feed):
        for key, update in layer.low_rank():
            limit = min(max(update.rank, round(growth * update.rank)), min(update.lora_B.shape[0], len(vh)))
            if limit < update.rank:
                raise InitialisationError(f"eva: {len(vh)} directions in the input of {name}, rank {update.rank}")
            vectors[name, key], shares[name, key], allotted[name, key] = vh, explained[:limit], update.rank
    ranks = _redistributed(shares, sum(allotted.values())) if growth > 1 else allotted
    for (name, key), rank in ranks.items():
        _set_rank(base, name, key, rank, vectors[name, key])


def explained_variance(base: nn.Module, feed: Feed) -> dict[str, Tensor]:
    """{target: the share of its input's variance that each principal direction explains}, the greatest first.

    There are as many as the layer's highest rank.
    """
    return {
        target_name(name, key): explained[: min(update.lora_B.shape[0], len(vh))]
        for name, layer, vh, explained in _principal(base, feed)
        for key, update in layer.low_rank()
    }


def _principal(base: nn.Module, feed: Feed) -> Iterator[tuple[str, Adapted, Tensor, Tensor]]:
    """Each adapted layer's principal input directions (K, I), and the share of variance that each explains (K)."""
    layers = dict(adapted_layers(base))
    with _gathered(layers) as seen, torch.no_grad():
        feed(False)
    for name, layer in layers.items():
        _, values, vh = torch.linalg.svd(seen[name].triangle, full_matrices=False)
        yield name, layer, vh, values.square() / values.square().sum()


def _redistributed(shares: dict[tuple[str, str], Tensor], budget: int) -> dict[tuple[str, str], int]:
    every = sorted(
        ((float(share), place) for place, values in shares.items() for share in values), key=lambda item: -item[0]
    )
    ranks = dict.fromkeys(shares, 0)
    for _, place in every[:budget]:
        ranks[place] += 1
    return ranks


def _set_rank(base: nn.Module, name: str, key: str, rank: int, vectors: Tensor) -> None:
    layer = base.get_submodule(name)
    assert isinstance(layer, Adapted)
    update = layer.updates[key]
    assert isinstance(update, LowRankUpdate)
    if rank == 0:
        del layer.updates[key]
        if not layer.updates:
            replace(base, name, layer.base)
        return
    trained = update.lora_A.requires_grad
    update.lora_A = nn.Parameter(vectors[:rank].to(update.lora_A.dtype).contiguous(), requires_grad=trained)
    update.lora_B = nn.Parameter(update.lora_B.new_zeros(len(update.lora_B), rank))


class _Scatter:
    """The spread of rows about their mean, kept as a triangle (I, I) at most, however many batches come."""

    def __init__(self, rows: Tensor) -> None:
        self.count, self.mean = len(rows), rows.mean(0)
        self.triangle = torch.linalg.qr(rows - self.mean, mode="r").R

    def add(self, rows: Tensor) -> None:
        """Take further rows in: their own spread, and that between the two means."""
        count, mean = len(rows), rows.mean(0)
        between = (self.count * count / (self.count + count)) ** 0.5 * (self.mean - mean)
        stacked = torch.cat([self.triangle, rows - mean, between[None]])
        self.triangle = torch.linalg.qr(stacked, mode="r").R
        self.mean = (self.count * self.mean + count * mean) / (self.count + count)
        self.count += count


@contextmanager
def _gathered(layers: dict[str, Adapted]) -> Iterator[dict[str, _Scatter]]:
    """Collect the inputs of each layer inside the context."""
    seen: dict[str, _Scatter] = {}

    def look(name: str, layer: Adapted, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        rows = _rows(layer, inputs[0].detach()).float()
        if name in seen:
            seen[name].add(rows)
        else:
            seen[name] = _Scatter(rows)

    hooks = [layer.register_forward_pre_hook(partial(look, name, layer)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _rows(layer: Adapted, x: Tensor) -> Tensor:
    """A layer's input as a matrix (N, I): every position a row, for a convolution every patch."""
    if isinstance(layer, LoraLinear):
        return x.flatten(0, -2)
    conv = layer.base
    assert isinstance(conv, nn.Conv1d | nn.Conv2d)
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    x = F.pad(x, conv._reversed_padding_repeated_twice, mode)
    sizes = [conv.kernel_size, conv.dilation, conv.stride]
    if isinstance(conv, nn.Conv1d):
        x, sizes = x.unsqueeze(2), [(1, *size) for size in sizes]
    kernel, dilation, stride = sizes
    return F.unfold(x, kernel, dilation, 0, stride).transpose(1, 2).flatten(0, 1)


def check(planned: PlannedUpdate) -> None:
    """Refuse a layer whose input is not one row for each position."""
    if not planned.one_matrix:
        kind = type(planned.layer).__name__
        raise SpecError(f"{planned.name}: EVA needs a layer's input as a matrix; {kind} gives none here")


def note(settings: Settings) -> str:
    """Return a note that a count from shapes alone may not be the final one."""
    if settings["redistribute"] == 1:
        return ""
    return "EVA moves ranks between layers once it has seen data: their sum stays, the parameters may not"


VARIANT = Variant(
    "EVA",
    "Paischer et al., 2024",
    initialise=initialise,
    settings={"redistribute": Setting(float, 1.0, "at least 1", lambda value, _: value >= 1)},
    whole_weights=True,
    keeps_base=True,
    looks_at_batches=True,
    checks=(check,),
    note=note,
)
