"""From a model's configuration to the network, by the module that its class names."""

import importlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from harness.config import ModelConfig, Outputs, Tokens, Transcribed
from harness.model.base import Network, Takes


class ModelModule(Protocol):
    """The interface of a model kind's module; `config` is of that kind's own class."""

    def build(self, config: Any, outputs: Outputs, weights: bool) -> Network:
        """The network with pretrained weights, or with whatever the current device gives."""

    def base_file(self, config: Any) -> Path | None:
        """The verified file of the pretrained weights, or a model's whole folder; None where they are fresh."""

    def tokens(self, config: Any) -> Tokens | None:
        """Return its text format; None if it takes no texts."""

    def transcript_tokens(self, config: Any, characters: str) -> Tokens:
        """The tokens it writes for recordings, in modules whose bases can."""


def build_model(config: ModelConfig, outputs: Outputs, weights: bool = True, *, keep_floats: bool = False) -> Network:
    """A network with pretrained weights and a head, or one for each task.

    With `weights` off it is shapes alone on the meta device, and nothing is downloaded. With `keep_floats` quantised
    layers hold what they were quantised from, until `forget_floats`.

    Raises assets.AssetError if the weights cannot be had or are not what they should be, and ConfigError for attention
    that the architecture does not have, or nothing in it to quantise.
    """
    with nullcontext() if weights else torch.device("meta"):
        network = _module(config).build(config, outputs, weights=weights)
    if config.quantized is not None:
        from harness.model.quantization import quantize  # which imports transformers

        quantize(network, config, keep_floats=keep_floats and weights)
    if config.attends in ("sdpa", "eager"):
        network.use_attention(config.attends)
    return network


def build_shapes(config: ModelConfig, outputs: Outputs) -> Network:
    """The layers of `build_model` without weights; if the model supports it, no numerical library is imported.

    Raises what `build_model` does.
    """
    if config.shapes_module is None or config.quantized is not None:
        return build_model(config, outputs, weights=False)
    with torch.device("meta"):
        made: Network = importlib.import_module(config.shapes_module).shapes(config, outputs)
    return made


def base_file(config: ModelConfig) -> Path | None:
    """The verified file that holds the pretrained weights; None where they are fresh."""
    return _module(config).base_file(config)


def model_tokens(config: ModelConfig, outputs: Outputs | None = None) -> Tokens | None:
    """Return a model's text format, or its transcript format if `outputs` are transcripts; None if it takes none."""
    module = _module(config)
    if isinstance(outputs, Transcribed):
        return module.transcript_tokens(config, outputs.characters)
    return module.tokens(config)


def model_takes(config: ModelConfig) -> Takes:
    """Return the kinds of task that a base supports, if its own files say so (`described_by_files`)."""
    found: Takes = cast(Any, _module(config)).takes(config)
    return found


def _module(config: ModelConfig) -> ModelModule:
    return cast(ModelModule, importlib.import_module(config.module))
