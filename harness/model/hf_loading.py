"""A model's folder: found, read as transformers reads it, and its weights put in their places, each of them."""

import inspect
import logging
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto import modeling_auto
from transformers.utils import logging as transformers_logging

from harness.config import ConfigError, HfModelConfig
from harness.config.models.hf import NO_ADDRESS, read_config_json
from harness.model.addresses import located
from harness.model.hf_files import converted_folder
from harness.model.hf_heads import inner_name
from harness.model.hf_tokens import pad_of
from harness.system import assets, hub_models

log = logging.getLogger(__name__)


def base_folder(config: HfModelConfig, *, weights: bool) -> Path:
    """The folder of the base; without `weights` it need hold config.json alone.

    Raises ConfigError for a folder that is none of a model, and where a repository has changed since its first use;
    assets.AssetError where it cannot be had.
    """
    if config.address is None:
        raise ConfigError(NO_ADDRESS)
    if config.address.startswith("pypi:") and config.sha256 is None:
        raise ConfigError(f"model.sha256: missing; model.address={config.address} needs its archive's SHA-256")
    if terms := config.terms_mistakes():
        raise ConfigError(*terms)
    if config.is_one_file:
        return converted_folder(config)
    folder = located(config.address, config.sha256, weights=weights)
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
    if getattr(made, "quantization_config", None) is not None:
        raise ConfigError(f"{where} has quantization_config: quantised weights are not read; give the base in floats")
    if config.dropout is not None:
        _set_dropout(made, config.dropout)
    text = made.get_text_config()
    if hasattr(text, "vocab_size"):  # a head may look for the last token before what pads
        said = getattr(text, "pad_token_id", None)
        text.pad_token_id = said if isinstance(said, int) and said >= 0 else pad_of(folder, made)
    return made


def _set_dropout(made: PreTrainedConfig, share: float) -> None:
    """Every probability of dropping numbers; those of dropping layers or masking inputs are other things."""
    for key, value in made.to_dict().items():
        if re.search(r"drop(out)?(_prob|_rate|$)|_p?drop$", key) and "layer" not in key and _is_share(value):
            setattr(made, key, share)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def load_network(
    config: HfModelConfig,
    kind: Any,
    made: PreTrainedConfig,
    folder: Path | None,
    *,
    pooler: bool = True,
    whole_is_base: bool = False,
) -> PreTrainedModel:
    """A network of a class of transformers: with the folder's weights, each in its place, or as it is initialised."""
    where = str(config.address)
    try:
        exact = kind._model_mapping[type(made)]
    except KeyError:
        raise ConfigError(f"model.address={where}: {made.model_type} has no class for this task") from None
    if isinstance(exact, tuple):  # some architectures have several classes for a task
        exact = next((each for each in exact if each.__name__ in (made.architectures or ())), exact[0])
    without = {} if pooler or "add_pooling_layer" not in inspect.signature(exact).parameters else _NO_POOLER
    if folder is None:
        try:
            built: PreTrainedModel = exact._from_config(made, dtype=getattr(torch, config.dtype), **without)
        except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, ImportError, RuntimeError) as error:
            said = " ".join(str(error).split())[:300]
            raise ConfigError(f"model.address={where}: config.json: {said}") from None
        built.train()
        return built
    try:
        whole, report = exact.from_pretrained(
            folder,
            config=made,
            dtype=getattr(torch, config.dtype),
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
    except (OSError, RuntimeError, SafetensorError, ValueError, ImportError) as error:
        raise assets.AssetError(f"{where}: {' '.join(str(error).split())[:300]}") from None
    bare = kind in (AutoModel, AutoModelForTextEncoding)
    _check_loaded(whole, report, where, bare=bare, all_of_it=whole_is_base or config.head == "stored")
    loaded: PreTrainedModel = whole.train()  # transformers hands it out in evaluation mode: dropout would be off
    return loaded


def main_input(made: PreTrainedConfig) -> str | None:
    """Return the first input of AutoModel's network: input_ids, pixel_values, …; None if there is none."""
    known: Any = AutoModel._model_mapping
    if type(made) not in known:
        return None
    kind = known[type(made)]
    return getattr(kind[0] if isinstance(kind, tuple) else kind, "main_input_name", None)


def reload(whole: PreTrainedModel, folder: Path) -> None:
    """Take over all weights that `whole.save_pretrained` wrote, under whatever names they are stored.

    Raises AssetError where one has no place or is missing.
    """
    kind: Any = type(whole)
    stored, report = kind.from_pretrained(
        folder,
        config=whole.config,
        generation_config=GenerationConfig(),  # of a language model: its file may not be there
        dtype=next(whole.parameters()).dtype,
        local_files_only=True,
        output_loading_info=True,
    )
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if wrong:
        raise assets.AssetError(f"{folder}: not the weights of this network: {_some(list(map(str, wrong)))}")
    whole.load_state_dict(stored.state_dict())


_NO_POOLER = {"add_pooling_layer": False}


def _check_loaded(whole: PreTrainedModel, report: dict[str, Any], where: str, *, bare: bool, all_of_it: bool) -> None:
    """Raise AssetError for tensors that are missing, of another shape, or left over; with `all_of_it` a head's, too.

    A `bare` network is a base alone, whatever its parts are called.

    Tensors of heads for other tasks are dropped, and named in the log.
    """
    name = "" if bare else inner_name(whole)
    prefix, is_base = f"{name or whole.base_model_prefix}.", not name
    if is_base and hasattr(whole, whole.base_model_prefix):  # a part of the base that has the prefix for its name
        prefix = ""

    def of_base(name: str) -> bool:
        return is_base or all_of_it or name.startswith(prefix)

    shapes = [f"{key[0]} {tuple(key[1])} for {tuple(key[2])}" for key in report["mismatched_keys"] if of_base(key[0])]
    missing = [key for key in report["missing_keys"] if of_base(key)]
    for what, names in (("no weights for", missing), ("weights of another shape for", shapes)):
        if names:
            raise assets.AssetError(f"{where}: {what} {_some(names)}{_way(names, all_of_it)}")
    parts = {child for child, _ in whole.get_submodule(name).named_children()}
    left = sorted(name.removeprefix(prefix) for name in report["unexpected_keys"])
    over = [name for name in left if name.partition(".")[0] in parts]
    if over:
        raise assets.AssetError(f"{where}: no place for {_some(over)}; config.json describes another network")
    if left:
        log.info("%s: weights of other heads are dropped: %s", where, _some(list(dict.fromkeys(map(_head_of, left)))))


def _way(names: Iterable[str], all_of_it: bool) -> str:
    if all("pooler" in name for name in names):
        return "; model.pooling=mean or first reads no pooler"
    return "; model.head=fresh needs no classifier of the folder's" if all_of_it else ""


def _head_of(name: str) -> str:
    return ".".join(name.split(".")[:2]) if name.count(".") > 1 else name.partition(".")[0]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
