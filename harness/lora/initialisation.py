"""Where A and B begin, for the variants that look at the weights, the inputs or the gradients first.

Shapes: I inputs, O outputs, R rank, N samples of a layer's input.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.lora.inject import adapted_layers, named_updates, replace
from harness.lora.layers import Adapted, LoraLinear
from harness.lora.spec import LoraSpec
from harness.lora.update import LowRankUpdate

Feed = Callable[[bool], None]
"""Runs some training batches through the network; if asked, with a backward pass of their mean loss."""

GAMMA = 16.0
"""LoRA-GA's γ: the start's size is the fourth root of O over √γ (Wang et al., 2024)."""


class StartError(Exception):
    """What the data showed is not enough for a start: a matter of this trial, not of its configuration."""


def initialise(base: nn.Module, spec: LoraSpec, feed: Feed) -> dict[str, int]:
    """Give every pair of an adapted network the start its variant asks for; the network's output stays as it was.

    Returns {site: rank} where EVA redistributed the ranks, else nothing. Raises StartError where the
    data do not carry it.
    """
    match spec.way.start:
        case "pissa":
            for layer, pair in _pairs(base):
                _pissa(layer.matrix(pair), pair)
        case "olora":
            for layer, pair in _pairs(base):
                _olora(layer.matrix(pair), pair)
        case "lora_ga":
            _lora_ga(base, feed)
        case "eva":
            _eva(base, spec.redistribute, feed)
    return ranks_of(base) if spec.redistribute > 1 else {}


def ranks_of(base: nn.Module) -> dict[str, int]:
    """{site: rank} of an adapted network, sites named as `adapt` names them."""
    return {name: pair.rank for name, pair in named_updates(base)}


def _pairs(base: nn.Module) -> Iterator[tuple[Adapted, LowRankUpdate]]:
    return ((layer, pair) for _, layer in adapted_layers(base) for _, pair in layer.low_rank())


def _pissa(matrix: Tensor, pair: LowRankUpdate) -> None:
    """B√s, √s·A are the leading singular triplets of W, so that s·BA is W's best approximation of rank R.

    Meng et al., 2024, equations 2 to 4.
    """
    u, values, vh = torch.linalg.svd(matrix.float(), full_matrices=False)
    root = (values[: pair.rank] / pair.scale).sqrt()
    pair.split_off(matrix, root[:, None] * vh[: pair.rank], u[:, : pair.rank] * root)


def _olora(matrix: Tensor, pair: LowRankUpdate) -> None:
    """B and A are the first R columns of Q and rows of the triangle in W = QR (Büyükakyüz, 2024, section 3)."""
    q, triangle = torch.linalg.qr(matrix.float())
    pair.split_off(matrix, triangle[: pair.rank], q[:, : pair.rank])


def _lora_ga(base: nn.Module, feed: Feed) -> None:
    """A and B are singular vectors 1…R and R+1…2R of the loss's first gradient (Wang et al., 2024).

    As in the paper; PEFT's form of it multiplies B by the singular values too.
    """
    weights = {
        id(weight): weight for layer, pair in _pairs(base) for weight in [layer.base.get_parameter(pair.where.weight)]
    }
    for weight in weights.values():
        weight.requires_grad_(True)
    feed(True)
    for layer, pair in _pairs(base):
        gradient = layer.base.get_parameter(pair.where.weight).grad
        if gradient is None:
            raise StartError("lora_ga: a targeted layer gets no gradient")
        u, _, vh = torch.linalg.svd(pair.where.of(gradient).float(), full_matrices=False)
        size = len(u) ** 0.25 / GAMMA**0.5
        pair.split_off(layer.matrix(pair), size * vh[: pair.rank], size * u[:, pair.rank : 2 * pair.rank])
    for weight in weights.values():
        weight.requires_grad_(False)
        weight.grad = None
    base.zero_grad()


def _eva(base: nn.Module, most: float, feed: Feed) -> None:
    """A holds the leading principal directions of the layer's input (Paischer et al., 2024, section 3).

    With `most` above 1 ranks are redistributed: the components of all layers compete by the share of their layer's
    variance that they explain, a layer gets at most `most` times its rank, and the sum stays what it was. Every
    position of a batch counts, the padding of shorter rows too.
    """
    layers = dict(adapted_layers(base))
    with _gathered(layers) as seen, torch.no_grad():
        feed(False)
    vectors, shares, allotted = {}, {}, {}
    for name, layer in layers.items():
        _, values, vh = torch.linalg.svd(seen[name].triangle, full_matrices=False)
        explained = values.square() / values.square().sum()
        for key, pair in layer.low_rank():
            limit = min(max(pair.rank, round(most * pair.rank)), min(pair.lora_B.shape[0], len(vh)))
            if limit < pair.rank:
                raise StartError(f"eva: {len(vh)} directions in the input of {name}, rank {pair.rank}")
            vectors[name, key], shares[name, key], allotted[name, key] = vh, explained[:limit], pair.rank
    ranks = _redistributed(shares, sum(allotted.values())) if most > 1 else allotted
    for (name, key), rank in ranks.items():
        _set_rank(base, name, key, rank, vectors[name, key])


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
    pair = layer.pairs[key]
    assert isinstance(pair, LowRankUpdate)
    if rank == 0:
        del layer.pairs[key]
        if not layer.pairs:
            replace(base, name, layer.base)
        return
    trained = pair.lora_A.requires_grad
    pair.lora_A = nn.Parameter(vectors[:rank].to(pair.lora_A.dtype).contiguous(), requires_grad=trained)
    pair.lora_B = nn.Parameter(pair.lora_B.new_zeros(len(pair.lora_B), rank))
    pair.active = rank


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
    """What each layer is fed inside the context."""
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
