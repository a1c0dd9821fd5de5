"""The configuration of a pretrained LSTM over mel frames with a head."""

from typing import Literal

from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, AssetConfig, Count, Text

MEL_BANDS = 40
"""What the voice encoder hears at each frame."""


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SpeechModelConfig(ModelConfig):
    """A pretrained LSTM over mel frames, and how its outputs at each frame become one vector."""

    module = "harness.model.recurrent"
    extra = "speech"
    count_with = ("task=spoken_digits",)

    kind: Literal["speech"]
    name: Text
    hidden: Count
    layers: Count
    weights: AssetConfig
    pooling: Literal["mean", "last", "embedding"]

    @property
    def rank_limits(self) -> dict[str, int]:
        linear = {"linear": self.hidden} if self.pooling == "embedding" else {}
        return {"lstm": min(MEL_BANDS, self.hidden)} | linear

    @property
    def children(self) -> tuple[str, ...]:
        return ("lstm", "linear")
