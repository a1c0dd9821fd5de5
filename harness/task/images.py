"""Images as a model reads them: brought to one size once, cached as bytes, sliced into batches.

Shapes: N images of a split, B of a batch, C channels (1 or 3), S pixels a side.
"""

import dataclasses
import hashlib
import io
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.config import ConfigError
from harness.system import assets
from harness.task.base import Inputs
from harness.task.intake.nearly import THUMBNAIL


@dataclasses.dataclass(frozen=True)
class Rendering:
    """The conversion of files to images of 8 bits a channel: transparent parts are laid over the colour `background`,
    and the two values of `range` are black and white in grey of more than 8 bits; None: 0 and 65535, for 16 bits.
    """

    background: str = "white"
    range: Sequence[float] | None = None


_USUAL = Rendering()
UNRANGED = "has floats, 32 bits or signs"


@dataclasses.dataclass(frozen=True)
class ImageSplit:
    """Images, either pixels (N, S, S) or (N, S, S, 3) as bytes or the files they are in, or these files' contents;
    classes, or what else is answered; a digest of each.

    `pictures` are digests of the decoded pixels, which two files of one picture share; empty where those are the same.
    Files are read as the `rendering` says. `thumbnails` are as picture_digest makes them.
    """

    images: np.ndarray | tuple[Path | bytes, ...]
    labels: np.ndarray
    digests: tuple[str, ...]
    pictures: tuple[str, ...] = ()
    rendering: Rendering = _USUAL
    thumbnails: tuple[bytes, ...] = ()

    @property
    def contents(self) -> tuple[str, ...]:
        """The digests that tell images apart."""
        return self.pictures or self.digests

    def __len__(self) -> int:
        return len(self.digests)

    def take(self, rows: Iterable[int]) -> "ImageSplit":
        """The split that holds these rows, in this order."""
        rows = np.fromiter(rows, dtype=np.int64)
        images = self.images[rows] if isinstance(self.images, np.ndarray) else tuple(self.images[row] for row in rows)
        of_each = (self.digests, self.pictures, self.thumbnails)
        digests, pictures, thumbnails = (tuple(of[row] for row in rows if of) for of in of_each)
        return ImageSplit(images, self.labels[rows], digests, pictures, self.rendering, thumbnails)


def evenly_drawn(labels: Sequence[Any], rows: int | None, seed: int) -> list[int]:
    """The places of so many rows, in their order: of classes, as many of each as far as there are; of labels that are
    none, at random. All where `rows` is None.
    """
    if rows is None or rows >= len(labels):
        return list(range(len(labels)))
    order = np.random.default_rng(seed).permutation(len(labels))
    classes = np.array([label if isinstance(label, int) else 0 for label in labels])
    turn = np.zeros(len(labels), dtype=np.int64)  # an image's place among those of its class
    for label in np.unique(classes):
        mine = order[classes[order] == label]
        turn[mine] = np.arange(len(mine))
    first = order[np.argsort(turn[order], kind="stable")]
    return sorted(first[:rows].tolist())


if TYPE_CHECKING:  # Pillow comes with the extra vision; a text user may not have it
    from PIL.Image import Image


@dataclasses.dataclass(frozen=True)
class ImageInputs(Inputs):
    """A split's images (N, C, S, S) as bytes, and their classes (N). All rows cost alike."""

    images: np.ndarray
    labels: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """The cost of each row."""
        return np.ones(len(self.labels), dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Images (B, C, S, S) as bytes, labels (B), rows (B)."""
        chosen = list(rows)
        return {
            "images": torch.from_numpy(self.images[chosen]),
            "labels": torch.from_numpy(self.labels[chosen]),
            "rows": torch.tensor(chosen),
        }


def image_inputs(split: ImageSplit, size: int) -> ImageInputs:
    """A split at `size` pixels a side: the shorter side is fitted, the longer one cropped to the centre.

    They are cached under the digest of everything that determines them. Raises ConfigError for a file that is
    no image.
    """
    over = () if isinstance(split.images, np.ndarray) else (split.rendering.background,)
    key = hashlib.sha256(repr(("bilinear", size, split.digests, *over)).encode()).hexdigest()
    path = assets.cache_folder() / "images" / f"{key}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = path.with_name(f"{key}.{os.getpid()}.npy")
        np.save(scratch, np.stack([_fit(image, size) for image in _pictures(split)]))
        os.replace(scratch, path)
    return ImageInputs(np.load(path, mmap_mode="r"), split.labels)


def _pictures(split: ImageSplit) -> Iterator["Image"]:
    from PIL import Image

    for image in split.images:
        yield Image.fromarray(image) if isinstance(image, np.ndarray) else _open(image, split.rendering)


def _open(image: Path | bytes, rendering: Rendering = _USUAL) -> "Image":
    try:
        return opaque(open_picture(image, rendering.range), rendering.background)
    except ValueError as error:
        named = image if isinstance(image, Path) else "an image that the table holds"
        raise ConfigError(f"task.data: {named} {error}") from None


def open_picture(image: Path | bytes, span: Sequence[float] | None = None) -> "Image":
    """An image file, or its content, of 8 bits a channel, upright, as RGB, or as RGBA where parts may be transparent;
    of more bits, the values of the `span` become 256 levels, beyond it black and white.

    Raises ValueError for what is none, and for one of floats, of 32 bits or with signs, where there is no `span`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(_file(image)) as opened:
            span = span or ((0, 65535) if _has_16_bits(opened) else None)
            if _is_deep(opened):
                if span is None:
                    raise ValueError(UNRANGED)
                return Image.fromarray(in_8_bits(_values(opened), *span)).convert("RGB")
            upright: Image.Image = ImageOps.exif_transpose(opened)
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"is no image that can be read: {error}") from None


