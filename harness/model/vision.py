"""Image networks with ImageNet weights: built by timm and torchvision, weights checked and mapped, with a fresh head.

Shapes: B images, C channels (1 or 3), S pixels a side, F features, K classes.
"""

import dataclasses
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.config import ConfigError, Outputs, VisionModelConfig
from harness.model.base import Network, linear, make_head
from harness.system import assets


class VisionClassifier(Network):
    """A pretrained network from images to features, or to ImageNet's 1,000 logits, and a fresh head."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        base: nn.Module,
        head: nn.Module,
        targets: dict[str, str],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__(base, head, targets)
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)
        self._computes_again = False

    def checkpoint_activations(self) -> None:
        enable = getattr(self.base, "set_grad_checkpointing", None)
        if enable is None:
            super().checkpoint_activations()
        else:
            self._computes_again = True
            try:
                enable()
            except AssertionError:
                kind = type(self.base).__name__
                rule = f"timm has none for {kind}; set it to false"
                raise ConfigError(f"trainer.activation_checkpointing=true: {rule}") from None

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, K) of `images`: bytes (B, C, S, S)."""
        rest_frozen_norms(self.base)
        if self._computes_again and any(isinstance(part, _BatchNorm) and part.training for part in self.base.modules()):
            rule = "batch norms that train would take their statistics twice; set it to false"
            raise ConfigError(f"trainer.activation_checkpointing=true: {rule}")
        images_BCSS = (batch["images"].to(self.mean.dtype) - self.mean) / self.std  # one channel becomes three alike
        # A third faster on a CPU; the weights stay as they are, since a file of weights wants them contiguous.
        features_BF = self.base(images_BCSS.contiguous(memory_format=torch.channels_last))
        return self.answer(features_BF, batch)


def rest_frozen_norms(base: nn.Module) -> None:
    """Let batch norms whose weights are frozen use the pretrained statistics, and leave them as they are.

    A frozen base is then frozen bit for bit, its buffers too; where the weights are trained, statistics are as well.
    """
    for module in base.modules():
        if isinstance(module, _BatchNorm) and module.training and not module.weight.requires_grad:
            module.eval()


_Colours = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class _Architecture:
    """A network's builder, the format of its weights, and the location of its ImageNet classifier."""

    build: Callable[[int | None], nn.Module]
    rename: Callable[[str], str]
    classifier: str
    features: int
    mean: _Colours
    std: _Colours


def build(config: VisionModelConfig, outputs: Outputs, weights: bool) -> VisionClassifier:
    """A classifier, as harness.model.build says; without `weights`, its base is shapes alone on the meta device."""
    kind = _ARCHITECTURES[config.architecture]
    with torch.device("meta"):
        base = kind.build(config.image_size)
    if weights:
        _load(base, kind, config)
    features = 1000
    if not config.classifier:
        parent, _, name = kind.classifier.rpartition(".")
        setattr(base.get_submodule(parent), name, nn.Identity())
        features = kind.features
    head = make_head(outputs, partial(linear, features))
    targets = {name: config.known.targets[name].pattern for name in config.rank_limits}
    return VisionClassifier(base, head, targets, kind.mean, kind.std)


def image_network(architecture: str, file: Path | None, address: str) -> tuple[nn.Module, _Colours, _Colours]:
    """A network with its ImageNet classifier, and the mean and deviation of the colours that it reads.

    Its weights come from a verified file, or without one are fresh, on the current device.
    """
    kind = _ARCHITECTURES[architecture]
    if file is None:
        return kind.build(None), kind.mean, kind.std
    with torch.device("meta"):
        base = kind.build(None)
    _put(base, kind, file, address, lambda state: state)
    return base, kind.mean, kind.std


def base_file(config: VisionModelConfig) -> Path:
    """The verified file of the pretrained weights."""
    return assets.fetch(config.weights.address, config.weights.sha256)


def tokens(_: VisionModelConfig) -> None:
    """It takes no texts."""


def _load(base: nn.Module, kind: _Architecture, config: VisionModelConfig) -> None:
    """Put the file's tensors into a network on the meta device: each has its place, and no place is left empty."""

    def placed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        if config.known.patch is None or config.image_size is None:
            return state
        return _positions(state, config.image_size, config.known.patch)

    _put(base, kind, base_file(config), config.weights.address, placed)


def _put(
    base: nn.Module,
    kind: _Architecture,
    file: Path,
    address: str,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
) -> None:
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        # Some were stored as transposed views; what is saved later must be contiguous.
        state = {kind.rename(name): tensor.contiguous() for name, tensor in stored.items()}
        base.load_state_dict(change(state), assign=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        architecture = next(name for name, known in _ARCHITECTURES.items() if known is kind)
        raise assets.AssetError(f"{address}: not the weights of {architecture}: {' '.join(lines[:3])}") from None


def _positions(state: dict[str, Tensor], image_size: int, patch: int) -> dict[str, Tensor]:
    """The position table resampled from 14×14 patches to those of another image size (bicubic)."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: dict[str, Tensor] = interpolate_embeddings(image_size, patch, dict(state))
    return made


def _efficientnet_lite0(_: int | None) -> nn.Module:
    import timm  # a second of import that other models need not wait for

    # TensorFlow's port: padding SAME (more on the right and below where the stride is 2) and norms with ε = 0.001.
    made: nn.Module = timm.create_model("tf_efficientnet_lite0")
    return made


def _resnet18(_: int | None) -> nn.Module:
    from torchvision.models import resnet18

    made: nn.Module = resnet18()
    return made


def _vit_b_16(image_size: int | None) -> nn.Module:
    from torchvision.models import vit_b_16

    made: nn.Module = vit_b_16(image_size=image_size or 224)
    return made


_LITE0_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)  # blocks in each stage
_LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite0_name(name: str) -> str:
    """The name in timm's EfficientNet-lite0 of a tensor of the published file, whose blocks are counted through."""
    outer, _, rest = name.partition(".")
    if outer != "_blocks":
        return f"{_LITE0_OUTER[outer]}.{rest}"
    number, part, leaf = rest.split(".", 2)
    stage, index = 0, int(number)
    while index >= _LITE0_STAGES[stage]:
        index -= _LITE0_STAGES[stage]
        stage += 1
    parts = _LITE0_BLOCK if stage else _LITE0_FIRST  # the first stage does not expand
    return f"blocks.{stage}.{index}.{parts[part]}.{leaf}"


def _same(name: str) -> str:
    return name


_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_ARCHITECTURES = {
    "efficientnet_lite0": _Architecture(
        _efficientnet_lite0, lite0_name, "classifier", 1280, mean=(127 / 255,) * 3, std=(128 / 255,) * 3
    ),
    "resnet18": _Architecture(_resnet18, _same, "fc", 512, **_IMAGENET),
    "vit_b_16": _Architecture(_vit_b_16, _same, "heads.head", 768, **_IMAGENET),
}
