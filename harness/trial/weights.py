"""The weights that a finished trial left: every matrix of the base as it was and as it is."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.base_layers.kinds import is_conv1d
from harness.config import ConfigError
from harness.lora import SpecError, adapted_layers, import_adapter
from harness.lora.adapted import target_name
from harness.model import build_model
from harness.system.hub_models import weight_files
from harness.system.study_files import ADAPTER, WEIGHTS
from harness.trial.trained import BASE, Trained, load_trained


def has_weights(folder: Path) -> bool:
    """Return whether a trial's folder holds changed weights of its base."""
    kept = folder / WEIGHTS
    whole = kept.is_dir() and weight_files(file.name for file in kept.iterdir())
    return (folder / ADAPTER / "adapter_config.json").exists() or (kept / BASE).exists() or bool(whole)


def changed_matrices(trained: Trained) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each matrix that a trial changed: its name, then before and after (O, I), in float64.

    Kernels are one row an output. Raises ConfigError for an adapter of a kind that cannot be read back.
    """
    config, folder = trained.config, trained.folder
    outputs = 0 if config.task.known_outputs == 0 else 1  # of the head, which is not looked at
    base = build_model(config.model, outputs).base.requires_grad_(False).double()
    if (folder / ADAPTER / "adapter_config.json").exists():
        yield from _adapted(base, folder / ADAPTER)
    elif (file := folder / WEIGHTS / BASE).exists():
        yield from _trained(base, load_file(file))
    else:
        yield from _trained(base, load_trained(trained).base.state_dict())


def _adapted(base: nn.Module, folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    try:
        import_adapter(base, folder)
    except SpecError as error:
        raise ConfigError(str(error)) from None
    for name, layer in adapted_layers(base.double()):
        changed = layer.weights()
        for key, update in layer.low_rank():
            yield target_name(name, key), layer.matrix(update), update.where.of(changed[update.where.weight]).detach()


def _trained(base: nn.Module, stored: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    for name, layer in base.named_modules():
        after = stored.get(f"{name}.weight")
        if after is None or after.ndim < 2 or isinstance(layer, nn.Embedding):
            continue
        pair = [tensor.double() for tensor in (layer.get_parameter("weight"), after)]
        before, after = (tensor.t() if is_conv1d(layer) else tensor.flatten(1) for tensor in pair)
        if not torch.equal(before, after):
            yield name, before, after