def _is_deep(opened: "Image") -> bool:
    """Return whether it is grey with more than 8 bits, whose values above 255 Pillow would cut."""
    return opened.mode.startswith(("I", "F"))


def _has_16_bits(opened: "Image") -> bool:
    """Return whether its levels are 0 to 65535; Pillow scales those of PGM to these, and may hold them in 32 bits."""
    return opened.mode.startswith("I;16") or (opened.mode == "I" and opened.format in ("PNG", "PPM"))


def _values(opened: "Image") -> np.ndarray:
    """The values of a grey picture with more than 8 bits, upright (H, W)."""
    from PIL import ExifTags, ImageOps

    unsigned = opened.format == "TIFF" and opened.getexif().get(ExifTags.Base.SampleFormat, 1) in (1, (1,))
    values = np.asarray(ImageOps.exif_transpose(opened))
    return values.view(np.uint32) if opened.mode == "I" and unsigned else values  # Pillow reads them as signed


def in_8_bits(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """The levels 0 to 255 that values become from black to white, and beyond them."""
    shares = (values.astype(np.float64) - black) / (white - black)
    scaled: np.ndarray = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return scaled


def value_range(image: Path | bytes) -> tuple[float, float] | None:
    """The lowest and the highest value of grey of more than 8 bits; None of other images.

    Raises ValueError for values that are no numbers, and for what is no image.
    """
    from PIL import Image

    try:
        with Image.open(_file(image)) as opened:
            if not _is_deep(opened):
                return None
            values = _values(opened)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"is no image that can be read: {error}") from None
    if not np.isfinite(values).all():
        raise ValueError("has values that are no numbers (NaN, or infinite)")
    return float(values.min()), float(values.max())


def opaque(image: "Image", background: str) -> "Image":
    """An image as RGB, its transparent parts laid over a colour, as who looks at it would see it."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, background), seen).convert("RGB")


def picture_digest(image: Path | bytes, rendering: Rendering = _USUAL) -> tuple[str, bool, bool, bytes]:
    """The digest of an image's pixels, the same in whatever format it is saved without loss; whether parts of it are
    transparent; whether it is all black or all white; and its grey thumbnail, much the same after loss, too.

    Raises ValueError for one of which nothing is seen there.
    """
    from PIL import Image
    from PIL.Image import Resampling

    background = rendering.background
    opened = open_picture(image, rendering.range)
    seen = opaque(opened, background)
    clear = opened.mode == "RGBA" and opened.getchannel("A").getextrema()[0] != 255
    if clear and seen.tobytes() == Image.new("RGB", seen.size, background).tobytes():
        other = "black" if background == "white" else "white"
        laid = f"is blank where its transparent parts are laid over {background}"
        raise ValueError(f"{laid}; task.background={other}, if it is seen there")
    small = seen.resize((THUMBNAIL, THUMBNAIL), Resampling.BILINEAR, reducing_gap=2).convert("L").tobytes()
    digest = hashlib.sha256(repr(seen.size).encode() + seen.tobytes()).hexdigest()
    return digest, clear, seen.getcolors(1) is not None and small[0] in (0, 255), small


def frame_count(image: Path | bytes) -> int:
    """Return the number of pages or frames of an image file. Raises ValueError if they cannot be counted."""
    from PIL import Image

    try:
        with Image.open(_file(image)) as opened:
            return int(getattr(opened, "n_frames", 1))
    except (OSError, SyntaxError, IndexError, TypeError, struct.error) as error:  # Pillow's, of frames that are cut off
        raise ValueError(f"is no image that can be read: {error}") from None


def _file(image: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(image) if isinstance(image, bytes) else image


def _fit(image: "Image", size: int) -> np.ndarray:
    """(C, S, S); Pillow's filters take all the pixels that they cover, so nothing is aliased."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    fitted = np.asarray(ImageOps.fit(image, (size, size), method=Resampling.BILINEAR))
    return fitted[None] if fitted.ndim == 2 else fitted.transpose(2, 0, 1)
