"""Pretrained networks, and a head on top."""

from harness.model.base import Heads, Network, Uncertainty
from harness.model.build import base_file, build_model, model_takes, model_tokens
from harness.model.generator import GENERATOR_TARGETS, Generator, save_generator, special_tokens_of
from harness.model.guest import GuestModel, guest_model_class
from harness.model.masked import SPECIALS, MaskedHead, mask_id, masked_head
from harness.model.recurrent import SpeechClassifier, VoiceEncoder
from harness.model.text import PAD_IDS, TARGETS, TextClassifier, tokenizer_file

__all__ = [
    "GENERATOR_TARGETS",
    "PAD_IDS",
    "SPECIALS",
    "TARGETS",
    "Generator",
    "GuestModel",
    "Heads",
    "MaskedHead",
    "Network",
    "SpeechClassifier",
    "TextClassifier",
    "Uncertainty",
    "VoiceEncoder",
    "base_file",
    "build_model",
    "guest_model_class",
    "mask_id",
    "masked_head",
    "model_takes",
    "model_tokens",
    "save_generator",
    "special_tokens_of",
    "tokenizer_file",
]
