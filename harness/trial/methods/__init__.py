"""Methods of training a base, one file for each kind of `lora`; a built method answers for itself."""

from harness.trial.methods.base import Method
from harness.trial.methods.build import build_method

__all__ = ["Method", "build_method"]
