"""The configuration of every kind of model: what it answers without torch."""

import sys
from typing import TYPE_CHECKING

from harness.config.models.base import ModelConfig, Tokens
from harness.config.registry import classes_in, union_of

MODELS: dict[str, type[ModelConfig]] = classes_in(sys.modules[__name__], ModelConfig, "kind")
"""The configuration class of each kind."""

if TYPE_CHECKING:
    AnyModel = ModelConfig
else:
    AnyModel = union_of(MODELS, "kind")

__all__ = ["MODELS", "AnyModel", "ModelConfig", "Tokens"]
