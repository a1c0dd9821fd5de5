"""Preprocessing of images for a network of transformers, as its folder's preprocessor_config.json says."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from transformers.models.auto import image_processing_auto

from harness.config import ConfigError

FILE = "preprocessor_config.json"
# Sizes are the task's own; labels and the kind of image are no matter here.
_KNOWN = {
    *("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order"),
    *("do_convert_rgb", "do_reduce_labels", "do_pad"),
}


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """The network's input for a byte x of a channel: (x·factor - mean) / std; with `flip`, channels are BGR."""

    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool

    def settings(self, size: int) -> dict[str, Any]:
        """These settings as transformers' image processors have them, for images of `size` pixels a side."""
        kind = "MobileViTImageProcessor" if self.flip else "ViTImageProcessor"
        flips = {"do_flip_channel_order": True, "do_center_crop": False} if self.flip else {}
        return {
            "image_processor_type": kind,
            "do_resize": True,
            "size": {"height": size, "width": size},
            "do_rescale": True,
            "rescale_factor": self.factor,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        } | flips


def image_input(folder: Path, model_type: str) -> ImageInput:
    """Read the folder's file; missing keys are those of the architecture's image processor.

    Raises ConfigError where neither tells, or where more is asked for than a linear change of each channel.
    """
    where, path = f"{folder / FILE}", folder / FILE
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kind = _processor(said, model_type)
    if kind is None and not said:
        raise ConfigError(f"{where}: no such file, and transformers has no image processor for {model_type}")

    def value(key: str, default: Any) -> Any:
        found = said.get(key, getattr(kind, key, None))
        return default if found is None and key not in said else found

    asked = {key for key in (*said, *dir(kind)) if key.startswith("do_") and key not in _KNOWN and value(key, False)}
    if asked:
        raise ConfigError(f"{where}: {', '.join(sorted(asked))}: images are not read so here")
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    if value("do_normalize", False):
        mean, std = tuple(value("image_mean", ()) or ()), tuple(value("image_std", ()) or ())
        if not len(mean) == len(std) == 3:
            raise ConfigError(f"{where}: image_mean and image_std are not of three channels")
        if value("include_top", False):  # of EfficientNet: divided once more
            std = tuple(each * each for each in std)
    factor = float(value("rescale_factor", 1 / 255)) if value("do_rescale", True) else 1.0
    if value("rescale_offset", False):
        raise ConfigError(f"{where}: rescale_offset: images are not read so here")
    return ImageInput(factor, mean, std, bool(value("do_flip_channel_order", False)))


def _processor(said: dict[str, Any], model_type: str) -> Any:
    """The class of the image processor that is named, or that is the architecture's; None where there is none."""
    named = said.get("image_processor_type") or said.get("feature_extractor_type")
    usual = vars(image_processing_auto)["IMAGE_PROCESSOR_MAPPING_NAMES"].get(model_type)
    names = [named.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")] if named else []
    names += list(usual.values()) if isinstance(usual, dict) else [usual] if usual else []
    for name in names:
        try:
            found = image_processing_auto.get_image_processor_class_from_name(name)
        except (ImportError, AttributeError):
            continue
        if found is not None and not getattr(found, "is_dummy", False):
            return found
    return None
