"""Hierarchical image networks that hand out the features of all stages, and a decoder for each task over them.

Shapes: B images, T tasks, K channels of an answer, S pixels a side. Where tasks have streams of their own in the last
block of a stage (MTLoRA), a stage's features are (B + T·B, F, H, W), the shared stream first; else (B, F, H, W).
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.config import DenseModelConfig, Outputs
from harness.model.base import Heads, Network
from harness.model.vision import image_network, rest_frozen_norms
from harness.system import assets


class Stages(nn.Module):
    """A network whose forward pass gives the features of each stage. The next stage reads the shared stream."""

    def __init__(self, network: nn.Module, widths: Sequence[int], last_blocks: Sequence[str]) -> None:
        """`widths` are those of the features, `last_blocks` name the last block of each stage inside `network`."""
        super().__init__()
        self.network, self.widths = network, tuple(widths)
        self.last_blocks = tuple(f"network.{name}" for name in last_blocks)


class SwinStages(Stages):
    """timm's Swin Transformer; a stage's features are taken behind the patch merging, as in the published MTLoRA."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, S, S) to features of every stage."""
        x, found = self.network.patch_embed(images), []  # type: ignore[operator]
        layers = list(self.network.layers)  # type: ignore[arg-type]
        for layer, after in zip(layers, [*layers[1:], None], strict=True):
            x = layer.blocks(x)
            x = x if after is None else after.downsample(x)
            found.append(x.permute(0, 3, 1, 2))
            x = x[: len(images)]
        return found


