"""Images of the user's own looked at one by one: whether each can be read, and what its pixels are."""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from harness.system import assets
from harness.system.paths import listed, path_problem
from harness.task.images import frame_count, picture_digest, whitest
from harness.task.intake.files import unlike_data
from harness.task.intake.nearly import THUMBNAIL
from harness.task.ragged import cached

_DARK = 1 << 14  # as of 12 bits in 16


@dataclasses.dataclass(frozen=True)
class Looked:
    """The digests of an image file and of its pixels, its pages, whether parts of it are transparent, `clear`, its
    thumbnail, and the `whitest` level of one of 16 bits; or the `problem` that keeps it from being read. The digest of
    a file with such parts is of what is below them, too.
    """

    file: str = ""
    pixels: str = ""
    frames: int = 1
    clear: bool = False
    problem: str = ""
    thumbnail: bytes = b""
    whitest: int = -1

    @property
    def digest(self) -> str:
        """What two files of one picture share."""
        return self.pixels


def look_at(images: Sequence[Path | bytes], background: str = "white") -> list[Looked]:
    """What each image file, or its content, is, transparent parts laid over the `background`; of the same files it is
    remembered.
    """
    heads = [_problem(image) for image in images]
    whole = [image for image, problem in zip(images, heads, strict=True) if problem is None]
    files = [hashlib.sha256(each).hexdigest() if isinstance(each, bytes) else assets.sha256_of(each) for each in whole]
    key = hashlib.sha256(
        repr(("pixels, frames, transparency, thumbnails and 16 bits", background, files)).encode()
    ).hexdigest()
    found = cached("pictures", key, partial(_pixels, whole, background))
    columns = (found[name].tolist() for name in ("digests", "frames", "clear", "reasons", "whitest"))
    thumbnails = map(np.ndarray.tobytes, found["thumbnails"])
    every = zip(files, *columns, thumbnails, strict=True)
    looked = iter([_looked(*each, background=background) for each in every])
    return [next(looked) if problem is None else Looked(problem=problem) for problem in heads]


def _looked(
    file: str, pixels: str, frames: int, clear: bool, problem: str, whitest: int, thumbnail: bytes, *, background: str
) -> Looked:
    laid = hashlib.sha256(f"{file} over {background}".encode()).hexdigest() if clear else file
    return Looked(laid, pixels, frames, clear, problem, thumbnail, whitest)


def _pixels(images: Sequence[Path | bytes], background: str) -> dict[str, np.ndarray]:
    """The digest of each one's pixels, or why it has none; how many pages it has, if parts are transparent, and its
    thumbnail.
    """
    digests, reasons, frames = [""] * len(images), [""] * len(images), [1] * len(images)
    clear, levels = [False] * len(images), [-1] * len(images)
    thumbnails = np.zeros((len(images), THUMBNAIL**2), dtype=np.uint8)
    for place, image in enumerate(images):
        try:
            digests[place], clear[place], small = picture_digest(image, background)
            thumbnails[place] = np.frombuffer(small, np.uint8)
            frames[place] = frame_count(image)
            levels[place] = whitest(image)
        except ValueError as error:
            reasons[place] = str(error).partition(": cannot identify")[0]
    texts = {"digests": np.array(digests, dtype=str), "reasons": np.array(reasons, dtype=str)}
    pages = {
        "frames": np.array(frames, dtype=int),
        "clear": np.array(clear, dtype=bool),
        "whitest": np.array(levels, dtype=int),
    }
    return texts | pages | {"thumbnails": thumbnails}


def _problem(image: Path | bytes) -> str | None:
    if isinstance(image, bytes):
        return unlike_data(image[:512])
    if problem := path_problem(image, "file"):
        return problem
    with open(image, "rb") as file:
        return unlike_data(file.read(512))


def told_of(files: Sequence[tuple[str, Looked]], background: str) -> list[str]:
    """What is told of image files by their names: pages that are not read, and transparent parts."""
    frames = [name for name, looked in files if looked.frames > 1]
    clear = [name for name, looked in files if looked.clear]
    told = [f"{len(frames)} files have several pages, of which the first is read ({listed(frames)})"] if frames else []
    if clear:
        said = f"{len(clear)} files have transparent parts, which are laid over {background}"
        told.append(f"{said} (task.background; {listed(clear)})")
    if deep := {name: looked.whitest for name, looked in files if looked.whitest >= 0}:
        said = f"{len(deep)} files have 16 bits, with levels up to {max(deep.values())}; 65535 is white in all of them"
        few = f", and {1 + max(deep.values()) // 257} of 256 levels are left" if max(deep.values()) < _DARK else ""
        told.append(f"{said}{few} ({listed(deep)})")
    return told
