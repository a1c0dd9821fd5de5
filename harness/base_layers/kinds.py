"""Which of transformers' own layers a module is, by what it has, so that transformers is not imported."""

from torch import nn


def is_conv1d(layer: nn.Module) -> bool:
    """Whether a layer is transformers' Conv1D: a linear layer under another name, its weight (I, O)."""
    return type(layer).__name__ == "Conv1D" and isinstance(getattr(layer, "weight", None), nn.Parameter)


def is_experts(layer: nn.Module) -> bool:
    """Whether a layer is a mixture's experts as transformers fuses them: a matrix for each in every weight."""
    return hasattr(layer, "num_experts") and hasattr(layer, "is_transposed")
