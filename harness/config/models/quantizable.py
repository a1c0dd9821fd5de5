"""Settings for the bits of a base that is built of linear layers."""

from dataclasses import field
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, Text


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class QuantizableConfig(ModelConfig):
    """`quantization` is how the frozen linear layers of the base are held; null: as floats.

    Those whose whole names match a pattern of `quantization_skip` stay floats.
    """

    quantization: Literal["int8", "nf4", "nf4-double"] | None = None
    quantization_skip: list[Text] = field(default_factory=list)

    @property
    def quantized(self) -> Literal["int8", "nf4", "nf4-double"] | None:
        return self.quantization

    @property
    def unquantized(self) -> list[str]:
        return list(self.quantization_skip)

    def mistakes(self) -> list[str]:
        if not self.quantization_skip or self.quantization is not None:
            return super().mistakes()
        return [*super().mistakes(), "model.quantization_skip: has no effect with model.quantization=null"]

    def hashed(self) -> dict[str, Any]:
        """Without these two keys where they are unset, as before they existed."""
        tree = super().hashed()
        for key in ("quantization", "quantization_skip"):
            if not tree[key]:
                del tree[key]
        return tree
