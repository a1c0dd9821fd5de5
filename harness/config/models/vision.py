"""The configuration of a pretrained image network with a head."""

from typing import Literal

from pydantic.dataclasses import dataclass

from harness.config.models.base import ATTENTION, FFN, ModelConfig
from harness.config.scalars import CLOSED, AssetConfig, Count, Flag, Text

_LIMITS: dict[str, dict[str, int]] = {
    "efficientnet_lite0": {"conv": 16, "pointwise": 16, "depthwise": 9, "stem": 27, "fc": 1000},
    "resnet18": {"conv": 64, "pointwise": 64, "stem": 64, "fc": 512},
    "vit_b_16": dict.fromkeys((*ATTENTION, *FFN, "stem", "fc"), 768),
}
_CHILDREN = {
    "efficientnet_lite0": ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "global_pool", "classifier"),
    "resnet18": ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"),
    "vit_b_16": ("conv_proj", "encoder", "heads"),
}
_PATCH = 16  # pixels a side of vit_b_16's patches


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
    def rank_limits(self) -> dict[str, int]:
        known = _LIMITS[self.architecture]
        return known if self.classifier else {name: most for name, most in known.items() if name != "fc"}

    @property
    def children(self) -> tuple[str, ...]:
        return _CHILDREN[self.architecture]

    def image_mistakes(self, task: str, size: int) -> list[str]:
        has_positions = self.architecture == "vit_b_16"
        if has_positions and self.image_size is None:
            return [f"model.image_size=null: model={self.name} has a table of positions; give the images' size"]
        if self.image_size not in (None, size):
            return [f"model.image_size={self.image_size}: the images of task={task} are {size} pixels"]
        if has_positions and size % _PATCH:
            return [f"task.image_size={size}: model={self.name} reads patches of 16; use a multiple of 16"]
        return []
