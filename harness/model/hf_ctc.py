"""Bases of transformers that say a character at each frame of a recording: wav2vec2, HuBERT, WavLM and their kin.

Shapes: B recordings, N samples, F frames, V vocabulary.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from harness.config import ConfigError, Tokens
from harness.model.base import TransformersForm
from harness.model.hf_audio import LEAST, AudioInput, Hearing
from harness.model.hf_classifier import HfClassifier
from harness.model.hf_tokens import copy_tokenizer
from harness.system import assets

_NEVER = -1e4  # a logit that leaves nothing, in 16 bits too
_PAD, _UNKNOWN, _BETWEEN = "<pad>", "<unk>", "|"


def spells(model_type: str) -> bool:
    """Return whether transformers has a character head for an architecture that reads samples."""
    return model_type in modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES


class HfCtc(HfClassifier, Hearing):
    """Logits of characters at each frame, by transformers' own head; `blank` is the one that says none."""

    auto_class = "AutoModelForCTC"
    task_type = None
    forward_methods = ("generate",)

    def __init__(self, whole: PreTrainedModel, reads: AudioInput, blank: int, *, stored_head: bool = False) -> None:
        super().__init__(whole, stored_head=stored_head)
        self.blank = blank
        self.listen(reads, self.base)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, F, V) of `samples` (B, N); at frames beyond a recording's own, by `lengths` (B), a sure blank."""
        whole: Any = self.whole
        parts = self.apart(batch)
        found: list[Tensor] = [whole(**self.heard(part)).logits for _, part in parts]
        logits_BFV = found[0]
        if len(found) > 1:
            order = torch.cat([rows for rows, _ in parts]).argsort().tolist()
            frames = [frame for part in found for frame in part]
            logits_BFV = torch.nn.utils.rnn.pad_sequence([frames[place] for place in order], batch_first=True)
        frames_B1 = whole._get_feat_extract_output_lengths(batch["lengths"].clamp(min=LEAST)).unsqueeze(1)
        own_BF = torch.arange(logits_BFV.shape[1], device=logits_BFV.device) < frames_B1
        silent_V = logits_BFV.new_full(logits_BFV.shape[-1:], _NEVER)
        silent_V[self.blank] = 0.0
        return torch.where(own_BF.unsqueeze(-1), logits_BFV, silent_V)

    @torch.no_grad()
    def generate(self, batch: dict[str, Tensor], max_new_tokens: int, ends: Sequence[int] = ()) -> Tensor:
        """Ids of the likeliest character at each frame, repeats and blanks left out, blanks behind them."""
        rows = [row.unique_consecutive() for row in self(batch).argmax(-1)]
        said = [row[row != self.blank] for row in rows]
        return torch.nn.utils.rnn.pad_sequence(said, batch_first=True, padding_value=self.blank)

    def transformers_form(self) -> TransformersForm:
        return dataclasses.replace(super().transformers_form(), reads=self.reads.settings())

    def save_whole(self, tokenizer: Path | None, folder: Path) -> bool:
        """Write a folder that transformers loads, and `path:` too."""
        assert tokenizer is not None
        self.whole.save_pretrained(folder)
        copy_tokenizer(tokenizer, folder)
        return True


def fresh_vocabulary(characters: str) -> dict[str, int]:
    """Characters by number, after a blank, one that is unknown, and what stands between words."""
    first = (_PAD, _UNKNOWN, _BETWEEN)
    return {token: number for number, token in enumerate((*first, *sorted(set(characters) - {" ", _BETWEEN})))}


def fresh_characters(characters: str) -> Path:
    """The folder of transformers' tokenizer of such characters, made once and cached."""
    vocabulary = json.dumps(fresh_vocabulary(characters), ensure_ascii=False)
    folder = assets.cache_folder() / "tokenizers" / hashlib.sha256(vocabulary.encode()).hexdigest()[:16]
    said = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "bos_token": None, "eos_token": None}
    said |= {"pad_token": _PAD, "unk_token": _UNKNOWN, "word_delimiter_token": _BETWEEN}
    for name, text in (("tokenizer_config.json", json.dumps(said, indent=2)), ("vocab.json", vocabulary)):
        if not (folder / name).is_file():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            scratch = folder / f"{name}.{os.getpid()}"
            scratch.write_text(text + "\n", encoding="utf-8")
            os.replace(scratch, folder / name)
    return folder


def character_tokens(
    address: str, folder: Path, made: PreTrainedConfig, reads: AudioInput, characters: str | None
) -> Tokens:
    """Return how a base writes characters: fresh ones, or the folder's. Raises ConfigError if it has no vocabulary."""
    if characters is None and not (folder / "vocab.json").is_file():
        raise ConfigError(f"model.address={address}: no vocab.json in it, which its head needs; model.head=fresh")
    sizes = tuple(zip(made.conv_kernel, made.conv_stride, strict=True))
    if getattr(made, "add_adapter", False):
        layers = range(made.num_adapter_layers)
        sizes += tuple((1, made.adapter_stride) for _ in layers)
    return Tokens(
        folder if characters is None else fresh_characters(characters),
        made.pad_token_id if characters is None else 0,
        sample_rate=reads.rate,
        most_samples=reads.most,
        convolutions=sizes,
        of_training=characters is not None,
        replaced=_own_characters(folder, made) if characters is not None else 0,
    )


def _own_characters(folder: Path, made: PreTrainedConfig) -> int:
    """Return how many characters the trained head of a base has; 0 if it has none."""
    trained = any(str(name).endswith("ForCTC") for name in made.architectures or ())
    return int(made.vocab_size) if trained and (folder / "vocab.json").is_file() else 0
