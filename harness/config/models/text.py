"""The configuration of a pretrained text encoder with a head."""

from typing import Literal

from pydantic.dataclasses import dataclass

from harness.config.models.base import ATTENTION, FFN, Attention
from harness.config.models.quantizable import QuantizableConfig
from harness.config.probe import ProbeConfig
from harness.config.scalars import CLOSED, AssetConfig, Count, Share, Text


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class ShapeConfig:
    """The dimensions of a transformer encoder, enough to build it without its weights."""

    hidden: Count
    layers: Count
    heads: Count
    ffn: Count
    vocabulary: Count
    positions: Count
    types: Count


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TextModelConfig(QuantizableConfig):
    """A pretrained encoder, how its tokens become one vector, and the head on top."""

    module = "harness.model.text"
    shapes_module = "harness.model.text_shapes"
    spreads = True

    kind: Literal["text"]
    name: Text
    family: Literal["bert", "roberta"]
    shape: ShapeConfig
    weights: AssetConfig
    pooling: Literal["mean", "first", "pooler"]
    head: Literal["linear", "dense"]
    dropout: Share
    attention: Attention = "auto"

    @property
    def attends(self) -> str:
        return self.attention

    @property
    def longest(self) -> int:
        """The most tokens it reads: RoBERTa counts its positions from the padding id on, which costs it two."""
        return self.shape.positions - (2 if self.family == "roberta" else 0)

    @property
    def layer_norm_eps(self) -> float:
        return 1e-5 if self.family == "roberta" else 1e-12

    @property
    def rank_limits(self) -> dict[str, int]:
        return dict.fromkeys(ATTENTION, self.shape.hidden) | dict.fromkeys(FFN, min(self.shape.hidden, self.shape.ffn))

    @property
    def children(self) -> tuple[str, ...]:
        return ("embeddings", "encoder", "pooler")

    def mistakes(self) -> list[str]:
        return [*super().mistakes(), *uneven_heads(self.shape.hidden, self.shape.heads)]

    @property
    def masked_encoder(self) -> "TextModelConfig":
        return self

    def probe_mistakes(self, probe: ProbeConfig) -> list[str]:
        if not probe.hides_tokens:
            return super().probe_mistakes(probe)
        if probe.length <= self.longest:
            return []
        return [f"probe.length={probe.length}: model={self.name} has {self.longest} positions"]


def uneven_heads(hidden: int, heads: int) -> list[str]:
    """A line where attention heads cannot share out the hidden size evenly."""
    return [f"model.shape.heads={heads}: model.shape.hidden={hidden} is no multiple of it"] if hidden % heads else []
