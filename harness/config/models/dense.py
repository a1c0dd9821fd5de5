"""The configuration of an image network with a decoder for each task over the features of all its stages."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, AssetConfig, Count, Text

FourCounts = Annotated[list[Count], Field(min_length=2, max_length=4)]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SwinShapeConfig:
    """The dimensions of a Swin Transformer: of stages after the first, `width` doubles."""

    patch: Count
    window: Count
    width: Count
    depths: FourCounts
    heads: FourCounts


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class DenseModelConfig(ModelConfig):
    """A hierarchical image network, and decoders that read `decoder` channels of each of its stages.

    `shape` and `image_size` are of a Swin Transformer. Without `weights` they are drawn by the seed.
    """

    module = "harness.model.dense"
    extra = "vision"
    extra_to_count = True
    count_with = ("task=shapes_dense", "task.image_size=448", "trainer.objective=score")

    kind: Literal["dense"]
    name: Text
    architecture: Literal["swin", "efficientnet_lite0", "resnet18"]
    weights: AssetConfig | None
    image_size: Count | None
    shape: SwinShapeConfig | None
    decoder: FourCounts

    @property
    def stages(self) -> int:
        """The number of stages that the decoders read."""
        return len(self.shape.depths) if self.shape is not None else 4

    def mistakes(self) -> list[str]:
        found = []
        swin = self.architecture == "swin"
        if swin != (self.shape is not None) or swin != (self.image_size is not None):
            need = "needs model.shape and model.image_size" if swin else "has neither model.shape nor model.image_size"
            found.append(f"model.architecture={self.architecture}: it {need}")
        elif self.shape is not None and len(self.shape.heads) != len(self.shape.depths):
            found.append(f"model.shape.heads: {len(self.shape.heads)} stages, model.shape.depths has {self.stages}")
        elif self.shape is not None and any(self.shape.width * 2**i % n for i, n in enumerate(self.shape.heads)):
            found.append(f"model.shape.heads={self.shape.heads}: they do not divide the stages' widths")
        if len(self.decoder) != self.stages:
            found.append(
                f"model.decoder: {len(self.decoder)} numbers of channels, the network has {self.stages} stages"
            )
        return found

    def image_mistakes(self, task: str, size: int) -> list[str]:
        if self.shape is None:
            return []
        if self.image_size != size:
            return [f"model.image_size={self.image_size}: the images of task={task} are {size} pixels"]
        step = self.shape.patch * 2 ** (self.stages - 1)
        return [f"task.image_size={size}: model={self.name} halves it to stages; use a multiple of {step}"] * bool(
            size % step
        )
