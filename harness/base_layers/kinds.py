"""Detection of transformers' own layer types by their attributes, without importing transformers."""

from torch import nn


def is_conv1d(layer: nn.Module) -> bool:
    """Return whether a layer is transformers' Conv1D: a linear layer with a transposed weight (I, O)."""
    return type(layer).__name__ == "Conv1D" and isinstance(getattr(layer, "weight", None), nn.Parameter)


def is_experts(layer: nn.Module) -> bool:
    """Return whether a layer holds a mixture's experts as transformers fuses them: one matrix per expert in every
    weight.
    """
    return hasattr(layer, "num_experts") and hasattr(layer, "is_transposed")
