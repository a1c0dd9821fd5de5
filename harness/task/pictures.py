"""Images of the user's own looked at one by one: whether each can be read, and what its pixels are."""

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from harness.config import FolderTaskConfig, ImageTableConfig
from harness.system import assets
from harness.system.paths import listed, path_problem
from harness.task.images import UNRANGED, Rendering, frame_count, in_8_bits, picture_digest, value_range
from harness.task.intake.files import unlike_data
from harness.task.intake.nearly import THUMBNAIL
from harness.task.ragged import cached

_12_BITS = 1 << 12
_FEW = 64  # levels of 256, as those are
_BLACK_PART, _WHITE_PART = 0.9, 0.5  # of a thumbnail that a range of values made so
_SOME = 0.1  # of the files
_APART = 0.5  # between the shares of two classes
_DARK = "files have levels of 12 bits, and others those of 16; 65535 is white in all of them"
_WHITE = "files are mostly white, or all but black (task.range)"
_USUAL = Rendering()
_NONE = float("nan")


@dataclasses.dataclass(frozen=True)
class Looked:
    """The digests of an image file and of its pixels, its pages, whether parts of it are transparent, `clear`, whether
    it is all black or all white, `flat`, its thumbnail, and the `lowest` and `highest` value of grey of more than 8
    bits; or the `problem` that keeps it from being read. The digest of a file with such parts is of what is below them,
    too, and where the range of values is given, of that.
    """

    file: str = ""
    pixels: str = ""
    frames: int = 1
    clear: bool = False
    flat: bool = False
    problem: str = ""
    thumbnail: bytes = b""
    lowest: float = _NONE
    highest: float = _NONE

    @property
    def digest(self) -> str:
        """The digest that two files of one picture share."""
        return self.pixels

    @property
    def is_deep(self) -> bool:
        """True if it is grey of more than 8 bits."""
        return not math.isnan(self.lowest)


def rendering_of(config: FolderTaskConfig | ImageTableConfig) -> Rendering:
    """Return the rendering of a user's own images."""
    return Rendering(config.background, config.range)


def look_at(images: Sequence[Path | bytes], rendering: Rendering = _USUAL) -> list[Looked]:
    """Read each image file, or its content; results for the same files are cached."""
    heads = [_problem(image) for image in images]
    whole = [image for image, problem in zip(images, heads, strict=True) if problem is None]
    files = [hashlib.sha256(each).hexdigest() if isinstance(each, bytes) else assets.sha256_of(each) for each in whole]
    key = hashlib.sha256(
        repr(("pixels, frames, transparency, thumbnails, values and flatness", rendering, files)).encode()
    ).hexdigest()
    found = cached("pictures", key, partial(_pixels, whole, rendering))
    columns = (found[name].tolist() for name in ("digests", "frames", "clear", "flat", "reasons", "lowest", "highest"))
    thumbnails = map(np.ndarray.tobytes, found["thumbnails"])
    every = zip(files, *columns, thumbnails, strict=True)
    looked = iter(_with_range([_looked(*each, rendering=rendering) for each in every]))
    return [next(looked) if problem is None else Looked(problem=problem) for problem in heads]


