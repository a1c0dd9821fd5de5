"""Images of the user's own looked at one by one: whether each can be read, and what its pixels are."""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from harness.system import assets
from harness.system.paths import path_problem
from harness.task.images import frame_count, picture_digest
from harness.task.intake.files import unlike_data
from harness.task.ragged import cached


@dataclasses.dataclass(frozen=True)
class Looked:
    """The digests of an image file and of its pixels, and its pages; or the `problem` that keeps it from being read."""

    file: str = ""
    pixels: str = ""
    frames: int = 1
    problem: str = ""


def look_at(images: Sequence[Path | bytes]) -> list[Looked]:
    """What each image file, or its content, is; of the same files it is remembered."""
    heads = [_problem(image) for image in images]
    whole = [image for image, problem in zip(images, heads, strict=True) if problem is None]
    files = [hashlib.sha256(each).hexdigest() if isinstance(each, bytes) else assets.sha256_of(each) for each in whole]
    key = hashlib.sha256(repr(("pixels and frames", files)).encode()).hexdigest()
    found = cached("pictures", key, partial(_pixels, whole))
    columns = (found[name].tolist() for name in ("digests", "frames", "reasons"))
    looked = iter([Looked(*each) for each in zip(files, *columns, strict=True)])
    return [next(looked) if problem is None else Looked(problem=problem) for problem in heads]


def _pixels(images: Sequence[Path | bytes]) -> dict[str, np.ndarray]:
    """The digest of each one's pixels, or why it has none; and how many pages it has."""
    digests, reasons, frames = [""] * len(images), [""] * len(images), [1] * len(images)
    for place, image in enumerate(images):
        try:
            digests[place] = picture_digest(image)
            frames[place] = frame_count(image)
        except ValueError as error:
            reasons[place] = str(error).partition(": cannot identify")[0]
    texts = {"digests": np.array(digests, dtype=str), "reasons": np.array(reasons, dtype=str)}
    return texts | {"frames": np.array(frames)}


def _problem(image: Path | bytes) -> str | None:
    if isinstance(image, bytes):
        return unlike_data(image[:512])
    if problem := path_problem(image, "file"):
        return problem
    with open(image, "rb") as file:
        return unlike_data(file.read(512))
