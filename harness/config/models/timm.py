"""The configuration of any image network of timm."""

from typing import Any, Literal

from pydantic.dataclasses import dataclass

from harness.config.adaptation import Adaptation
from harness.config.models.quantizable import QuantizableConfig
from harness.config.scalars import CLOSED, Address, AssetConfig, Count, Digest, Text


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class TimmModelConfig(QuantizableConfig):
    """A network by its name in timm, its features, and a fresh head on them.

    `address` null: fresh weights, drawn by the seed. `image_size` null: any size, or the one that the network is of.
    """

    module = "harness.model.timm"
    described_by_files = True
    spreads = True
    extra = "vision"
    extra_to_count = True
    count_with = ("task=digits",)

    kind: Literal["timm"]
    name: Text
    architecture: Text
    address: Address | None
    sha256: Digest | dict[str, Digest | None] | None
    image_size: Count | None

    @property
    def weights(self) -> AssetConfig | None:
        return None if self.address is None else AssetConfig(address=self.address, sha256=self.sha256)

    @property
    def takes(self) -> str:
        return "vision"

    def image_mistakes(self, task: str, size: int) -> list[str]:
        if self.image_size in (None, size):
            return []
        return [f"model.image_size={self.image_size}: the images of task={task} are {size} pixels"]

    def adapter_mistakes(self, lora: Adaptation) -> list[str]:
        if self.address is not None or lora.trains_whole_base:
            return []
        return [
            "model.address=null: fresh weights are trained as a whole; lora=full, or the address of pretrained ones"
        ]

    def missing_files(self) -> list[str]:
        return [line.replace("model.weights.address", "model.address") for line in super().missing_files()]

    def hashed(self) -> dict[str, Any]:
        """Return the hashed fields: the digest of its weights, and not their path, is in the fingerprint."""
        tree = super().hashed()
        del tree["address"], tree["sha256"]
        return tree
