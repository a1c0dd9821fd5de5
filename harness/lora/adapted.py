"""The adapted layers and the updates inside a network: found by name, counted, replaced."""

from collections.abc import Iterator

from torch import nn

from harness.lora.layers import Adapted
from harness.lora.update import LowRankUpdate


def adapted_layers(network: nn.Module) -> Iterator[tuple[str, Adapted]]:
    """Every adapted layer inside `network`, by name."""
    return ((name, module) for name, module in network.named_modules() if isinstance(module, Adapted))


def named_updates(network: nn.Module) -> Iterator[tuple[str, LowRankUpdate]]:
    """Every update by the name of its target."""
    for module, layer in adapted_layers(network):
        for name, update in layer.low_rank():
            yield target_name(module, name), update


def layer_updates(network: nn.Module) -> Iterator[tuple[Adapted, LowRankUpdate]]:
    """Every update beside the layer that it changes."""
    return ((layer, update) for _, layer in adapted_layers(network) for _, update in layer.low_rank())


def updates_of(network: nn.Module) -> Iterator[LowRankUpdate]:
    """Every low-rank update inside `network`."""
    return (module for module in network.modules() if isinstance(module, LowRankUpdate))


def adapter_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """Every parameter of every update inside `network`, trained or not."""
    return (tensor for update in updates_of(network) for tensor in update.parameters())


def target_name(module: str, key: str) -> str:
    """The name of an update's target: the module, or the part of it."""
    return module if key == "all" else f"{module}.{key}"


def replace(base: nn.Module, name: str, layer: nn.Module) -> None:
    """Put `layer` where the module of that name is."""
    parent, _, child = name.rpartition(".")
    setattr(base.get_submodule(parent), child, layer)
