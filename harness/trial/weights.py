"""The weights that a finished trial left: every matrix of the base as it was and as it is."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.config import Config, ConfigError, check, read_stored
from harness.lora import SpecError, adapted_layers, import_adapter
from harness.lora.adapted import is_transposed, target_name
from harness.model import build_model
from harness.system.study_files import ADAPTER, CONFIG, WEIGHTS

BASE = "base.safetensors"
"""Of a trial without an adapter: what it trained of the base."""


def has_weights(folder: Path) -> bool:
    """Whether a trial's folder holds changed weights of its base."""
    return (folder / ADAPTER / "adapter_config.json").exists() or (folder / WEIGHTS / BASE).exists()


def trial_config(folder: Path) -> Config:
    """The configuration of a trial by its folder. Raises ConfigError where it is not there or not valid any more."""
    path = folder / CONFIG
    if not path.exists():
        raise ConfigError(f"{path}: no such file; the trial's result was looked up, or its folder is gone")
    return check(read_stored(path))


def changed_matrices(config: Config, folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each matrix that a trial changed: its name, then before and after (O, I), in float64.

    Kernels are one row an output. Raises ConfigError for an adapter of a kind that cannot be read back.
    """
    outputs = 0 if config.task.known_outputs == 0 else 1  # of the head, which is not looked at
    base = build_model(config.model, outputs).base.requires_grad_(False).double()
    if (folder / ADAPTER / "adapter_config.json").exists():
        yield from _adapted(base, folder / ADAPTER)
    else:
        yield from _trained(base, folder / WEIGHTS / BASE)


def _adapted(base: nn.Module, folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    try:
        import_adapter(base, folder)
    except SpecError as error:
        raise ConfigError(str(error)) from None
    for name, layer in adapted_layers(base.double()):
        changed = layer.weights()
        for key, update in layer.low_rank():
            yield target_name(name, key), layer.matrix(update), update.where.of(changed[update.where.weight]).detach()


def _trained(base: nn.Module, file: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    stored = load_file(file)
    for name, layer in base.named_modules():
        after = stored.get(f"{name}.weight")
        if after is None or after.ndim < 2 or isinstance(layer, nn.Embedding):
            continue
        pair = [tensor.double() for tensor in (layer.get_parameter("weight"), after)]
        before, after = (tensor.t() if is_transposed(layer) else tensor.flatten(1) for tensor in pair)
        if not torch.equal(before, after):
            yield name, before, after
