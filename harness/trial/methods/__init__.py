"""What can be trained of a base, one file a kind of `lora`: each method answers for itself once it is built."""

from harness.trial.methods.base import Method
from harness.trial.methods.build import build_method

__all__ = ["Method", "build_method"]
