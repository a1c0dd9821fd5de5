"""The config.json beside a base's weights, compared with the network that is built for them.

Networks are built from `model.shape` and what their family has in common; whatever else the file asks for would be
computed otherwise than its author did, so it is refused, key by key.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, PreTrainedConfig
from transformers.utils import logging as transformers_logging

from harness.config import ConfigError

# Neither changes what is computed from tokens to hidden states and logits: notes on the file, how weights began, what
# other heads and other ways to write would use. Dropout is the trial's own, under whatever name it goes.
_WITHOUT_EFFECT = {
    *("architectures", "dtype", "torch_dtype", "id2label", "label2id", "num_labels", "problem_type", "tokenizer_class"),
    *("name_or_path", "model_max_length", "finetuning_task", "task_specific_params", "prefix", "directionality"),
    *("transformers_version", "transformers.js_config", "sentence_transformers", "attn_implementation"),
    *("initializer_range", "initializer_factor", "init_std"),
    *("use_cache", "output_past", "gradient_checkpointing", "torchscript", "use_bfloat16", "return_dict"),
    *("output_attentions", "output_hidden_states", "chunk_size_feed_forward", "keys_to_ignore_at_inference"),
    *("n_ctx", "n_special", "predict_special_tokens"),  # of GPT-2's first releases
    *(f"pooler_{key}" for key in ("fc_size", "num_attention_heads", "num_fc_layers", "size_per_head", "type")),
    *(f"summary_{key}" for key in ("type", "use_proj", "activation", "proj_to_labels")),
    *("sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id"),
    *GenerationConfig().to_dict(),
}
# What a decoder starts from and ends with is part of every target; RoBERTa counts positions from its padding.
_MARKS = {"eos_token_id", "decoder_start_token_id"}
_OWN_MARKS = {"bert": set(), "roberta": {"pad_token_id"}, "gpt2": _MARKS, "t5": _MARKS, "marian": _MARKS}
# Values of keys that the configuration's class no longer knows, where they say what is computed anyway.
_AS_BUILT = {"position_embedding_type": "absolute", "static_position_embeddings": True}
_WITHOUT_POSITIONS = {"t5": {"n_positions"}}

_SHAPE = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers"),
    "decoder_layers": ("num_decoder_layers", "decoder_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "encoder_attention_heads", "decoder_attention_heads"),
    "head_size": ("d_kv",),
    "ffn": ("intermediate_size", "n_inner", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"),
    "vocabulary": ("vocab_size", "decoder_vocab_size"),
    "positions": ("max_position_embeddings", "n_positions"),
    "types": ("type_vocab_size",),
}
_SHAPE_KEYS = {key: name for name, keys in _SHAPE.items() for key in keys}

_agree: set[tuple[Path, int, int, str]] = set()
"""Files, when they were changed and how large they are, and what of this process's networks they describe."""


def check_config_file(folder: Path, built: PreTrainedConfig, model: str, address: str) -> None:
    """Raise ConfigError where the folder's config.json, if there is one, does not describe the network `built`.

    Every key that disagrees has a line. A key that the file leaves out has transformers' own default.
    """
    path = folder / "config.json"
    if not path.is_file():
        return
    this = (path, path.stat().st_mtime_ns, path.stat().st_size, built.to_json_string(use_diff=False))
    if this in _agree:
        return
    where = f"model.weights.address={address}: config.json"
    stored = _read(path, where)
    family = stored.get("model_type", built.model_type)
    if family != built.model_type:
        raise ConfigError(
            f"{where} says model_type={family}, model={model} builds {built.model_type}; give weights of that family"
            f", or a model with model.family={family} if there is one"
        )
    theirs, mine = _declared(stored, built, where), _resolved(built.to_dict())
    lines = [
        f"{where} {_says(stored, built, key)}{_shown(theirs[key])}, model={model} computes {_shown(mine.get(key))}; "
        + _way(key, theirs)
        for key in theirs
        if theirs[key] != mine.get(key)
    ]
    lines += [
        f"{where} says {key}={_shown(value)}, which model={model} does not know; give weights without it, or remove "
        "the key if it changes nothing that the base computes"
        for key, value in _undeclared(stored, built)
    ]
    if lines:
        raise ConfigError(*lines)
    _agree.add(this)


def _read(path: Path, where: str) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where} cannot be read ({type(error).__name__})") from None
    if not isinstance(stored, dict):
        raise ConfigError(f"{where} must be a JSON object")
    return stored


def _declared(stored: Mapping[str, Any], built: PreTrainedConfig, where: str) -> dict[str, Any]:
    """Return the file's value of each key of the configuration's class that affects the computation."""
    kind = type(built)
    transformers_logging.set_verbosity_error()
    try:
        found = _resolved(kind.from_dict(dict(stored)).to_dict())
    except (StrictDataclassError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise ConfigError(f"{where} does not fit a {kind.model_type}: {reason}") from None
    fields = {field.name for field in dataclasses.fields(kind)} | stored.keys() & kind().to_dict().keys()
    said = {key: value for key, value in found.items() if key in fields and key != "model_type" and not _is_free(key)}
    if "tie_word_embeddings" in stored:  # T5 sets it to true and keeps what it said elsewhere
        said["tie_word_embeddings"] = stored["tie_word_embeddings"]
    # A class's default special tokens are those of one published base.
    marks = _OWN_MARKS.get(kind.model_type, set())
    return said | {key: stored[key] for key in sorted(marks) if stored.get(key) is not None}


def _undeclared(stored: Mapping[str, Any], built: PreTrainedConfig) -> Iterator[tuple[str, Any]]:
    """Keys that the configuration's class does not know, and that are set to something."""
    kind = type(built)
    known = {*kind().to_dict(), *kind.attribute_map, *_OWN_MARKS.get(kind.model_type, ())}
    known |= _WITHOUT_POSITIONS.get(kind.model_type, set())
    for key, value in stored.items():
        if key not in known and not _is_free(key) and value and _AS_BUILT.get(key) != value:
            yield key, value


def _is_free(key: str) -> bool:
    return key.startswith("_") or key in _WITHOUT_EFFECT or "drop" in key


def _resolved(facts: dict[str, Any]) -> dict[str, Any]:
    """GPT-2's null stands for four times the hidden size."""
    if "n_inner" in facts:
        facts["n_inner"] = facts["n_inner"] or 4 * facts["n_embd"]
    return facts


def _says(stored: Mapping[str, Any], built: PreTrainedConfig, key: str) -> str:
    aliases = [alias for alias, own in built.attribute_map.items() if own == key]
    return f"says {key}=" if any(name in stored for name in (key, *aliases)) else f"leaves {key} at "


def _way(key: str, theirs: Mapping[str, Any]) -> str:
    if key in _SHAPE_KEYS:
        return f"set model.shape.{_SHAPE_KEYS[key]}={_shown(theirs[key])}"
    return "give weights that were made so, or correct the file if it is wrong about them"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
