"""From a model's configuration to the network, by its kind."""

from pathlib import Path

import torch

from harness.config import GeneratorModelConfig, ModelConfig, SpeechModelConfig, TextModelConfig, VisionModelConfig
from harness.model.base import Network, Outputs
from harness.model.generator import build_generator, generator_file
from harness.model.recurrent import build_speech, speech_base_file
from harness.model.text import build_text, text_base_file
from harness.model.vision import build_vision, vision_file


def build_model(config: ModelConfig, outputs: Outputs, weights: bool = True) -> Network:
    """A network with pretrained weights and a head, or one for each task.

    With `weights` off it is shapes alone on the meta device, and nothing is downloaded.

    Raises assets.AssetError if the weights cannot be had or are not what they should be.
    """
    if not weights:
        with torch.device("meta"):
            return _build(config, outputs, weights=False)
    return _build(config, outputs, weights=True)


def _build(config: ModelConfig, outputs: Outputs, weights: bool) -> Network:
    match config:
        case TextModelConfig():
            return build_text(config, outputs, weights)
        case VisionModelConfig():
            return build_vision(config, outputs, weights)
        case SpeechModelConfig():
            return build_speech(config, outputs, weights)
        case GeneratorModelConfig():
            return build_generator(config, weights)


def base_file(config: ModelConfig) -> Path | None:
    """The verified file that holds the pretrained weights; null where they are fresh."""
    match config:
        case TextModelConfig():
            return text_base_file(config)
        case VisionModelConfig():
            return vision_file(config)
        case SpeechModelConfig():
            return speech_base_file(config)
        case GeneratorModelConfig():
            return generator_file(config)
