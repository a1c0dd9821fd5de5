"""Bases in one file, of GGUF or CTranslate2: converted once to a folder as transformers writes it, in the cache.

The file may come in parts, each of a package of its own. Terms of use are kept beside the weights.
"""

import hashlib
import logging
import shutil
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.models.auto import modeling_auto
from transformers.utils import logging as transformers_logging

from harness.config import ConfigError, HfModelConfig
from harness.config.scalars import AssetConfig
from harness.model.addresses import located
from harness.model.ctranslate2 import convert_whisper, is_container
from harness.system import assets
from harness.system.converted import converted

log = logging.getLogger(__name__)

TERMS = "TERMS"
"""The file beside the weights that holds the terms of use, whatever its ending."""

_WRITTEN_BY = "1"  # raise it where a conversion comes to write something else


def converted_folder(config: HfModelConfig) -> Path:
    """The folder that the base's file was converted to.

    Raises ConfigError for a file of no known format, assets.AssetError where it cannot be had or does not fit.
    """
    parts = [AssetConfig(address=str(config.address), sha256=config.sha256), *config.parts]
    pins = [part.sha256 for part in parts]
    # Then it is known before it is fetched: a package's digest is of all that is in it, a file's own of that alone.
    whole = config.needs_gguf or str(config.address).startswith("pypi:")
    if whole and all(isinstance(pin, str) for pin in pins):
        known = "\n".join(f"{part.address.partition('#')[2]} {part.sha256}" for part in parts)
        return _converted(config, hashlib.sha256(known.encode()).hexdigest(), lambda: _fetched(parts))
    files = _fetched(parts)
    beside = [files[0].parent / name for name in ("tokenizer.json", "config.json")]  # of a file of CTranslate2
    said = [assets.sha256_of(file) for file in (*files, *(beside if not config.needs_gguf else ())) if file.is_file()]
    return _converted(config, " ".join(said), lambda: files)


def _fetched(parts: Iterable[AssetConfig]) -> list[Path]:
    return [located(part.address, part.sha256, weights=True) for part in parts]


def _converted(config: HfModelConfig, identity: str, files: Callable[[], list[Path]]) -> Path:
    key = hashlib.sha256(f"{_WRITTEN_BY} {identity}".encode()).hexdigest()[:16]
    made: list[bool] = []

    def make(folder: Path) -> None:
        _convert(config, files, folder)
        made.append(True)

    folder = converted(str(config.address), key, make)
    if made and config.terms is not None:
        (text,) = folder.glob(f"{TERMS}*")
        log.warning(f"model={config.name} is under the {config.use_terms}; their text: {text}")
    return folder


def _convert(config: HfModelConfig, files: Callable[[], list[Path]], folder: Path) -> None:
    parts, whole = files(), folder / "whole"
    with open(whole, "wb") as file:
        for part in parts:
            with open(part, "rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
    with open(whole, "rb") as file:
        start = file.read(4)
    if start != b"GGUF" and not is_container(start):
        rule = f"no GGUF file, and none of CTranslate2; it begins with {start!r}"
        raise ConfigError(f"model.address={config.address}: {rule}")
    log.info("%s: is converted once, and kept in %s", config.address, folder.parents[1])
    if start == b"GGUF":
        _convert_gguf(whole, folder, str(config.address))
    else:
        _convert_whisper(whole, parts[0].parent, folder, str(config.address))
    whole.unlink()
    if config.terms is not None:
        text = assets.fetch(config.terms.text.address, config.terms.text.sha256)
        shutil.copyfile(text, folder / f"{TERMS}{text.suffix}")


def _convert_whisper(file: Path, beside: Path, folder: Path, address: str) -> None:
    transformers_logging.set_verbosity_error()
    try:
        with torch.device("cpu"):
            convert_whisper(file, beside, folder)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(f"model.address={address}: {' '.join(str(error).split())[:300]}") from None


def _convert_gguf(file: Path, folder: Path, address: str) -> None:
    """Weights in float32, configuration and tokenizer of a GGUF file. Raises ConfigError or assets.AssetError."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    where = f"model.address={address}"
    place: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        made = AutoConfig.from_pretrained(file.parent, **place)
        # Counting builds networks without memory; of a damaged file numpy warns, and the check below says more.
        with torch.device("cpu"), np.errstate(all="ignore"):
            network, report = _class_of(made).from_pretrained(
                file.parent, dtype=torch.float32, output_loading_info=True, **place
            )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **place)
    except (struct.error, ValueError, LookupError, TypeError, RuntimeError, OSError, ImportError) as error:
        raise ConfigError(f"{where}: transformers cannot read it: {' '.join(str(error).split())[:300]}") from None
    if absent := [*report["missing_keys"], *report["mismatched_keys"]]:
        raise assets.AssetError(f"{address}: no fitting weights for {', '.join(map(str, sorted(absent)[:3]))}")
    if broken := [name for name, tensor in network.named_parameters() if not tensor.isfinite().all()]:
        raise assets.AssetError(f"{address}: damaged, or its parts are not in order: {broken[0]} is not finite")
    # They are floats now. What transformers thinks of them keeps it from saving them.
    network.hf_quantizer = None
    del network.config.quantization_config
    network.config.architectures = [type(network).__name__]
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _class_of(made: Any) -> Any:
    if made.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    writes = made.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return AutoModelForCausalLM if writes else AutoModel