class ConvStages(Stages):
    """A convolutional network as a stem and steps, some of which end a stage."""

    def __init__(
        self,
        network: nn.Module,
        widths: Sequence[int],
        last_blocks: Sequence[str],
        stem: Sequence[str],
        steps: Mapping[str, bool],
    ) -> None:
        """`stem` names modules that run first, `steps` those behind them and whether each ends a stage."""
        super().__init__(network, widths, last_blocks)
        self.stem, self.steps = tuple(stem), dict(steps)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, S, S) to features of every stage."""
        x, found = images, []
        for name in self.stem:
            x = self.network.get_submodule(name)(x)
        for name, ends in self.steps.items():
            x = self.network.get_submodule(name)(x)
            if ends:
                found.append(x)
                x = x[: len(images)]
        return found


class Decoder(nn.Module):
    """The published head: each stage projected, brought to the first stage's size, joined, and two 1×1 convolutions.

    As in scale-lab/MTLoRA (HRNet's head behind a projection of each stage).
    """

    def __init__(self, widths: Sequence[int], channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        joined = sum(channels)
        self.project = nn.ModuleList(
            nn.Conv2d(width, count, 1, bias=False) for width, count in zip(widths, channels, strict=True)
        )
        self.last = nn.Sequential(
            nn.Conv2d(joined, 4 * joined, 1), nn.BatchNorm2d(4 * joined), nn.ReLU(), nn.Conv2d(4 * joined, outputs, 1)
        )

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Features of every stage to (B, K, H, W) of the first one's size."""
        parts = [project(features) for project, features in zip(self.project, stages, strict=True)]
        size = parts[0].shape[-2:]
        joined = [parts[0], *(F.interpolate(part, size, mode="bilinear") for part in parts[1:])]
        outputs: Tensor = self.last(torch.cat(joined, 1))
        return outputs


class DenseNetwork(Network):
    """A pretrained hierarchical network, and a decoder for each task over the features of all stages."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        base: Stages,
        outputs: Mapping[str, int],
        channels: Sequence[int],
        targets: dict[str, str],
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        head = Heads({name: Decoder(base.widths, channels, count) for name, count in outputs.items()})
        super().__init__(base, head, targets)
        self.stages = base.last_blocks
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The answers of all tasks (B, ΣK, S, S), in their order, of `images`: bytes (B, 3, S, S)."""
        rest_frozen_norms(self.base)
        images = (batch["images"].to(self.mean.dtype) - self.mean) / self.std
        stages, size = self.base(images), images.shape[-2:]
        found = []
        for number, decoder in enumerate(self.head.children()):
            own = [_stream(features, len(images), number) for features in stages]
            found.append(F.interpolate(decoder(own), size, mode="bilinear"))
        return torch.cat(found, 1)


def _stream(features: Tensor, rows: int, task: int) -> Tensor:
    """A task's own features where it has a stream, else the shared ones."""
    return features[(1 + task) * rows : (2 + task) * rows] if len(features) > rows else features


def build(config: DenseModelConfig, outputs: Outputs, weights: bool) -> DenseNetwork:
    """A network with decoders, as harness.model.build says; without `weights`, shapes alone on the meta device."""
    assert not isinstance(outputs, int), "a dense model has a decoder for each task"
    file = base_file(config) if weights else None
    if config.architecture == "swin":
        base, targets = _swin(config, file), _SWIN_TARGETS
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    else:
        network, mean, std = image_network(config.architecture, file, _address(config))
        base, targets = _CONVOLUTIONAL[config.architecture](network), _CONV_TARGETS[config.architecture]
    return DenseNetwork(base, outputs, config.decoder, targets, mean=mean, std=std)


def base_file(config: DenseModelConfig) -> Path | None:
    """The verified file of the pretrained weights; None where they are fresh."""
    return None if config.weights is None else assets.fetch(config.weights.address, config.weights.sha256)


def tokens(_: DenseModelConfig) -> None:
    """It takes no texts."""


def _address(config: DenseModelConfig) -> str:
    return "" if config.weights is None else config.weights.address


_SWIN_BLOCK = r"network\.layers\.\d+\.blocks\.\d+"
_SWIN_TARGETS = {  # one fused matrix holds query, key and value, as in the published MTLoRA: qkv is all of it
    "qkv": rf"{_SWIN_BLOCK}\.attn\.qkv",
    "query": rf"{_SWIN_BLOCK}\.attn\.qkv[0/3]",
    "key": rf"{_SWIN_BLOCK}\.attn\.qkv[1/3]",
    "value": rf"{_SWIN_BLOCK}\.attn\.qkv[2/3]",
    "output": rf"{_SWIN_BLOCK}\.attn\.proj",
    "ffn_up": rf"{_SWIN_BLOCK}\.mlp\.fc1",
    "ffn_down": rf"{_SWIN_BLOCK}\.mlp\.fc2",
    "merging": r"network\.layers\.\d+\.downsample\.reduction",
}
_CONV_TARGETS = {
    "efficientnet_lite0": {
        "pointwise": r"network\.blocks\.\d+\.\d+\.conv_pwl?",
        "conv": r"network\.conv_stem|network\.blocks\.\d+\.\d+\.conv_pwl?",
        "depthwise": r"network\.blocks\.\d+\.\d+\.conv_dw",
        "stem": r"network\.conv_stem",
    },
    "resnet18": {
        "conv": r"network\.(conv1|layer\d\.\d\.(conv\d|downsample\.0))",
        "blocks": r"network\.layer\d\.\d\.conv\d",
        "stem": r"network\.conv1",
    },
}


def _swin(config: DenseModelConfig, file: Path | None) -> Stages:
    from timm.models.swin_transformer import SwinTransformer, checkpoint_filter_fn

    shape = config.shape
    assert shape is not None
    assert config.image_size is not None
    network = SwinTransformer(
        img_size=config.image_size,
        patch_size=shape.patch,
        window_size=shape.window,
        embed_dim=shape.width,
        depths=tuple(shape.depths),
        num_heads=tuple(shape.heads),
        num_classes=0,
        drop_path_rate=0.0,
    )
    network.norm = nn.Identity()  # behind the last stage, for its classifier
    if file is not None:
        _load(network, checkpoint_filter_fn(_read(file, _address(config)), network), _address(config))
    last = len(shape.depths) - 1
    widths = [shape.width * 2 ** min(stage + 1, last) for stage in range(last + 1)]
    return SwinStages(
        network, widths, [f"layers.{stage}.blocks.{depth - 1}" for stage, depth in enumerate(shape.depths)]
    )


def _read(file: Path, address: str) -> dict[str, Tensor]:
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise assets.AssetError(f"{address}: not a file of tensors ({type(error).__name__})") from None
    return dict(stored.get("model", stored))


def _load(network: nn.Module, state: Mapping[str, Tensor], address: str) -> None:
    """Put tensors into their places; a classifier and the norm before it have none."""
    own = network.state_dict()
    missing = [name for name in own if name not in state or state[name].shape != own[name].shape]
    if missing:
        raise assets.AssetError(f"{address}: no fitting weights for {', '.join(missing[:3])}")
    network.load_state_dict({name: state[name] for name in own})


def _efficientnet(network: nn.Module) -> Stages:
    """Stages at a quarter, an eighth, a sixteenth and a thirty-second of the size."""
    steps = {f"blocks.{index}": index in (1, 2, 4, 6) for index in range(7)}
    last = ("blocks.1.1", "blocks.2.1", "blocks.4.2", "blocks.6.0")
    network.conv_head = network.bn2 = network.classifier = nn.Identity()
    return ConvStages(network, (24, 40, 112, 320), last, ("conv_stem", "bn1"), steps)


def _resnet18(network: nn.Module) -> Stages:
    network.fc = nn.Identity()
    steps = {f"layer{stage}": True for stage in (1, 2, 3, 4)}
    last = [f"layer{stage}.1" for stage in (1, 2, 3, 4)]
    return ConvStages(network, (64, 128, 256, 512), last, ("conv1", "bn1", "relu", "maxpool"), steps)


_CONVOLUTIONAL = {"efficientnet_lite0": _efficientnet, "resnet18": _resnet18}
