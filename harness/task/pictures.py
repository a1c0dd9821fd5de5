"""Images of the user's own looked at one by one: whether each can be read, and what its pixels are."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from harness.config import FolderTaskConfig, ImageTableConfig
from harness.system import assets
from harness.system.paths import listed, path_problem
from harness.task.images import UNRANGED, Rendering, frame_count, picture_digest, value_range
from harness.task.intake.files import unlike_data
from harness.task.intake.nearly import THUMBNAIL
from harness.task.ragged import cached

_DARK = 1 << 14  # as of 12 bits in 16
_USUAL = Rendering()
_NONE = float("nan")


@dataclasses.dataclass(frozen=True)
class Looked:
    """The digests of an image file and of its pixels, its pages, whether parts of it are transparent, `clear`, its
    thumbnail, and the `lowest` and `highest` value of grey of more than 8 bits; or the `problem` that keeps it from
    being read. The digest of a file with such parts is of what is below them, too, and where the range of values is
    given, of that.
    """

    file: str = ""
    pixels: str = ""
    frames: int = 1
    clear: bool = False
    problem: str = ""
    thumbnail: bytes = b""
    lowest: float = _NONE
    highest: float = _NONE

    @property
    def digest(self) -> str:
        """What two files of one picture share."""
        return self.pixels


def rendering_of(config: FolderTaskConfig | ImageTableConfig) -> Rendering:
    """How the images of a user's own are read."""
    return Rendering(config.background, config.range)


def look_at(images: Sequence[Path | bytes], rendering: Rendering = _USUAL) -> list[Looked]:
    """What each image file, or its content, is; of the same files it is remembered."""
    heads = [_problem(image) for image in images]
    whole = [image for image, problem in zip(images, heads, strict=True) if problem is None]
    files = [hashlib.sha256(each).hexdigest() if isinstance(each, bytes) else assets.sha256_of(each) for each in whole]
    key = hashlib.sha256(
        repr(("pixels, frames, transparency, thumbnails and values", rendering, files)).encode()
    ).hexdigest()
    found = cached("pictures", key, partial(_pixels, whole, rendering))
    columns = (found[name].tolist() for name in ("digests", "frames", "clear", "reasons", "lowest", "highest"))
    thumbnails = map(np.ndarray.tobytes, found["thumbnails"])
    every = zip(files, *columns, thumbnails, strict=True)
    looked = iter(_with_range([_looked(*each, rendering=rendering) for each in every]))
    return [next(looked) if problem is None else Looked(problem=problem) for problem in heads]


def _looked(
    file: str,
    pixels: str,
    frames: int,
    clear: bool,
    problem: str,
    lowest: float,
    highest: float,
    thumbnail: bytes,
    *,
    rendering: Rendering,
) -> Looked:
    if clear:
        file = hashlib.sha256(f"{file} over {rendering.background}".encode()).hexdigest()
    elif rendering.range is not None and not math.isnan(lowest):
        file = hashlib.sha256(f"{file} from {list(rendering.range)}".encode()).hexdigest()
    return Looked(file, pixels, frames, clear, problem, thumbnail, lowest, highest)


def _with_range(files: list[Looked]) -> list[Looked]:
    """The same, those of which black and white are not known with the values that all of them have."""
    unknown = [looked for looked in files if looked.problem == UNRANGED]
    if not unknown:
        return files
    span = f"{min(each.lowest for each in unknown):g},{max(each.highest for each in unknown):g}"
    rule = f"task.range=[BLACK,WHITE] says which values are black and white; the lowest and the highest are [{span}]"
    return [
        dataclasses.replace(looked, problem=f"{UNRANGED}: {rule}") if looked.problem == UNRANGED else looked
        for looked in files
    ]


def _pixels(images: Sequence[Path | bytes], rendering: Rendering) -> dict[str, np.ndarray]:
    """The digest of each one's pixels, or why it has none; how many pages it has, if parts are transparent, its
    thumbnail, and of grey of more than 8 bits the lowest and highest value.
    """
    digests, reasons, frames = [""] * len(images), [""] * len(images), [1] * len(images)
    clear, levels = [False] * len(images), [(_NONE, _NONE)] * len(images)
    thumbnails = np.zeros((len(images), THUMBNAIL**2), dtype=np.uint8)
    for place, image in enumerate(images):
        try:
            levels[place] = value_range(image) or levels[place]
            digests[place], clear[place], small = picture_digest(image, rendering)
            thumbnails[place] = np.frombuffer(small, np.uint8)
            frames[place] = frame_count(image)
        except ValueError as error:
            reasons[place] = str(error).partition(": cannot identify")[0]
    texts = {"digests": np.array(digests, dtype=str), "reasons": np.array(reasons, dtype=str)}
    pages = {
        "frames": np.array(frames, dtype=int),
        "clear": np.array(clear, dtype=bool),
        "lowest": np.array([low for low, _ in levels], dtype=float),
        "highest": np.array([high for _, high in levels], dtype=float),
    }
    return texts | pages | {"thumbnails": thumbnails}


def _problem(image: Path | bytes) -> str | None:
    if isinstance(image, bytes):
        return unlike_data(image[:512])
    if problem := path_problem(image, "file"):
        return problem
    with open(image, "rb") as file:
        return unlike_data(file.read(512))


def told_of(files: Sequence[tuple[str, Looked]], rendering: Rendering) -> list[str]:
    """What is told of image files by their names: pages that are not read, transparent parts, and values above 255."""
    frames = [name for name, looked in files if looked.frames > 1]
    clear = [name for name, looked in files if looked.clear]
    told = [f"{len(frames)} files have several pages, of which the first is read ({listed(frames)})"] if frames else []
    if clear:
        said = f"{len(clear)} files have transparent parts, which are laid over {rendering.background}"
        told.append(f"{said} (task.background; {listed(clear)})")
    deep = {name: looked for name, looked in files if not math.isnan(looked.lowest)}
    return [*told, f"{_told_of_values(list(deep.values()), rendering)} ({listed(deep)})"] if deep else told


def _told_of_values(deep: Sequence[Looked], rendering: Rendering) -> str:
    """What grey of more than 8 bits is scaled by."""
    lowest, highest = min(each.lowest for each in deep), max(each.highest for each in deep)
    if rendering.range is not None:
        said = f"values from {lowest:g} to {highest:g}; {rendering.range[0]:g} is black, {rendering.range[1]:g} white"
        return f"{len(deep)} files have more than 8 bits, with {said} (task.range)"
    few = f", and {1 + int(highest) // 257} of 256 levels are left (task.range=[0,{highest:g}])"
    said = f"levels up to {highest:.0f}; 65535 is white in all of them"
    return f"{len(deep)} files have 16 bits, with {said}{few if highest < _DARK else ''}"
