"""Models of the user's own: what such a class has to be, and how it is built from its dotted path."""

from pathlib import Path
from typing import ClassVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from harness.config import ConfigError, GuestModelConfig, Outputs, Tokens
from harness.config.guests import load_guest, make_guest
from harness.model.base import Network, linear, make_head
from harness.system import assets


class GuestModel(Network):
    """Subclass it, and name the subclass as `model.kind=package.module:Name`.

    The subclass sets `reads`, builds its base from `model.arguments` in its constructor, and has `forward`, which ends
    in `self.answer(features, batch)`. The content of a batch depends on `reads`:

    - text: `ids` (B, L), token numbers, and `mask` (B, L), 1 on real tokens; `pad_id` is the id of padding.
    - vision: `images` (B, C, S, S), bytes, C being 1 or 3.
    - speech: `frames` (B, T, 40), mel frames, and `lengths` (B), the frames of each recording.

    The constructor makes shapes only: parameters are counted by building it without memory. Weights are read by `load`.
    """

    reads: ClassVar[str]
    pad_id: ClassVar[int] = 0

    def __init__(self, base: nn.Module, features: int, targets: dict[str, str]) -> None:
        """`features` is the width that the head reads; `targets` maps names to patterns of module names in `base`."""
        super().__init__(base, nn.Identity(), targets)
        self.features = features

    def make_head(self, outputs: int) -> nn.Module:
        """A fresh head for one task."""
        return linear(self.features, outputs)

    def load(self, weights: Path) -> None:
        """Read the pretrained weights of `base` from what `model.weights` names: a file or folder of safetensors."""
        self.base.load_state_dict(load_file(_file_in(weights)))


READS = ("text", "vision", "speech")


def guest_model_class(path: str) -> type[GuestModel]:
    """The class that a dotted path names. Raises ConfigError where it is no guest."""
    kind = load_guest("model.kind", path, GuestModel)  # type: ignore[type-abstract]
    if getattr(kind, "reads", None) not in READS:
        raise ConfigError(f"model.kind={path}: {kind.__name__}.reads is none of {', '.join(READS)}")
    return kind


def build(config: GuestModelConfig, outputs: Outputs, weights: bool) -> GuestModel:
    """The user's network with a head, as harness.model.build says."""
    model = make_guest("model.arguments", guest_model_class(config.kind), config.arguments)
    model.head = make_head(outputs, model.make_head)
    if weights and config.weights is not None:
        try:
            model.load(_fetched(config))
        except (RuntimeError, OSError, SafetensorError) as error:
            said = " ".join(str(error).split())
            raise assets.AssetError(f"{config.weights.address}: not the weights of {config.kind}: {said}") from None
    return model


def base_file(config: GuestModelConfig) -> Path | None:
    """The verified file of the pretrained weights; None where they are fresh."""
    return None if config.weights is None else _file_in(_fetched(config))


def tokens(config: GuestModelConfig) -> Tokens | None:
    """The tokenizer as configured, or beside the weights; None where the model takes no texts."""
    kind = guest_model_class(config.kind)
    if kind.reads != "text":
        return None
    source = config.tokenizer or config.weights
    if source is None:
        raise ConfigError(f"model.tokenizer: missing; {config.kind} reads text and has no weights with one beside them")
    path = assets.fetch(source.address, source.sha256)
    return Tokens(path if path.is_file() else path / "tokenizer.json", kind.pad_id)


def _fetched(config: GuestModelConfig) -> Path:
    assert config.weights is not None
    return assets.fetch(config.weights.address, config.weights.sha256)


def _file_in(path: Path) -> Path:
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise assets.AssetError(f"{path}: no model.safetensors in it")
    return file
