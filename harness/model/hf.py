"""Any model of text or images in transformers: built as its config.json says, with the head that the task asks for.

Shapes: B examples, L tokens, H hidden size, C classes, S pixels a side.
"""

import inspect
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto import modeling_auto

from harness.config import ConfigError, HfModelConfig, Outputs, Tokens
from harness.model.base import Network, Takes, TransformersForm, linear, make_head
from harness.model.generator import Generator
from harness.model.hf_heads import names_of, order_of, output_layers
from harness.model.hf_images import ImageInput, image_input
from harness.model.hf_loading import base_folder, load_network, reload, transformers_config
from harness.model.hf_tokens import (
    copy_tokenizer,
    first_id,
    generation_facts,
    special_ids,
    tokenizer_of,
)
from harness.model.roles import targets_of
from harness.model.text import TextClassifier, checkpoint_layers, token_types
from harness.model.vision import rest_frozen_norms


class HfClassifier(Network):
    """A model of transformers with transformers' own classification head: `base` and `head` are its parts.

    What is trained here is, name by name, what the same class of transformers computes.
    """

    def __init__(self, whole: PreTrainedModel, *, stored_head: bool = False) -> None:
        base = whole.base_model
        heads = {name: module for name, module in whole.named_children() if module is not base}
        super().__init__(base, nn.ModuleDict(heads), targets_of(base))
        self.stored_head = stored_head
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
        logits: Tensor = self.whole(
            input_ids=batch["ids"], attention_mask=batch["mask"], **token_types(self.whole, batch)
        ).logits
        return logits

    def checkpoint_activations(self) -> None:
        checkpoint_layers(self.base)

    auto_class = "AutoModelForSequenceClassification"
    task_type: str | None = "SEQ_CLS"

    def transformers_form(self) -> TransformersForm:
        heads = tuple(name for name, part in self.head.named_children() if next(part.parameters(), None) is not None)
        return TransformersForm(self.whole, self.auto_class, self.task_type, heads)

    def load_whole(self, folder: Path) -> None:
        reload(self.whole, folder)

    def take_classes(self, classes: Sequence[str]) -> None:
        made = self.whole.config
        if self.stored_head and classes:
            order = torch.tensor(order_of(classes, names_of(made)))
            with torch.no_grad():
                for layer in output_layers(self.head, len(classes)):
                    for tensor in layer.parameters():
                        tensor.copy_(tensor[order.to(tensor.device)])
        if classes:
            made.id2label = dict(enumerate(classes))
            made.label2id = {name: number for number, name in enumerate(classes)}

    def save_whole(self, tokenizer: Path | None, folder: Path) -> bool:
        """As a folder that transformers loads, and `path:` too."""
        self.whole.save_pretrained(folder)
        if tokenizer is not None:
            copy_tokenizer(tokenizer, folder)
        return True


