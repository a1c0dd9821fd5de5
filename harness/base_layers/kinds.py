"""Detection of transformers' own layer types by their attributes, without importing transformers."""

from torch import nn


def is_conv1d(layer: nn.Module) -> bool:
    """Return whether a layer is transformers' Conv1D: a linear layer with a transposed weight (I, O)."""
    return type(layer).__name__ == "Conv1D" and isinstance(getattr(layer, "weight", None), nn.Parameter)


_MAMBAS = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")


def is_read_only(base: nn.Module, name: str) -> bool:
    """Return whether a layer in a network of transformers is one that the kernels of Mamba read without calling it.

    Those that PEFT (0.21) refuses to adapt.
    """
    kind = getattr(getattr(base, "config", None), "model_type", None)
    return kind in _MAMBAS and name.rpartition(".")[2] in ("out_proj", "conv1d")


def is_experts(layer: nn.Module) -> bool:
    """Return whether a layer holds a mixture's experts as transformers fuses them: one matrix per expert in every
    weight.
    """
    return hasattr(layer, "num_experts") and hasattr(layer, "is_transposed")
