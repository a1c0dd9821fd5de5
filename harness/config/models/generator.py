"""The configuration of a language model that writes text."""

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.adaptation import Adaptation
from harness.config.models.base import ATTENTION, FFN, Attention
from harness.config.models.quantizable import QuantizableConfig
from harness.config.models.text import uneven_heads
from harness.config.scalars import CLOSED, AssetConfig, Count, Share, Text

LEAST_VOCABULARY = 300
"""Tokens that a byte-level tokenizer has at least: all bytes, special ones, and some of letters together."""

_CROSS = tuple(f"cross_{name}" for name in ATTENTION)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class GeneratorShapeConfig:
    """The dimensions of a transformer that writes text; a decoder alone has as many decoder layers as layers.

    `positions` is the longest sequence, null where they are relative; `head_size` is hidden / heads but for T5.
    """

    hidden: Count
    layers: Count
    decoder_layers: Count
    heads: Count
    head_size: Count
    ffn: Count
    vocabulary: Annotated[int, Strict(), Field(ge=LEAST_VOCABULARY)]
    positions: Count | None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class GeneratorModelConfig(QuantizableConfig):
    """A language model: a decoder (gpt2), or an encoder and a decoder (t5, marian).

    `weights` null: fresh weights, drawn by the seed. `tokenizer` null: the one beside the weights, or, where those are
    fresh, one learned from the training split. `made_by` is the command that makes the weights if they are not there.
    """

    module = "harness.model.generator"
    spreads = True
    vocabulary_logits = True
    extra = "translation"
    count_with = ("task=seq2seq", "trainer.objective=loss")

    kind: Literal["generator"]
    name: Text
    family: Literal["gpt2", "t5", "marian"]
    shape: GeneratorShapeConfig
    weights: AssetConfig | None
    tokenizer: AssetConfig | None
    made_by: Text | None
    separator: str
    beams: Count
    dropout: Share
    attention: Attention = "auto"

    @property
    def attends(self) -> str:
        return self.attention

    @property
    def longest(self) -> int | None:
        return self.shape.positions

    @property
    def one_sequence(self) -> bool:
        return self.family == "gpt2"

    @property
    def rank_limits(self) -> dict[str, int]:
        shape = self.shape
        inner = shape.heads * shape.head_size if self.family == "t5" else shape.hidden
        names = ATTENTION if self.one_sequence else (*ATTENTION, *_CROSS)
        return dict.fromkeys(names, min(shape.hidden, inner)) | dict.fromkeys(FFN, min(shape.hidden, shape.ffn))

    @property
    def children(self) -> tuple[str, ...]:
        return ("transformer", "lm_head", "shared", "encoder", "decoder", "model")

    def mistakes(self) -> list[str]:
        """T5's heads have a size of their own."""
        heads = [] if self.family == "t5" else uneven_heads(self.shape.hidden, self.shape.heads)
        bits = f"model.quantization={self.quantization}: gpt2 has no linear layers of torch's own; null"
        return [*super().mistakes(), *heads, *([bits] if self.quantization and self.family == "gpt2" else ())]

    def adapter_mistakes(self, lora: Adaptation) -> list[str]:
        mistakes = []
        if lora.trains_head_alone:
            mistakes.append(f"lora=head: model={self.name} has no fresh head; lora=lora or lora=full")
        if self.weights is None and not lora.trains_whole_base:
            mistakes.append("model.weights=null: fresh weights are trained as a whole; lora=full")
        return mistakes

    def missing_files(self) -> list[str]:
        """Weights that a command makes may still be made."""
        return [] if self.made_by is not None else super().missing_files()
