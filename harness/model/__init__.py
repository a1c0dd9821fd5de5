"""Pretrained bases with a head on top; each builder loads its own weights."""

from harness.model.text import TARGETS, TextClassifier, build_model, tokenizer_file

__all__ = ["TARGETS", "TextClassifier", "build_model", "tokenizer_file"]
