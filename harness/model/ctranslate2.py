"""Files of CTranslate2, model.bin, and Whisper read from one as transformers has it.

The format, little-endian throughout (CTranslate2, python/ctranslate2/specs/model_spec.py, version 6): the version and
the name of the specification, its revision, the number of variables; of each its name, its shape, a byte for its type,
its size and its values; then names that stand for others. A text is its length with a closing zero, then its bytes.
"""

import json
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from harness.config import ConfigError

VERSION = 6
_TYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
_GELU = 3
_FIRST = r"{}/layer_\d+/ffn/linear_0/bias"  # there is one in each layer
_TEXT_MAX = 512  # of a name; more says that the file is of another kind

Variables = dict[str, np.ndarray]


def is_container(start: bytes) -> bool:
    """Return whether a file with this beginning can be one of CTranslate2's."""
    return start[:4] == struct.pack("<I", VERSION)


def read_container(path: Path) -> tuple[str, Variables]:
    """The specification's name and the variables. Raises ValueError for what is not such a file."""
    with open(path, "rb") as file:
        try:
            return _read(file)
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"no file of CTranslate2, or one cut short ({type(error).__name__})") from None


def _read(file: BinaryIO) -> tuple[str, Variables]:
    if (version := _number(file, "<I")) != VERSION:
        raise ValueError(f"version {version} of CTranslate2's format; {VERSION} is read here")
    specification, _, count = _text(file), _number(file, "<I"), _number(file, "<I")
    found: Variables = {}
    for _ in range(count):
        name = _text(file)
        shape = [_number(file, "<I") for _ in range(_number(file, "<B"))]
        if (code := _number(file, "<B")) >= len(_TYPES):
            raise ValueError(f"{name}: type {code} is not read; convert the model with float16 or float32")
        kind, size = np.dtype(_TYPES[code]), _number(file, "<I")
        content = file.read(size)
        if len(content) != size or size != kind.itemsize * int(np.prod(shape, dtype=np.int64)):
            raise ValueError(f"cut short at {name}, or its shape is not that of its values")
        found[name] = np.frombuffer(content, kind).reshape(shape)
    for _ in range(_number(file, "<I")):
        other, name = _text(file), _text(file)
        found[other] = found[name]
    return specification, found


def _number(file: BinaryIO, form: str) -> int:
    (value,) = struct.unpack(form, file.read(struct.calcsize(form)))
    return int(value)


def _text(file: BinaryIO) -> str:
    size = _number(file, "<H")
    if not 0 < size <= _TEXT_MAX:
        raise ValueError("no file of CTranslate2")
    return file.read(size)[:-1].decode()


def convert_whisper(path: Path, beside: Path, folder: Path) -> None:
    """Write Whisper in `path` as transformers does, in float32; `beside` has its config.json and tokenizer.json.

    Raises ValueError for another network, for quantised weights, and for what is missing or left over.
    """
    specification, variables = read_container(path)
    if specification != "WhisperSpec":
        raise ValueError(f"a {specification} of CTranslate2; of its formats WhisperSpec is read")
    tokenizer = beside / "tokenizer.json"
    if not tokenizer.is_file():
        raise ConfigError(f"{beside}: no tokenizer.json in it; put the one of the model beside its weights")
    tokens = {token["content"]: token["id"] for token in json.loads(tokenizer.read_text())["added_tokens"]}
    facts = json.loads((beside / "config.json").read_text()) if (beside / "config.json").is_file() else {}
    network = WhisperForConditionalGeneration(_config(variables, tokens)).eval()
    state = dict(_state(variables))
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    report = network.load_state_dict(state, strict=False)
    if report.missing_keys or report.unexpected_keys:
        raise ValueError(f"no place, or no values, for {[*report.missing_keys, *report.unexpected_keys][0]}")
    network.generation_config = _generation(network.config, tokens, facts)
    network.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=network.config.num_mel_bins).save_pretrained(folder)
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    end = "<|endoftext|>"
    said = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), end)
    said["tokenizer_class"] = "WhisperTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(said, indent=2) + "\n")


