"""Any model of text, images or recordings in transformers: its config.json decides the network, the task its head.

Shapes: B examples, L tokens, H hidden size, C classes, S pixels a side.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForImageClassification,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto import modeling_auto

from harness.config import AnswerSpan, ConfigError, HfModelConfig, Outputs, TokenClasses, Tokens, Transcribed
from harness.model.base import Network, Takes, linear, make_head
from harness.model.generator import Generator
from harness.model.hf_audio import AudioInput, HfAudioClassifier, audio_input, done_otherwise, hears, settle_config
from harness.model.hf_classifier import HfAnswerFinder, HfClassifier, HfTagger
from harness.model.hf_ctc import HfCtc, character_tokens, fresh_vocabulary, spells
from harness.model.hf_heads import inner_name, output_layers
from harness.model.hf_images import image_input
from harness.model.hf_loading import base_folder, load_network, main_input, transformers_config
from harness.model.hf_recognition import build_transcriber, prompted_tokens, writes
from harness.model.hf_tokens import (
    copy_tokenizer,
    decoder_start,
    first_id,
    generation_facts,
    special_ids,
    tokenizer_of,
)
from harness.model.hf_vision import HfImageClassifier, build_pooled, sees
from harness.model.roles import targets_of
from harness.model.text import TextClassifier


class HfGenerator(Generator):
    """A language model of transformers, with the special tokens that its own files name."""

    def save_whole(self, tokenizer: Path | None, folder: Path) -> bool:
        """Write a folder that transformers loads, and `path:` too."""
        assert isinstance(self.base, PreTrainedModel)
        self.base.save_pretrained(folder)
        assert tokenizer is not None
        copy_tokenizer(tokenizer, folder)
        return True


def build(config: HfModelConfig, outputs: Outputs, weights: bool) -> Network:
    """A network for a task of so many outputs, as harness.model.build says; of none: one that writes text."""
    network = _built(config, outputs, weights)
    if config.dtype != "float32":
        network.compute_dtype = getattr(torch, config.dtype)
        network.head.float()
    return network


def _built(config: HfModelConfig, outputs: Outputs, weights: bool) -> Network:
    folder = base_folder(config, weights=weights)
    made = transformers_config(config, folder)
    stored = folder if weights else None
    if config.window_s is not None and "speech" not in _kinds(made):
        raise ConfigError(f"model.window_s={config.window_s}: {made.model_type} hears no recordings; set it to null")
    if outputs == 0 and "speech" in _kinds(made):
        characters = outputs.characters if isinstance(outputs, Transcribed) else ""
        return _transcriber(config, made, characters, folder, stored)
    if config.language is not None or config.translate:
        rule = "of Whisper that writes transcripts; null and false"
        raise ConfigError(f"model.language={config.language} model.translate={config.translate}: {rule}")
    if outputs == 0:
        return _generator(config, made, folder, stored)
    if "vision" in _kinds(made):
        return _of_images(config, made, outputs, folder, stored)
    if "speech" in _kinds(made):
        return _audio(config, made, outputs, folder, stored)
    made.use_cache = False  # nothing is written: keys and values of earlier tokens are of no use
    if isinstance(outputs, TokenClasses):
        made.num_labels = outputs
        whole = _with_fresh_output(config, AutoModelForTokenClassification, made, stored)
        return HfTagger(whole, stored_head=config.head == "stored")
    if isinstance(outputs, AnswerSpan):
        return _answer_finder(config, made, outputs, stored)
    if isinstance(outputs, int) and config.pooling == "auto" and _has_sequence_head(made):
        made.num_labels = outputs
        if stored is not None and made.is_encoder_decoder:
            _check_end(config, made, stored)
        whole = _with_fresh_output(config, AutoModelForSequenceClassification, made, stored)
        return HfClassifier(whole, stored_head=config.head == "stored")
    return _pooled(config, made, outputs, stored)


def _of_images(
    config: HfModelConfig, made: PreTrainedConfig, outputs: Outputs, folder: Path, stored: Path | None
) -> Network:
    if not (isinstance(outputs, int) and config.pooling == "auto" and _has_image_head(made)):
        return build_pooled(config, made, outputs, folder, stored is not None)
    made.num_labels = outputs
    whole = _with_fresh_output(config, AutoModelForImageClassification, made, stored)
    return HfImageClassifier(whole, image_input(folder, made.model_type), stored_head=config.head == "stored")


def _answer_finder(
    config: HfModelConfig, made: PreTrainedConfig, outputs: AnswerSpan, stored: Path | None
) -> HfAnswerFinder:
    made.num_labels = outputs
    return HfAnswerFinder(_with_fresh_output(config, AutoModelForQuestionAnswering, made, stored))


def _audio(
    config: HfModelConfig, made: PreTrainedConfig, outputs: Outputs, folder: Path, stored: Path | None
) -> HfAudioClassifier:
    if not isinstance(outputs, int):
        raise ConfigError(f"model.address={config.address}: of recordings a base has one head, for one task")
    if config.pooling != "auto":
        rule = f"a {made.model_type} pools what it hears in its own way; set it to auto"
        raise ConfigError(f"model.pooling={config.pooling}: {rule}")
    reads = audio_input(folder, made, config.window_s)
    masks = settle_config(made, str(config.address), stored_head=config.head == "stored")
    otherwise = done_otherwise(made, reads, masks)
    made.num_labels = outputs
    whole = _with_fresh_output(config, AutoModelForAudioClassification, made, stored)
    network = HfAudioClassifier(whole, reads, stored_head=config.head == "stored")
    network.otherwise = otherwise
    return network


def _transcriber(
    config: HfModelConfig, made: PreTrainedConfig, characters: str, folder: Path, stored: Path | None
) -> Network:
    """A network that writes what it hears: with a decoder, or a character at each frame."""
    if config.pooling != "auto":
        raise ConfigError(f"model.pooling={config.pooling}: of what is heard nothing is pooled; set it to auto")
    reads = audio_input(folder, made, config.window_s)
    otherwise = done_otherwise(made, reads, settle_config(made, str(config.address), stored_head=False))
    network = _writer_of_sounds(config, made, characters, reads, stored)
    network.otherwise = otherwise
    return network


def _writer_of_sounds(
    config: HfModelConfig, made: PreTrainedConfig, characters: str, reads: AudioInput, stored: Path | None
) -> Network:
    where = f"model.address={config.address}"
    if writes(made.model_type):
        return build_transcriber(config, made, reads, stored)
    if not spells(made.model_type):
        raise ConfigError(f"{where}: transformers has no {made.model_type} that writes transcripts")
    if config.language is not None or config.translate:
        raise ConfigError(
            f"model.language={config.language} model.translate={config.translate}: of Whisper; null and false"
        )
    if config.beams != 1:
        raise ConfigError(
            f"model.beams={config.beams}: of bases with a decoder; a {made.model_type} has none; set it to 1"
        )
    if config.head == "fresh":
        made.vocab_size, made.pad_token_id = len(fresh_vocabulary(characters)), 0
        made.bos_token_id = made.eos_token_id = None
    made.num_labels = made.vocab_size  # which its output layer is found by
    whole = _with_fresh_output(config, AutoModelForCTC, made, stored)
    return HfCtc(whole, reads, made.pad_token_id, stored_head=config.head == "stored")


def transcript_tokens(config: HfModelConfig, characters: str) -> Tokens:
    """Return how a base writes transcripts; one that spells with a fresh head uses these characters."""
    folder = base_folder(config, weights=True)
    made = transformers_config(config, folder)
    reads = audio_input(folder, made, config.window_s)
    if writes(made.model_type):
        return prompted_tokens(config, folder, made, reads)
    return character_tokens(str(config.address), folder, made, reads, characters if config.head == "fresh" else None)


def _check_end(config: HfModelConfig, made: PreTrainedConfig, folder: Path) -> None:
    """The heads of encoders with decoders read where the text's end is, and need one in each row."""
    where = f"model.address={config.address}"
    written = Tokenizer.from_file(str(tokenizer_of(folder, where))).encode("a").ids
    if written.count(made.get_text_config().eos_token_id) != 1:
        raise ConfigError(f"{where}: its tokenizer ends no text, as {made.model_type} needs it; model.pooling=mean")


