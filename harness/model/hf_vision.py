"""Networks of transformers over images: under transformers' own head, or bare ones under a head of ours.

Shapes: B examples, S pixels a side, L tokens, H features, C classes.
"""

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from harness.config import ConfigError, HfModelConfig, Outputs
from harness.model.base import Network, TransformersForm, linear, make_head
from harness.model.hf_classifier import HfClassifier, checkpoint_layers
from harness.model.hf_images import ImageInput, image_input
from harness.model.hf_loading import load_network, main_input
from harness.model.roles import targets_of
from harness.model.vision import rest_frozen_norms


def sees(made: PreTrainedConfig) -> bool:
    """Return whether the network that AutoModel makes of a configuration reads images, and no texts."""
    return getattr(made.get_text_config(), "vocab_size", None) is None and main_input(made) == "pixel_values"


class Seeing(Network):
    """A network that is given images, brought to the mean and the deviation that preprocessor_config.json names."""

    mean: Tensor
    std: Tensor

    def look(self, reads: ImageInput, whole: PreTrainedModel) -> None:
        """Let `whole`, which has the base in it or is the base, read images so from now on."""
        for name, values in (("mean", reads.mean), ("std", reads.std)):
            scaled = torch.tensor(values).view(3, 1, 1) * (1 / reads.factor)
            self.register_buffer(name, scaled, persistent=False)
        self._flips = reads.flip
        if "spatial_shapes" in inspect.signature(whole.forward).parameters:
            kind = whole.config.model_type
            rule = f"a {kind} reads patches that are cut out and laid out beforehand"
            raise ConfigError(f"model=hf: {rule}; model=timm, or another base")
        own, inside = (inspect.signature(each.forward).parameters for each in (whole, self.base))
        handed_on = any(each.kind is each.VAR_KEYWORD for each in own.values()) and "interpolate_pos_encoding" in inside
        self._resamples = "interpolate_pos_encoding" in own or handed_on
        made = getattr(self.base, "config", whole.config)
        self._size = getattr(made, "image_size", None)
        # ViTMAE leaves out patches in the order of a noise, and hands on the others in that order.
        self._patch: int | None = made.patch_size if "noise" in own else None

    def seen(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The input of transformers' network for `images`, bytes (B, 1 or 3, S, S); positions are resampled."""
        images = (batch["images"].to(self.mean.dtype) - self.mean) / self.std  # one channel becomes three alike
        if self._flips:
            images = images.flip(1)
        found: dict[str, Any] = {"pixel_values": images}
        if self._resamples and images.shape[-1] != (self._size or images.shape[-1]):
            found["interpolate_pos_encoding"] = True
        if self._patch is not None:
            patches = (images.shape[-1] // self._patch) ** 2
            found["noise"] = torch.arange(patches, device=images.device).expand(len(images), -1)
        return found


class HfImageClassifier(HfClassifier, Seeing):
    """A network with transformers' own head for images."""

    auto_class = "AutoModelForImageClassification"
    task_type = None

    def __init__(self, whole: PreTrainedModel, reads: ImageInput, *, stored_head: bool = False) -> None:
        super().__init__(whole, stored_head=stored_head)
        self.look(reads, whole)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C)."""
        rest_frozen_norms(self.base)
        logits: Tensor = self.whole(**self.seen(batch)).logits
        return logits


class PooledImages(Seeing):
    """A bare network of transformers, what it sees pooled to one vector, and linear heads."""

    def __init__(self, base: PreTrainedModel, head: nn.Module, pooling: str, reads: ImageInput) -> None:
        super().__init__(base, head, targets_of(base))
        self.pooling = pooling
        self._beside = _tokens_beside(base)
        self.look(reads, base)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C)."""
        rest_frozen_norms(self.base)
        return self.answer(self._pool(self.base(**self.seen(batch))), batch)

    def checkpoint_activations(self) -> None:
        checkpoint_layers(self.base)

    def transformers_form(self) -> TransformersForm:
        return TransformersForm(self.base, "AutoModel", None, loose_head=True)

    def _pool(self, out: Any) -> Tensor:
        """(B, H); auto: as the network itself pools, else its class token, else the mean of patches."""
        own: Tensor | None = getattr(out, "pooler_output", None)
        if own is not None and self.pooling in ("auto", "pooler"):
            return own.flatten(1)
        states: Tensor = out.last_hidden_state
        if self.pooling == "pooler":
            raise ValueError("it has no pooler; model.pooling=mean")
        if states.ndim == 4:  # of convolutions: (B, H, height, width)
            return states.mean((2, 3))
        if self._beside and self.pooling != "mean":
            return states[:, 0]
        return states[:, self._beside :].mean(1)


def build_pooled(config: HfModelConfig, made: PreTrainedConfig, outputs: Outputs, found: Path, stored: bool) -> Network:
    """A bare network that the folder `found` describes, with its weights if `stored`, under a head for each task.

    Raises ConfigError where it makes no one vector of an image.
    """
    where = f"model.address={config.address}"
    if config.head == "stored":
        raise ConfigError(f"model.head=stored: {made.model_type} has no classifier here; model.head=fresh")
    if config.pooling == "last":
        raise ConfigError(f"model.pooling=last: of images auto, mean, first (the class token) or pooler; {where}")
    if hasattr(made, "mask_ratio"):  # ViTMAE's: no patch is left out
        made.mask_ratio = 0.0
    reads = image_input(found, made.model_type)
    head = make_head(outputs, partial(linear, _features(config, made, reads)))
    base = load_network(config, AutoModel, made, found if stored else None)
    return PooledImages(base, head, config.pooling, reads)


def _features(config: HfModelConfig, made: PreTrainedConfig, reads: ImageInput) -> int:
    """The number of features of an image in a bare network, asked of one without memory."""
    size = getattr(made, "image_size", None)
    side = size if isinstance(size, int) else 224
    try:
        with torch.device("meta"), torch.no_grad():
            probe = PooledImages(AutoModel.from_config(made).eval(), nn.Identity(), config.pooling, reads)
            shape = probe({"images": torch.zeros(1, 3, side, side, dtype=torch.uint8)}).shape
        if len(shape) != 2:
            raise ValueError(f"what it gives has the shape {tuple(shape)}")
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, ImportError) as error:
        said = " ".join(str(error).split())[:200]
        rule = f"{made.model_type} makes no one vector of an image: {said}; model=timm has networks of images"
        raise ConfigError(f"model.address={config.address}: {rule}") from None
    return int(shape[1])


def _tokens_beside(base: nn.Module) -> int:
    """The number of tokens before those of patches: class tokens and registers."""
    named: Mapping[str, Tensor] = {name.rpartition(".")[2]: tensor for name, tensor in base.named_parameters()}
    token = named.get("cls_token", named.get("class_embedding"))
    if token is None:
        return 0
    classes = token.shape[-2] if token.ndim > 1 else 1
    return int(classes + (getattr(base.config, "num_register_tokens", 0) or 0))
