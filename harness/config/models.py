"""The configuration of every kind of model."""

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, AssetConfig, Count, Flag, Share, Text


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
class TextModelConfig:
    """A pretrained encoder, how its tokens become one vector, and the head on top."""

    kind: Literal["text"]
    name: Text
    family: Literal["bert", "roberta"]
    shape: ShapeConfig
    weights: AssetConfig
    pooling: Literal["mean", "first", "pooler"]
    head: Literal["linear", "dense"]
    dropout: Share


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class VisionModelConfig:
    """A pretrained image network.

    With `classifier` its ImageNet classifier stays in the base and the head reads the 1,000 logits; without, the head
    reads the features. `image_size` matters to a network with a table of positions; null: any size.
    """

    kind: Literal["vision"]
    name: Text
    architecture: Literal["efficientnet_lite0", "resnet18", "vit_b_16"]
    weights: AssetConfig
    classifier: Flag
    image_size: Count | None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SpeechModelConfig:
    """A pretrained LSTM over mel frames, and how what it says at each frame becomes one vector."""

    kind: Literal["speech"]
    name: Text
    hidden: Count
    layers: Count
    weights: AssetConfig
    pooling: Literal["mean", "last", "embedding"]


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
    vocabulary: Annotated[int, Strict(), Field(ge=300)]
    positions: Count | None


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class GeneratorModelConfig:
    """A language model: a decoder (gpt2), or an encoder and a decoder (t5, marian).

    `weights` null: fresh weights, drawn by the seed. `tokenizer` null: the one beside the weights, or, where those are
    fresh, one learned from the training split. `made_by` is the command that makes the weights if they are not there.
    """

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


ModelConfig = TextModelConfig | VisionModelConfig | SpeechModelConfig | GeneratorModelConfig