def base_file(config: HfModelConfig) -> Path:
    """The folder of config.json and weights."""
    return base_folder(config, weights=True)


def tokens(config: HfModelConfig) -> Tokens | None:
    """The tokenizer of the folder, and the ids that are set around texts; None where the base takes none."""
    folder = base_folder(config, weights=True)
    made = transformers_config(config, folder)
    if "vision" in _kinds(made):
        return None
    if "speech" in _kinds(made):
        reads = audio_input(folder, made, config.window_s)
        return Tokens(None, 0, sample_rate=reads.rate, most_samples=reads.most)
    file = tokenizer_of(folder, f"model.address={config.address}")
    special, text = special_ids(folder, file), made.get_text_config()
    end = first_id(getattr(text, "eos_token_id", None)) if special.end is None else special.end
    start = decoder_start(generation_facts(folder), made) if made.is_encoder_decoder else None
    return Tokens(file, text.pad_token_id, end, start, config.separator, begin=special.begin)


def takes(config: HfModelConfig) -> Takes:
    """Read from the folder's config.json which tasks it supports; the weights need not be there."""
    made = transformers_config(config, base_folder(config, weights=False))
    return Takes(str(config.address), made.model_type, _kinds(made))


def _kinds(made: PreTrainedConfig) -> tuple[str, ...]:
    kind = made.model_type
    if kind in modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES and not hears(kind):
        return ()
    if hears(kind):
        return ("speech", "recognition") if writes(kind) or spells(kind) else ("speech",)
    if not _has_sequence_head(made) and (_has_image_head(made) or sees(made)):
        return ("vision",)
    has_vocabulary = getattr(made.get_text_config(), "vocab_size", None) is not None
    reads = _has_sequence_head(made) or (has_vocabulary and main_input(made) in ("input_ids", None))
    return (*(("text",) if reads else ()), *(("generator",) if _writer(made) is not None else ()))


