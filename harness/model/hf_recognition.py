"""Bases of transformers that write what they hear: Whisper as a whole, its window cut as for classes.

Shapes: B recordings, T tokens of a text, V vocabulary.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForSpeechSeq2Seq,
    GenerationConfig,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from harness.config import ConfigError, HfModelConfig, Tokens
from harness.model.base import TransformersForm
from harness.model.generator import Generator
from harness.model.hf_audio import AudioInput, Hearing
from harness.model.hf_loading import load_network
from harness.model.hf_tokens import copy_tokenizer, first_id, generation_facts, token_ids, tokenizer_of
from harness.model.roles import targets_of

_TASKS = ("transcribe", "translate")
_SUPPRESSED = ("suppress_tokens", "begin_suppress_tokens")


def writes(model_type: str) -> bool:
    """Return whether an architecture that reads recordings can write transcripts, and is known here."""
    return model_type == "whisper"


class HfTranscriber(Generator, Hearing):
    """Whisper: an encoder of spectra, and a decoder that writes after a prompt of language and task."""

    def __init__(self, base: PreTrainedModel, reads: AudioInput, beams: int) -> None:
        super().__init__(base, targets_of(base), beams)
        self.listen(reads, base.get_encoder())

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, T, V) after each of the `decoder_ids` (B, T), of what is heard in `samples`."""
        inputs = self.heard(batch)
        said = self.base(**inputs, decoder_input_ids=batch["decoder_ids"], use_cache=False)
        logits: Tensor = said.logits
        return logits

    def transformers_form(self) -> TransformersForm:
        return TransformersForm(self.base, "AutoModelForSpeechSeq2Seq", None, reads=self.reads.settings())

    def save_whole(self, tokenizer: Path | None, folder: Path) -> bool:
        """Write a folder that transformers loads, and `path:` too."""
        assert isinstance(self.base, PreTrainedModel)
        assert tokenizer is not None
        self.base.save_pretrained(folder)
        copy_tokenizer(tokenizer, folder)
        return True

    @torch.no_grad()
    def generate(self, batch: dict[str, Tensor], max_new_tokens: int, ends: Sequence[int] = ()) -> Tensor:
        """Ids (B, at most max_new_tokens) written after the `prompt` of each row; after its end it holds padding."""
        base: Any = self.base
        inner = base.get_base_model() if hasattr(base, "get_base_model") else base  # PEFT wraps it
        config, own = inner.config, inner.generation_config
        settings = GenerationConfig(
            max_new_tokens=max_new_tokens,
            num_beams=self.beams,
            do_sample=False,
            pad_token_id=config.pad_token_id,
            eos_token_id=config.eos_token_id,
            decoder_start_token_id=config.decoder_start_token_id,
            **{name: getattr(own, name, None) for name in _SUPPRESSED},
        )
        prompt = batch["decoder_ids"][:, : int(batch["prompt"][0])]
        with self.mixed():
            # Not Whisper's own `generate`, which would ask the network again for what the prompt says.
            write: Any = GenerationMixin.generate
            written: Tensor = write(inner, **self.heard(batch), decoder_input_ids=prompt, generation_config=settings)
        return written[:, prompt.shape[1] :]


def build_transcriber(
    config: HfModelConfig, made: PreTrainedConfig, reads: AudioInput, stored: Path | None
) -> HfTranscriber:
    """Whisper as harness.model.build says, with the weights of the folder `stored` or as it is initialised."""
    if config.head == "stored":
        raise ConfigError(f"model.head=stored: a {made.model_type} that writes has no other head; model.head=fresh")
    base = load_network(config, AutoModelForSpeechSeq2Seq, made, stored, whole_is_base=True)
    said: Any = base.generation_config
    if (language := config.language or getattr(said, "language", None)) is not None:  # as transformers then writes
        said.language, said.task = language, _task(config, vars(said))
        if stored is not None:
            for name, found in _speech_facts(config, stored).items():
                setattr(said, name, found)
    return HfTranscriber(base, reads, config.beams)


def prompted_tokens(config: HfModelConfig, folder: Path, made: PreTrainedConfig, reads: AudioInput) -> Tokens:
    """Return how Whisper writes: its tokenizer, and the tokens before each text.

    Raises ConfigError for a language or a task that it was not trained for, and for one of many without any.
    """
    facts = generation_facts(folder) | _speech_facts(config, folder)
    file = tokenizer_of(folder, f"model.address={config.address}")
    decoder_start, end = facts.get("decoder_start_token_id"), first_id(facts.get("eos_token_id"))
    if decoder_start is None or end is None:
        raise ConfigError(
            f"model.address={config.address}: neither of its two configurations says start and end of text"
        )
    return Tokens(
        file,
        made.pad_token_id,
        end,
        decoder_start,
        sample_rate=reads.rate,
        most_samples=reads.most,
        prompt=_prompt(config, facts),
        most_tokens=made.max_target_positions,
    )


def _speech_facts(config: HfModelConfig, folder: Path) -> dict[str, Any]:
    """Derive the facts on languages, tasks and times that generation_config.json lacks from the folder's tokens."""
    facts = generation_facts(folder)
    ids = token_ids(tokenizer_of(folder, f"model.address={config.address}"))
    languages = {f"<|{code}|>" for code in LANGUAGES}
    many = facts.get("is_multilingual", True)
    found = {
        "lang_to_id": {token: number for token, number in ids.items() if token in languages} if many else {},
        "task_to_id": {task: ids[f"<|{task}|>"] for task in _TASKS if f"<|{task}|>" in ids} if many else {},
        "no_timestamps_token_id": ids.get("<|notimestamps|>"),
    }
    found = {name: said for name, said in found.items() if said and not facts.get(name)}
    return found | ({"is_multilingual": True} if "lang_to_id" in found else {})


def _prompt(config: HfModelConfig, facts: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that say language, task and that no times are written, as far as the base knows any."""
    languages, tasks = facts.get("lang_to_id") or {}, facts.get("task_to_id") or {}
    if not languages or not facts.get("is_multilingual", True):
        for key, value in (("language", config.language), ("translate", config.translate)):
            if value:
                raise ConfigError(f"model.{key}={value}: the base knows one language alone; leave it out")
        return _times(facts)
    language = config.language or facts.get("language")
    if language is None:
        raise ConfigError(f"model.language: missing; the base writes {len(languages)} languages; one of them, as en")
    token = f"<|{_code(str(language).lower())}|>"
    if token not in languages:
        known = ", ".join(sorted(re.sub(r"\W", "", name) for name in languages))
        raise ConfigError(f"model.language={language}: the base was not trained for it; known: {known}")
    task = _task(config, facts)
    if task not in tasks:
        raise ConfigError(f"model.translate={config.translate}: the base has no token for the task {task}")
    return (int(languages[token]), int(tasks[task]), *_times(facts))


def _task(config: HfModelConfig, facts: Mapping[str, Any]) -> str:
    return "translate" if config.translate else str(facts.get("task") or "transcribe")


def _code(language: str) -> str:
    """The code of a language by its English name, its code, or its token."""
    return TO_LANGUAGE_CODE.get(language, language.strip("<|>"))


def _times(facts: Mapping[str, Any]) -> tuple[int, ...]:
    found = facts.get("no_timestamps_token_id")
    return () if found is None else (int(found),)