def _config(variables: Variables, tokens: dict[str, int]) -> WhisperConfig:
    heads = {side: int(variables[f"{side}/num_heads"]) for side in ("encoder", "decoder")}
    depth = {side: len([name for name in variables if re.fullmatch(_FIRST.format(side), name)]) for side in heads}
    if int(variables["decoder/activation"]) != _GELU or not int(variables["decoder/pre_norm"]):
        raise ValueError("another activation or order of norms than Whisper's")
    embeddings = variables["decoder/embeddings/weight"]
    end = tokens["<|endoftext|>"]
    return WhisperConfig(
        vocab_size=len(embeddings),
        d_model=embeddings.shape[1],
        num_mel_bins=variables["encoder/conv1/weight"].shape[1],
        encoder_layers=depth["encoder"],
        decoder_layers=depth["decoder"],
        encoder_attention_heads=heads["encoder"],
        decoder_attention_heads=heads["decoder"],
        encoder_ffn_dim=len(variables["encoder/layer_0/ffn/linear_0/bias"]),
        decoder_ffn_dim=len(variables["decoder/layer_0/ffn/linear_0/bias"]),
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        max_target_positions=len(variables["decoder/position_encodings/encodings"]),
        scale_embedding=bool(variables["decoder/scale_embeddings"]),
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=tokens["<|startoftranscript|>"],
        architectures=["WhisperForConditionalGeneration"],
    )


# What CTranslate2 joins, in transformers' own names: of a projection's outputs, one after another.
_PARTS = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
    "ffn/layer_norm": ("final_layer_norm",),
}
_ALONE = {
    "position_encodings/encodings": "embed_positions.weight",
    "embeddings/weight": "embed_tokens.weight",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
    **{f"conv{n}/{kind}": f"conv{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")},
}
_KINDS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}


def _state(variables: Variables) -> Iterator[tuple[str, Tensor]]:
    """Whisper's tensors under transformers' names. Keys have no bias there, and zeros for it here."""
    for name, values in variables.items():
        side, _, rest = name.partition("/")
        if values.ndim == 0 or rest == "projection/weight":
            continue
        if values.dtype.kind != "f":
            raise ValueError(f"{name} is quantised; convert the model with float16 or float32")
        if rest in _ALONE:
            yield f"model.{side}.{_ALONE[rest]}", torch.from_numpy(values.astype(np.float32))
            continue
        match = re.fullmatch(r"layer_(\d+)/(.+)/(\w+)", rest)
        if match is None or match[2] not in _PARTS or match[3] not in _KINDS:
            raise ValueError(f"{name} is no part of Whisper")
        kind, parts = _KINDS[match[3]], _PARTS[match[2]]
        for part, chunk in zip(parts, np.split(values, len(parts)), strict=True):
            if part.endswith("k_proj") and kind == "bias":
                if chunk.any():
                    raise ValueError(f"{name}: keys have a bias, and Whisper's have none")
                continue
            yield f"model.{side}.layers.{match[1]}.{part}.{kind}", torch.from_numpy(chunk.astype(np.float32))


def _generation(made: WhisperConfig, tokens: dict[str, int], facts: dict[str, Any]) -> GenerationConfig:
    """Return transformers' generation settings: Whisper's tokens of languages and tasks, and suppressed tokens."""
    language = re.compile(r"<\|[a-z]{2,3}\|>")
    known = set(facts.get("lang_ids", ()))
    settings: dict[str, Any] = {
        "bos_token_id": made.bos_token_id,
        "eos_token_id": made.eos_token_id,
        "pad_token_id": made.pad_token_id,
        "decoder_start_token_id": made.decoder_start_token_id,
        "max_length": made.max_target_positions,
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "prev_sot_token_id": tokens.get("<|startofprev|>"),
        "is_multilingual": bool(known),
        "lang_to_id": {text: number for text, number in tokens.items() if number in known and language.fullmatch(text)},
        "task_to_id": {task: tokens[f"<|{task}|>"] for task in ("translate", "transcribe")},
        "suppress_tokens": facts.get("suppress_ids"),
        "begin_suppress_tokens": facts.get("suppress_ids_begin"),
        "alignment_heads": facts.get("alignment_heads"),
        "return_timestamps": False,
    }
    return GenerationConfig(**settings)