def _has_image_head(made: PreTrainedConfig) -> bool:
    return made.model_type in modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES


def _has_sequence_head(made: PreTrainedConfig) -> bool:
    return made.model_type in modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES


def _writer(made: PreTrainedConfig) -> Any:
    """The auto class of a language model that writes; None where the architecture has none that is made to."""
    if made.is_encoder_decoder and made.model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return AutoModelForSeq2SeqLM
    is_encoder = made.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if not is_encoder and made.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return AutoModelForCausalLM
    return None


def _generator(config: HfModelConfig, made: PreTrainedConfig, found: Path, folder: Path | None) -> HfGenerator:
    kind = _writer(made)
    if kind is None:
        raise ConfigError(
            f"model.address={config.address}: a {made.model_type} writes no text; give a causal language model, or an "
            "encoder with a decoder"
        )
    facts = generation_facts(found)  # transformers keeps these apart from what shapes the network
    made.eos_token_id = facts.get("eos_token_id", getattr(made, "eos_token_id", None))
    made.decoder_start_token_id = facts.get("decoder_start_token_id", getattr(made, "decoder_start_token_id", None))
    if made.is_encoder_decoder:
        made.decoder_start_token_id = decoder_start(facts, made)
    text = made.get_text_config()
    if made.eos_token_id is None:
        made.eos_token_id = getattr(text, "eos_token_id", None)
    if made.eos_token_id is None:
        raise ConfigError(f"model.address={config.address}: neither of its two configurations has an eos_token_id")
    made.pad_token_id = text.pad_token_id  # a network of several parts has the text's own within
    if made.is_encoder_decoder and made.decoder_start_token_id is None:
        said = "neither of its two configurations has a decoder_start_token_id, or a bos_token_id"
        raise ConfigError(f"model.address={config.address}: {said}")
    base = load_network(config, kind, made, folder, whole_is_base=True)
    return HfGenerator(base, targets_of(base), config.beams)


_APART: dict[Any, str] = {
    AutoModelForQuestionAnswering: "question answering, whose head is apart from its base; an encoder such as BERT, or "
    "BART or GPT-2",  # T5 and its kin
    AutoModelForImageClassification: "images, whose head is apart from its base; model=timm",
}


def _with_fresh_output(
    config: HfModelConfig, kind: Any, made: PreTrainedConfig, folder: Path | None
) -> PreTrainedModel:
    """A network with its class's own head, whose output layer is fresh unless the stored one is asked for.

    The layers before the output layer are the folder's, or fresh if it has none.
    """
    whole = load_network(config, kind, made, folder)
    if not inner_name(whole):
        rule = _APART.get(kind, "this task, whose head is apart from its base")
        raise ConfigError(f"model.address={config.address}: transformers has no {made.model_type} for {rule}")
    if folder is not None and config.head == "fresh":
        heads = nn.ModuleDict({name: part for name, part in whole.named_children() if name != inner_name(whole)})
        layers = output_layers(heads, made.num_labels or 0)
        if not layers:
            raise ConfigError(
                f"model.address={config.address}: {made.model_type}'s head does not end in a linear layer"
            )
        for last in layers:
            nn.init.normal_(last.weight, std=getattr(made, "initializer_range", None) or 0.02)
            if last.bias is not None:
                nn.init.zeros_(last.bias)
    return whole


def _pooled(config: HfModelConfig, made: PreTrainedConfig, outputs: Outputs, folder: Path | None) -> TextClassifier:
    """The tokens' vectors pooled, and linear heads: for several tasks, or a pooling of the user's own choice."""
    pooling = config.pooling
    if pooling == "auto":
        pooling = "last" if _writer(made) is AutoModelForCausalLM else "mean"
    if config.head == "stored":
        raise ConfigError(f"model.head=stored: the folder's own head pools its own way, not by {pooling}")
    is_encoder = made.model_type in modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
    kind: Any = AutoModelForTextEncoding if is_encoder else AutoModel
    base = load_network(config, kind, made, folder, pooler=pooling == "pooler")
    if pooling == "pooler" and getattr(base, "pooler", None) is None:
        raise ConfigError(f"model.pooling=pooler: {made.model_type} has none; mean, first or last")
    head = make_head(outputs, partial(linear, made.get_text_config().hidden_size))
    return TextClassifier(base, head, targets_of(base), pooling)
