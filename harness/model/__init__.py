"""Pretrained networks, and a head on top."""

from harness.model.base import Network
from harness.model.build import base_file, build_model
from harness.model.recurrent import SpeechClassifier, VoiceEncoder
from harness.model.text import PAD_IDS, TARGETS, TextClassifier, tokenizer_file

__all__ = [
    "PAD_IDS",
    "TARGETS",
    "Network",
    "SpeechClassifier",
    "TextClassifier",
    "VoiceEncoder",
    "base_file",
    "build_model",
    "tokenizer_file",
]
