"""Merging: the change of every update written into its frozen weight, or left out; both undone bit for bit."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness.base_layers.quantized import QuantizedLinear
from harness.lora.adapted import adapted_layers, replace
from harness.lora.layers import Adapted


@torch.no_grad()
def merge(network: nn.Module) -> Callable[[], None]:
    """Put every adapted layer's base back in its place with the changed weights; returns what undoes it.

    The sum is made in float32 (or float64, if the weights are), whatever the type of the weights. The originals are
    kept until undone: subtracting the change would not give them back exactly. A weight of few bits becomes one of
    floats: rounded to few bits again, it would lose most of the change. What belongs to tasks: MTL-LoRA's change
    is merged for the one task that the route names, of a fork's updates (MTLoRA's too) the shared ones only.
    """
    layers = dict(adapted_layers(network))
    kept: list[tuple[nn.Parameter, Tensor]] = []
    for name, layer in layers.items():
        changed = _merged_weights(layer)
        if isinstance(layer.base, QuantizedLinear):
            replace(network, name, layer.base.in_floats(changed["weight"]))
            continue
        for key, weight in changed.items():
            parameter = layer.base.get_parameter(key)
            kept.append((parameter, parameter.data))
            parameter.data = weight
        replace(network, name, layer.merged())

    def undo() -> None:
        for parameter, original in kept:
            parameter.data = original
        for name, layer in layers.items():
            replace(network, name, layer)

    return undo


def _merged_weights(layer: Adapted) -> dict[str, Tensor]:
    """The changed weights in the type of the frozen ones; the updates, which may have more bits, stay as they are."""
    own = layer.matrix(layer.low_rank()[0][1]).dtype
    if own not in (torch.bfloat16, torch.float16):
        return layer.weights()
    layer.base.float()
    changed = {key: weight.to(own) for key, weight in layer.weights().items()}
    layer.base.to(own)
    return changed


def bare(network: nn.Module) -> Callable[[], None]:
    """Put every adapted layer's base back in its place as it is: no adapters are left; returns what undoes it."""
    layers = dict(adapted_layers(network))
    for name, layer in layers.items():
        replace(network, name, layer.base)

    def undo() -> None:
        for name, layer in layers.items():
            replace(network, name, layer)

    return undo