class HfImageClassifier(HfClassifier):
    """Images, brought to the mean and the deviation that the folder's preprocessor_config.json names."""

    auto_class = "AutoModelForImageClassification"
    task_type = None
    mean: Tensor
    std: Tensor

    def __init__(self, whole: PreTrainedModel, reads: ImageInput, *, stored_head: bool = False) -> None:
        super().__init__(whole, stored_head=stored_head)
        for name, values in (("mean", reads.mean), ("std", reads.std)):
            scaled = torch.tensor(values).view(3, 1, 1) * (1 / reads.factor)
            self.register_buffer(name, scaled, persistent=False)
        self._flips = reads.flip
        self._resamples = "interpolate_pos_encoding" in inspect.signature(whole.forward).parameters

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C) of `images`: bytes (B, 1 or 3, S, S). A table of positions is resampled for another size."""
        rest_frozen_norms(self.base)
        images = (batch["images"].to(self.mean.dtype) - self.mean) / self.std  # one channel becomes three alike
        if self._flips:
            images = images.flip(1)
        other_size = images.shape[-1] != getattr(self.whole.config, "image_size", images.shape[-1])
        more = {"interpolate_pos_encoding": True} if self._resamples and other_size else {}
        logits: Tensor = self.whole(pixel_values=images, **more).logits
        return logits


class HfGenerator(Generator):
    """A language model of transformers, with the special tokens that its own files name."""

    def save_whole(self, tokenizer: Path | None, folder: Path) -> bool:
        """As a folder that transformers loads, and `path:` too."""
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
    if outputs == 0:
        return _generator(config, made, folder, stored)
    if isinstance(outputs, int) and "vision" in _kinds(made):
        made.num_labels = outputs
        whole = _with_fresh_output(config, AutoModelForImageClassification, made, stored)
        return HfImageClassifier(whole, image_input(folder, made.model_type), stored_head=config.head == "stored")
    made.use_cache = False  # nothing is written: keys and values of earlier tokens are of no use
    if isinstance(outputs, int) and config.pooling == "auto" and _has_sequence_head(made):
        made.num_labels = outputs
        if stored is not None and made.is_encoder_decoder:
            _check_end(config, made, stored)
        whole = _with_fresh_output(config, AutoModelForSequenceClassification, made, stored)
        return HfClassifier(whole, stored_head=config.head == "stored")
    return _pooled(config, made, outputs, stored)


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
    file = tokenizer_of(folder, f"model.address={config.address}")
    special, text = special_ids(folder, file), made.get_text_config()
    start = special.start
    if start is None:
        start = getattr(made, "decoder_start_token_id", None)
    end = first_id(getattr(text, "eos_token_id", None)) if special.end is None else special.end
    start = start if made.is_encoder_decoder else None
    return Tokens(file, text.pad_token_id, end, start, config.separator, begin=special.begin)


def takes(config: HfModelConfig) -> Takes:
    """What the folder's config.json says of the tasks it is for; the weights need not be there."""
    made = transformers_config(config, base_folder(config, weights=False))
    return Takes(str(config.address), made.model_type, _kinds(made))


def _kinds(made: PreTrainedConfig) -> tuple[str, ...]:
    kind = made.model_type
    if kind in modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES and not _has_sequence_head(made):
        return ("vision",)
    reads = _has_sequence_head(made) or getattr(made.get_text_config(), "vocab_size", None) is not None
    return (*(("text",) if reads else ()), *(("generator",) if _writer(made) is not None else ()))


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


_MARKS = ("decoder_start_token_id", "eos_token_id")


def _generator(config: HfModelConfig, made: PreTrainedConfig, found: Path, folder: Path | None) -> HfGenerator:
    kind = _writer(made)
    if kind is None:
        raise ConfigError(
            f"model.address={config.address}: a {made.model_type} writes no text; give a causal language model, or an "
            "encoder with a decoder"
        )
    for key in _MARKS:  # transformers keeps these apart from what shapes the network
        setattr(made, key, generation_facts(found).get(key, getattr(made, key, None)))
    text = made.get_text_config()
    if made.eos_token_id is None:
        made.eos_token_id = getattr(text, "eos_token_id", None)
    if made.eos_token_id is None:
        raise ConfigError(f"model.address={config.address}: neither of its two configurations has an {_MARKS[1]}")
    made.pad_token_id = text.pad_token_id  # a network of several parts has the text's own within
    if made.is_encoder_decoder and made.decoder_start_token_id is None:
        raise ConfigError(f"model.address={config.address}: neither of its two configurations has a {_MARKS[0]}")
    base = load_network(config, kind, made, folder, whole_is_base=True)
    return HfGenerator(base, targets_of(base), config.beams)


def _with_fresh_output(
    config: HfModelConfig, kind: Any, made: PreTrainedConfig, folder: Path | None
) -> PreTrainedModel:
    """A network with its class's own head, whose output layer is fresh unless the stored one is asked for.

    What stands before the output layer is as the folder has it, or fresh where it has none.
    """
    whole = load_network(config, kind, made, folder)
    if folder is not None and config.head == "fresh":
        heads = nn.ModuleDict({name: part for name, part in whole.named_children() if part is not whole.base_model})
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
