"""Pretrained networks, and a head on top.

Each kind of model is a module of its own, imported when one is built: only those of transformers import transformers.
"""

from harness.model.base import Heads, Network, TransformersForm
from harness.model.build import base_file, build_model, build_shapes, model_takes, model_tokens
from harness.model.guest import GuestModel, guest_model_class
from harness.model.language_model import language_model
from harness.model.weighting import WEIGHTINGS, GradNorm, Uncertainty, Weighting

__all__ = [
    "WEIGHTINGS",
    "GradNorm",
    "GuestModel",
    "Heads",
    "Network",
    "TransformersForm",
    "Uncertainty",
    "Weighting",
    "base_file",
    "build_model",
    "build_shapes",
    "guest_model_class",
    "language_model",
    "model_takes",
    "model_tokens",
]