def _looked(
    file: str,
    pixels: str,
    frames: int,
    clear: bool,
    flat: bool,
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
        problem = problem or _lost_in(lowest, highest, rendering.range)
    return Looked(file, pixels, frames, clear, flat, problem, thumbnail, lowest, highest)


def _lost_in(lowest: float, highest: float, span: Sequence[float]) -> str:
    """Return the error for a picture that the range of values makes one grey."""
    first, last = in_8_bits(np.array([lowest, highest]), *span).tolist()
    if first < last or lowest == highest:
        return ""
    made = {0: "all black", 255: "all white"}.get(first, "all of one grey")
    return f"task.range=[{span[0]:g},{span[1]:g}] makes it {made}"


def _with_range(files: list[Looked]) -> list[Looked]:
    """The files; those left unread because of their values get the lowest and the highest value among all of them."""
    unread = [looked for looked in files if looked.problem and looked.is_deep]
    if not unread:
        return files
    lowest, highest = min(each.lowest for each in unread), max(each.highest for each in unread)
    unknown = "task.range=[BLACK,WHITE] says which values are black and white; "
    said = f"the lowest and the highest are [{lowest:g},{highest:g}]"
    problems = {UNRANGED: f"{UNRANGED}: {unknown}{said}"}
    return [
        dataclasses.replace(looked, problem=problems.get(looked.problem, f"{looked.problem}: {said}"))
        if looked.problem and looked.is_deep
        else looked
        for looked in files
    ]


def _pixels(images: Sequence[Path | bytes], rendering: Rendering) -> dict[str, np.ndarray]:
    """The digest of each one's pixels, or why it has none; how many pages it has, if parts are transparent, or it is
    all black or all white, its thumbnail, and of grey of more than 8 bits the lowest and highest value.
    """
    digests, reasons, frames = [""] * len(images), [""] * len(images), [1] * len(images)
    clear, flat, levels = [False] * len(images), [False] * len(images), [(_NONE, _NONE)] * len(images)
    thumbnails = np.zeros((len(images), THUMBNAIL**2), dtype=np.uint8)
    for place, image in enumerate(images):
        try:
            levels[place] = value_range(image) or levels[place]
            digests[place], clear[place], flat[place], small = picture_digest(image, rendering)
            thumbnails[place] = np.frombuffer(small, np.uint8)
            frames[place] = frame_count(image)
        except ValueError as error:
            reasons[place] = str(error).partition(": cannot identify")[0]
    texts = {"digests": np.array(digests, dtype=str), "reasons": np.array(reasons, dtype=str)}
    pages = {
        "frames": np.array(frames, dtype=int),
        "clear": np.array(clear, dtype=bool),
        "flat": np.array(flat, dtype=bool),
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


def told_of(
    files: Sequence[tuple[str, Looked]], rendering: Rendering, labels: Sequence[str] = (), *, key: bool = True
) -> list[str]:
    """Return warnings about image files by their names, and their classes if there are `labels`: pages that are not
    read, transparent parts, black and white ones, and grey of more than 8 bits, with the `key` that reads it otherwise.
    """
    frames = [name for name, looked in files if looked.frames > 1]
    clear = [name for name, looked in files if looked.clear]
    flat = [name for name, looked in files if looked.flat]
    told = [f"{len(frames)} files have several pages, of which the first is read ({listed(frames)})"] if frames else []
    if clear:
        said = f"{len(clear)} files have transparent parts, which are laid over {rendering.background}"
        told.append(f"{said} (task.background; {listed(clear)})")
    if flat:
        told.append(f"{len(flat)} pictures are all black or all white ({listed(flat)})")
    return told + _of_depths(files, rendering, labels, key)


def _of_depths(
    files: Sequence[tuple[str, Looked]], rendering: Rendering, labels: Sequence[str], key: bool
) -> list[str]:
    """Return warnings about grey of more than 8 bits: files of 8 beside it, or too few levels in all, or in some."""
    contents = [looked for _, looked in files]
    deep = {place for place, looked in enumerate(contents) if looked.is_deep}
    if not deep:
        return []
    few = _few_levels([contents[place] for place in deep], rendering, key)
    little = {place for place in deep if not few and _is_little(contents[place], rendering)}
    kinds = {
        "files have more than 8 bits, the others 8": deep if len(deep) < len(files) else set(),
        few: deep if few else set(),
        _WHITE if rendering.range else _DARK: little if len(little) >= _SOME * len(deep) else set(),
    }
    return [_told_of_some(places, said, files, labels) for said, places in kinds.items() if places]


def _told_of_some(
    places: Collection[int], said: str, files: Sequence[tuple[str, Looked]], labels: Sequence[str]
) -> str:
    of = f" of {len(files)}" if len(places) < len(files) else ""
    named = listed(files[place][0] for place in sorted(places))
    return f"{len(places)}{of} {said}{_by_class(places, labels)} ({named})"


def values_of(contents: Sequence[Looked], rendering: Rendering) -> dict[str, str]:
    """Return how grey of more than 8 bits is read, as a finding; empty if there is none, or too little is left."""
    deep = [looked for looked in contents if looked.is_deep]
    if not deep or _few_levels(deep, rendering, key=True):
        return {}
    lowest, highest = min(each.lowest for each in deep), max(each.highest for each in deep)
    black, white = rendering.range or (0, 65535)
    said = f"in {len(deep)} files, values {lowest:g} to {highest:g}; {black:g} is black, {white:g} white"
    return {"more than 8 bits": said}


def _few_levels(deep: Sequence[Looked], rendering: Rendering, key: bool) -> str:
    """Return a warning about files with too few levels between black and white; empty if there are none."""
    lowest, highest = min(each.lowest for each in deep), max(each.highest for each in deep)
    black, white = rendering.range or (0, 65535)
    first, last = in_8_bits(np.array([lowest, highest]), black, white).tolist()
    if last - first >= _FEW:
        return ""
    hint = f" (task.range=[{lowest if lowest > highest / 2 else min(lowest, 0):g},{highest:g}])" if key else ""
    said = f"files have more than 8 bits, with values from {lowest:g} to {highest:g}; {black:g} is black and {white:g}"
    return f"{said} white in all of them, and {1 + last - first} of 256 levels are left{hint}"


def _is_little(looked: Looked, rendering: Rendering) -> bool:
    """Return whether a file of grey of more than 8 bits is nearly black or white, unlike others."""
    if rendering.range is None:
        return looked.highest < _12_BITS
    seen = np.frombuffer(looked.thumbnail, np.uint8)
    return bool((seen == 0).mean() >= _BLACK_PART or (seen == 255).mean() >= _WHITE_PART)


def _by_class(places: Collection[int], labels: Sequence[str]) -> str:
    """Count these by class, if the counts differ much."""
    every, mine = Counter(labels), Counter(labels[place] for place in places if labels)
    shares = [mine[label] / count for label, count in every.items()]
    if not shares or max(shares) - min(shares) <= _APART:
        return ""
    return ": " + listed(f"{mine[label]} of {every[label]} of {label!r}" for label in sorted(every))
