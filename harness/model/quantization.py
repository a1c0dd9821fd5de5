"""Quantisation of a base: which layers are held in few bits, and how they are quantised."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from torch import nn
from transformers import PreTrainedModel

from harness.base_layers.quantized import QuantizedLinear, Scheme
from harness.config import ConfigError, ModelConfig
from harness.model.base import Network


def quantize(network: Network, config: ModelConfig, *, keep_floats: bool = False) -> None:
    """Quantise the linear layers of a network's base as its configuration says, one after another.

    With `keep_floats` each holds its weight as it was, too, in the file that it was read from where it can be.

    As in transformers, its output layer and the weights that it keeps in float32 are unchanged, and so are weights that
    two modules share. Raises ConfigError for a pattern of `quantization_skip` that matches none, where none is left,
    and for a layer whose weights the scheme cannot hold.
    """
    assert config.quantized is not None
    base = network.base
    layers = dict(_layers(base))
    if not layers:
        raise ConfigError(f"model.quantization={config.quantized}: model={config.name} has no linear layer for it")
    kept = _skipped(config.quantization_skip, list(layers))
    if len(kept) == len(layers):
        raise ConfigError("model.quantization_skip: it leaves no layer to quantise; model.quantization=null")
    for name, layer in layers.items():
        if name not in kept:
            made = _quantized(name, layer, config.quantized)
            made.floats = layer.weight.detach() if keep_floats else None
            base.set_submodule(name, made)
    # Read from safetensors, they are views of one mapped file, which would keep the weights in floats in memory.
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()


def _quantized(name: str, layer: nn.Linear, scheme: Scheme) -> QuantizedLinear:
    try:
        return QuantizedLinear(layer, scheme)
    except OverflowError as error:
        raise ConfigError(
            f"model.quantization={scheme}: {name}: {error}; model.quantization_skip=[{name}] leaves it in floats"
        ) from None


def _layers(base: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers that can be, by name: those whose module is called, and whose weight is no other's too."""
    uses = Counter(id(tensor) for _, tensor in base.named_parameters(remove_duplicate=False))
    output: nn.Module | None = None
    exact: set[str] = set()
    if isinstance(base, PreTrainedModel):
        output, exact = base.get_output_embeddings(), set(base._keep_in_fp32_modules or ())
    for name, layer in base.named_modules():
        # Of a subclass, such as the output projection of nn.MultiheadAttention, others read the weight.
        if type(layer) is not nn.Linear or layer is output or uses[id(layer.weight)] > 1:
            continue
        if not exact & set(name.split(".")):
            yield name, layer


def _skipped(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    kept: set[str] = set()
    for pattern in patterns:
        try:
            found = {name for name in names if re.fullmatch(pattern, name)}
        except re.error as error:
            raise ConfigError(f"model.quantization_skip: pattern {pattern}: {error}") from None
        if not found:
            raise ConfigError(
                f"model.quantization_skip: pattern {pattern} matches no linear layer; a layer's name: {names[0]}"
            )
        kept |= found
    return kept
