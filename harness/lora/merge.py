"""Merging: the change of every update written into its frozen weight, or left out; both undone bit for bit."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness.lora.adapted import adapted_layers, replace


@torch.no_grad()
def merge(network: nn.Module) -> Callable[[], None]:
    """Put every adapted layer's base back in its place with the changed weights; returns what undoes it.

    The sum is made in float32 (or float64, if the weights are), whatever the type of the weights. The originals are
    kept until undone: subtracting the change would not give them back exactly. What belongs to tasks: MTL-LoRA's change
    is merged for the one task that the route names, of a fork's updates (MTLoRA's too) the shared ones only.
    """
    layers = dict(adapted_layers(network))
    kept: list[tuple[nn.Parameter, Tensor]] = []
    for name, layer in layers.items():
        own = next(layer.parameters()).dtype
        if own in (torch.bfloat16, torch.float16):
            layer.float()
        changed = {key: weight.to(own) for key, weight in layer.weights().items()}
        layer.to(own)
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


def bare(network: nn.Module) -> Callable[[], None]:
    """Put every adapted layer's base back in its place as it is: no adapters are left; returns what undoes it."""
    layers = dict(adapted_layers(network))
    for name, layer in layers.items():
        replace(network, name, layer.base)

    def undo() -> None:
        for name, layer in layers.items():
            replace(network, name, layer)

    return undo
