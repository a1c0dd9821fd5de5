"""The image networks: which layers a target names in each, and what ranks they can have. No torch is imported."""

import dataclasses
from collections.abc import Mapping

_BLOCK = r"encoder\.layers\.encoder_layer_\d+"


@dataclasses.dataclass(frozen=True)
class TargetLayers:
    """The layers behind a name that users write: a pattern of module names, and the highest rank that all can have.

    That is the least of min(inputs, outputs) among them.
    """

    pattern: str
    rank_limit: int


@dataclasses.dataclass(frozen=True)
class VisionArchitecture:
    """The facts about a network before it is built.

    `children` are those of the network itself, `patch` the pixels a side of its patches, None where it has no table of
    positions.
    """

    targets: Mapping[str, TargetLayers]
    children: tuple[str, ...]
    patch: int | None = None


VISION_ARCHITECTURES: Mapping[str, VisionArchitecture] = {
    "efficientnet_lite0": VisionArchitecture(
        {
            # All that mix channels: the 1×1 and the stem.
            "conv": TargetLayers(r"conv_stem|conv_head|blocks\.\d+\.\d+\.conv_pwl?", 16),
            "pointwise": TargetLayers(r"conv_head|blocks\.\d+\.\d+\.conv_pwl?", 16),
            "depthwise": TargetLayers(r"blocks\.\d+\.\d+\.conv_dw", 9),
            "stem": TargetLayers(r"conv_stem", 27),
            "fc": TargetLayers(r"classifier", 1000),
        },
        ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "global_pool", "classifier"),
    ),
    "resnet18": VisionArchitecture(
        {
            "conv": TargetLayers(r"conv1|layer\d\.\d\.(conv\d|downsample\.0)", 64),
            "pointwise": TargetLayers(r"layer\d\.\d\.downsample\.0", 64),
            "stem": TargetLayers(r"conv1", 64),
            "fc": TargetLayers(r"fc", 512),
        },
        ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"),
    ),
    "vit_b_16": VisionArchitecture(
        {  # one fused matrix holds query, key and value: [i/3] is its i-th third
            "query": TargetLayers(rf"{_BLOCK}\.self_attention[0/3]", 768),
            "key": TargetLayers(rf"{_BLOCK}\.self_attention[1/3]", 768),
            "value": TargetLayers(rf"{_BLOCK}\.self_attention[2/3]", 768),
            "output": TargetLayers(rf"{_BLOCK}\.self_attention\.out_proj", 768),
            "ffn_up": TargetLayers(rf"{_BLOCK}\.mlp\.0", 768),
            "ffn_down": TargetLayers(rf"{_BLOCK}\.mlp\.3", 768),
            "stem": TargetLayers(r"conv_proj", 768),
            "fc": TargetLayers(r"heads\.head", 768),
        },
        ("conv_proj", "encoder", "heads"),
        patch=16,
    ),
}
