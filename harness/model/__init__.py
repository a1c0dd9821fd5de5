"""Pretrained networks, and a head on top."""

from harness.model.base import Heads, Network, Outputs, Uncertainty
from harness.model.build import base_file, build_model
from harness.model.generator import GENERATOR_TARGETS, Generator, generator_folder, save_generator, special_tokens_of
from harness.model.masked import SPECIALS, MaskedHead, mask_id, masked_head
from harness.model.recurrent import SpeechClassifier, VoiceEncoder
from harness.model.text import PAD_IDS, TARGETS, TextClassifier, tokenizer_file

__all__ = [
    "GENERATOR_TARGETS",
    "PAD_IDS",
    "SPECIALS",
    "TARGETS",
    "Generator",
    "Heads",
    "MaskedHead",
    "Network",
    "Outputs",
    "SpeechClassifier",
    "TextClassifier",
    "Uncertainty",
    "VoiceEncoder",
    "base_file",
    "build_model",
    "generator_folder",
    "mask_id",
    "masked_head",
    "save_generator",
    "special_tokens_of",
    "tokenizer_file",
]
