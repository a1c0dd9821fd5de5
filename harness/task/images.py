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
class ImageSplit:
    """Images, either pixels (N, S, S) or (N, S, S, 3) as bytes or the files they are in, or these files' contents;
    classes, or what else is answered; a digest of each.

    `pictures` are digests of the decoded pixels, which two files of one picture share; empty where those are the same.
    Transparent parts of files are laid over the colour `background`. `thumbnails` are as picture_digest makes them.
    """

    images: np.ndarray | tuple[Path | bytes, ...]
    labels: np.ndarray
    digests: tuple[str, ...]
    pictures: tuple[str, ...] = ()
    background: str = "white"
    thumbnails: tuple[bytes, ...] = ()

    @property
    def contents(self) -> tuple[str, ...]:
        """What tells one image from another."""
        return self.pictures or self.digests

    def __len__(self) -> int:
        return len(self.digests)

    def take(self, rows: Iterable[int]) -> "ImageSplit":
        """The split that holds these rows, in this order."""
        rows = np.fromiter(rows, dtype=np.int64)
        images = self.images[rows] if isinstance(self.images, np.ndarray) else tuple(self.images[row] for row in rows)
        of_each = (self.digests, self.pictures, self.thumbnails)
        digests, pictures, thumbnails = (tuple(of[row] for row in rows if of) for of in of_each)
        return ImageSplit(images, self.labels[rows], digests, pictures, self.background, thumbnails)


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
        """What each row costs."""
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

    Read from the cache, where it lies under the digest of all that shapes it. Raises ConfigError for a file that is
    no image.
    """
    over = () if isinstance(split.images, np.ndarray) else (split.background,)
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
        yield Image.fromarray(image) if isinstance(image, np.ndarray) else _open(image, split.background)


def _open(image: Path | bytes, background: str = "white") -> "Image":
    try:
        return opaque(open_picture(image), background)
    except ValueError as error:
        named = image if isinstance(image, Path) else "an image that the table holds"
        raise ConfigError(f"task.data: {named} {error}") from None


def open_picture(image: Path | bytes) -> "Image":
    """An image file, or its content, of 8 bits a channel, upright, as RGB, or as RGBA where parts may be transparent;
    the 65,536 levels of one of 16 bits become 256.

    Raises ValueError for what is none.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(_file(image)) as opened:
            deep = opened.mode.startswith("I;16")
            if opened.mode.startswith(("I", "F")) and not deep:  # Pillow would cut what is above 255
                rule = "what is black and white in it is not said; save it with 8 or 16 bits"
                raise ValueError(f"has more than 16 bits a channel ({opened.mode}): {rule}")
            upright: Image.Image = ImageOps.exif_transpose(opened)
            if deep:
                return Image.fromarray(_of_16_bits(upright)).convert("RGB")
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"is no image that can be read: {error}") from None


def _of_16_bits(opened: "Image") -> np.ndarray:
    """Grey of 16 bits (H, W) in 8, 65535 being white."""
    scaled: np.ndarray = np.rint(np.asarray(opened, dtype=np.uint16) / 257).astype(np.uint8)
    return scaled


def whitest(image: Path | bytes) -> int:
    """The highest level of an image of 16 bits; −1 of others."""
    from PIL import Image

    with Image.open(_file(image)) as opened:
        return int(np.asarray(opened, dtype=np.uint16).max()) if opened.mode.startswith("I;16") else -1


def opaque(image: "Image", background: str) -> "Image":
    """An image as RGB, its transparent parts laid over a colour, as who looks at it would see it."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, background), seen).convert("RGB")


def picture_digest(image: Path | bytes, background: str = "white") -> tuple[str, bool, bytes]:
    """The digest of an image's pixels, the same in whatever format it is saved without loss; whether parts of it are
    transparent, which are laid over the `background`; and its grey thumbnail, much the same after loss, too.

    Raises ValueError for one of which nothing is seen there.
    """
    from PIL import Image
    from PIL.Image import Resampling

    opened = open_picture(image)
    seen = opaque(opened, background)
    clear = opened.mode == "RGBA" and opened.getchannel("A").getextrema()[0] != 255
    if clear and seen.tobytes() == Image.new("RGB", seen.size, background).tobytes():
        other = "black" if background == "white" else "white"
        laid = f"is blank where its transparent parts are laid over {background}"
        raise ValueError(f"{laid}; task.background={other}, if it is seen there")
    small = seen.resize((THUMBNAIL, THUMBNAIL), Resampling.BILINEAR, reducing_gap=2).convert("L").tobytes()
    return hashlib.sha256(repr(seen.size).encode() + seen.tobytes()).hexdigest(), clear, small


def frame_count(image: Path | bytes) -> int:
    """How many pages or frames an image file has. Raises ValueError where they cannot be counted."""
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
