"""Text encoders from transformers: built from their dimensions, weights loaded and checked, pooled, with a head.

Shapes: B examples, L tokens, H hidden size, C classes.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaForQuestionAnswering,
    RobertaForTokenClassification,
    RobertaModel,
)
from transformers.utils import logging as transformers_logging

from harness.config import AnswerSpan, Outputs, TextModelConfig, TokenClasses, Tokens
from harness.model.base import Network, TransformersForm, check_loaded
from harness.model.config_file import check_config_file
from harness.model.hf_classifier import HfAnswerFinder, HfClassifier, HfTagger, checkpoint_layers, token_types
from harness.model.text_parts import PAD_IDS, TARGETS, text_head
from harness.system import assets


class TextClassifier(Network):
    """A pretrained encoder, its tokens pooled to one vector, and a fresh head."""

    def __init__(self, base: PreTrainedModel, head: nn.Module, targets: dict[str, str], pooling: str) -> None:
        super().__init__(base, head, targets)
        self.pooling = pooling
        self._attends_both_ways = base.config.model_type in PAD_IDS

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C), or (B, L, C), of token `ids` (B, L) and their `mask` (B, L), 1 on real tokens."""
        mask = self._attended(batch["mask"])
        out = self.base(input_ids=batch["ids"], attention_mask=mask, **token_types(self.base, batch))
        tokens_BLH = out.last_hidden_state if self.reads_tokens else None
        return self.answer(self._pool(out, batch["mask"]), batch, tokens_BLH)

    def checkpoint_activations(self) -> None:
        checkpoint_layers(self.base)

    def transformers_form(self) -> TransformersForm:
        return TransformersForm(self.base, "AutoModel", "FEATURE_EXTRACTION", loose_head=True)

    def _attended(self, mask: Tensor) -> Tensor:
        """The mask as attention takes it, (B, 1, 1, L): of (B, L) transformers asks a GPU first whether all is 1."""
        ready = self._attends_both_ways and self.attention_kind == "sdpa"
        return mask[:, None, None].bool() if ready and mask.is_cuda else mask

    def _pool(self, out: object, mask: Tensor) -> Tensor:
        if self.pooling == "pooler":
            return out.pooler_output  # type: ignore[attr-defined, no-any-return]
        tokens_BLH: Tensor = out.last_hidden_state  # type: ignore[attr-defined]
        if self.pooling == "first":
            return tokens_BLH[:, 0]
        if self.pooling == "last":  # real tokens come first in a row
            return tokens_BLH[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]
        weight_BL1 = mask.unsqueeze(-1).to(tokens_BLH.dtype)
        return (tokens_BLH * weight_BL1).sum(1) / weight_BL1.sum(1)


def build(config: TextModelConfig, outputs: Outputs, weights: bool) -> Network:
    """A classifier, a tagger, or what finds answers, as harness.model.build says."""
    base = _load_base(config, _weights_folder(config)) if weights else _empty_base(config)
    if isinstance(outputs, TokenClasses | AnswerSpan):
        return _of_tokens(config, base, outputs)
    return TextClassifier(base, text_head(config, outputs), TARGETS[config.family], config.pooling)


def base_file(config: TextModelConfig) -> Path:
    """The verified file of the pretrained weights."""
    return _weights_folder(config) / "model.safetensors"


def tokenizer_file(config: TextModelConfig) -> Path:
    """The tokenizer that belongs to the weights."""
    return _weights_folder(config) / "tokenizer.json"


def tokens(config: TextModelConfig) -> Tokens:
    """The tokenizer, and what pads a batch."""
    return Tokens(tokenizer_file(config), PAD_IDS[config.family])


def _weights_folder(config: TextModelConfig) -> Path:
    folder = assets.fetch(config.weights.address, config.weights.sha256)
    check_config_file(folder, _transformers_config(config), config.name, config.weights.address)
    return folder


def _of_tokens(config: TextModelConfig, base: PreTrainedModel, outputs: TokenClasses | AnswerSpan) -> HfClassifier:
    """The base under the head for tokens, or for answers, of its family in transformers: a linear layer."""
    made = _transformers_config(config)
    made.num_labels = outputs
    network, heads = (HfTagger, _TAGGERS) if isinstance(outputs, TokenClasses) else (HfAnswerFinder, _ANSWER_FINDERS)
    whole = heads[config.family](made)
    setattr(whole, whole.base_model_prefix, base)
    return network(whole, targets=TARGETS[config.family])


_TAGGERS: dict[str, Any] = {"bert": BertForTokenClassification, "roberta": RobertaForTokenClassification}
_ANSWER_FINDERS: dict[str, Any] = {"bert": BertForQuestionAnswering, "roberta": RobertaForQuestionAnswering}
_FAMILIES: dict[str, tuple[Any, Any]] = {
    "bert": (BertConfig, BertModel),
    "roberta": (RobertaConfig, RobertaModel),
}


def _transformers_config(config: TextModelConfig) -> PreTrainedConfig:
    shape = config.shape
    kind, _ = _FAMILIES[config.family]
    made: PreTrainedConfig = kind(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.positions,
        type_vocab_size=shape.types,
        layer_norm_eps=config.layer_norm_eps,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
    )
    return made


def _empty_base(config: TextModelConfig) -> PreTrainedModel:
    _, kind = _FAMILIES[config.family]
    base: PreTrainedModel = kind(_transformers_config(config), add_pooling_layer=config.pooling == "pooler")
    return base


def _load_base(config: TextModelConfig, folder: Path) -> PreTrainedModel:
    _, kind = _FAMILIES[config.family]
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    base, report = kind.from_pretrained(
        folder,
        config=_transformers_config(config),
        add_pooling_layer=config.pooling == "pooler",
        attn_implementation="sdpa",
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    check_loaded(base, report, config.weights.address)
    loaded: PreTrainedModel = base.train()  # transformers hands it out in evaluation mode: dropout would be off
    return loaded
