"""Any image network of timm: built and loaded by timm itself, its classifier left out, with a fresh head."""

import pickle
import sys
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from harness.config import ConfigError, Outputs, TimmModelConfig, nearest
from harness.model.addresses import located
from harness.model.base import Takes, linear, make_head
from harness.model.roles import targets_of
from harness.model.vision import VisionClassifier
from harness.system import assets, hub_models


def build(config: TimmModelConfig, outputs: Outputs, weights: bool) -> VisionClassifier:
    """A classifier, as harness.model.build says."""
    from timm.data.config import resolve_model_data_config  # a second of import that other models need not wait for

    base = _base(config, _file(config) if weights and config.address is not None else None)
    made: Any = base
    facts: dict[str, Any] = resolve_model_data_config(base)  # type: ignore[no-untyped-call]
    head = make_head(outputs, partial(linear, getattr(made, "head_hidden_size", None) or made.num_features))
    return VisionClassifier(base.train(), head, targets_of(base), facts["mean"], facts["std"])


def base_file(config: TimmModelConfig) -> Path | None:
    """The file of the pretrained weights; None where they are fresh."""
    return None if config.address is None else _file(config)


def tokens(_: TimmModelConfig) -> None:
    """It takes no texts."""


def takes(config: TimmModelConfig) -> Takes:
    """Images, of one size where the network has a table of positions."""
    import timm

    facts = timm.get_pretrained_cfg(config.architecture)
    size = (
        None if facts is None or config.image_size is not None or not facts.fixed_input_size else facts.input_size[-1]
    )
    return Takes(str(config.address), config.architecture, ("vision",), size)


def _base(config: TimmModelConfig, file: Path | None) -> nn.Module:
    import timm

    name = config.architecture
    if name not in timm.list_models() and not timm.is_model(name):
        raise ConfigError(f"model.architecture={name}: timm has no such network{nearest(name, timm.list_models())}")
    keys: dict[str, Any] = {} if config.image_size is None else {"img_size": config.image_size}
    try:
        made: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **keys)
    except TypeError:
        if config.image_size is None:
            raise
        raise ConfigError(f"model.image_size={config.image_size}: {name} takes images of any size; null") from None
    if file is not None:
        _load(made, file, config)
    return made


def _load(base: Any, file: Path, config: TimmModelConfig) -> None:
    """The file's tensors as timm reads them, each in its place; the classifier's are left out."""
    from timm.models import load_state_dict

    where = f"{config.address}: not the weights of {config.architecture}"
    try:
        stored = load_state_dict(str(file), device="cpu", weights_only=True)
        # An architecture's own: it renames older files' tensors, and resamples a table of positions.
        if (reads := getattr(sys.modules[type(base).__module__], "checkpoint_filter_fn", None)) is not None:
            stored = reads(stored, base)
        names = base.pretrained_cfg.get("classifier") or ()
        heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
        stored = {name: tensor for name, tensor in stored.items() if not name.startswith(heads)}
        missing, left = base.load_state_dict(stored, strict=False)
    except (RuntimeError, OSError, KeyError, pickle.UnpicklingError, SafetensorError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise assets.AssetError(f"{where}: {' '.join(lines[:3])[:300]}") from None
    for what, found in (("no", missing), ("no place for", left)):
        if wrong := [name for name in found if not name.endswith("num_batches_tracked")]:
            raise assets.AssetError(f"{where}: {what} {', '.join(wrong[:3])}")


def _file(config: TimmModelConfig) -> Path:
    assert config.address is not None
    found = located(config.address, config.sha256, weights=True)
    if found.is_file():
        return found
    names = hub_models.weight_files(file.name for file in found.iterdir())
    if len(names) != 1:
        raise assets.AssetError(f"{config.address}: no model.safetensors and no pytorch_model.bin in it")
    return found / names[0]
