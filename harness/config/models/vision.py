"""The configuration of a pretrained image network with a head."""

from typing import Literal

from pydantic.dataclasses import dataclass

from harness.config.models.architectures import VISION_ARCHITECTURES, VisionArchitecture
from harness.config.models.base import ModelConfig
from harness.config.scalars import CLOSED, AssetConfig, Count, Flag, Text


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class VisionModelConfig(ModelConfig):
    """A pretrained image network.

    With `classifier` its ImageNet classifier stays in the base and the head reads the 1,000 logits; without, the head
    reads the features. `image_size` matters to a network with a table of positions; null: any size.
    """

    module = "harness.model.vision"
    extra = "vision"
    extra_to_count = True
    count_with = ("task=digits",)

    kind: Literal["vision"]
    name: Text
    architecture: Literal["efficientnet_lite0", "resnet18", "vit_b_16"]
    weights: AssetConfig
    classifier: Flag
    image_size: Count | None

    @property
    def known(self) -> VisionArchitecture:
        """The facts about the network before it is built."""
        return VISION_ARCHITECTURES[self.architecture]

    @property
    def rank_limits(self) -> dict[str, int]:
        names = (name for name in self.known.targets if self.classifier or name != "fc")
        return {name: self.known.targets[name].rank_limit for name in names}

    @property
    def children(self) -> tuple[str, ...]:
        return self.known.children

    def image_mistakes(self, task: str, size: int) -> list[str]:
        patch = self.known.patch
        if patch is not None and self.image_size is None:
            return [f"model.image_size=null: model={self.name} has a table of positions; give the images' size"]
        if self.image_size not in (None, size):
            return [f"model.image_size={self.image_size}: the images of task={task} are {size} pixels"]
        if patch is not None and size % patch:
            return [f"task.image_size={size}: model={self.name} reads patches of {patch}; use a multiple of {patch}"]
        return []
