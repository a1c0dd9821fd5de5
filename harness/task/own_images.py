"""A user's own folders of images: splits and classes by their names, every file looked at, copies found by pixels."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from harness.config import ConfigError, FolderTaskConfig
from harness.system import assets
from harness.system.paths import listed, path_problem
from harness.task.base import SPLITS
from harness.task.images import ImageSplit, frame_count, picture_digest
from harness.task.intake.duplicates import contradictions
from harness.task.intake.facts import Facts
from harness.task.intake.files import unlike_data
from harness.task.intake.folders import (
    class_folders,
    files_in,
    folders_in,
    is_hidden,
    refuse_broken,
    require_folder,
    split_folders,
    split_named,
    told_apart,
)
from harness.task.intake.labels import settle_alike, suspicious
from harness.task.ragged import cached

_READ = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".tga", ".jp2"),
)
_NO_PICTURES = frozenset(
    (*("mask", "masks", "label", "labels", "annotation", "annotations"), *("segmentation", "segmentations"))
)
_UNREAD = (
    *(".heic", ".heif", ".jxl", ".svg", ".psd", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".eps", ".dcm"),
    *(".mp4", ".mov", ".avi", ".npy", ".ico", ".exr", ".hdr"),
)


@dataclasses.dataclass
class _Found:
    """What stands in the class folders of all splits: (file, split, class) for each that is an image's by its name."""

    images: list[tuple[Path, str, str]] = dataclasses.field(default_factory=list)
    passed_over: Counter[str] = dataclasses.field(default_factory=Counter)
    broken: dict[Path, str] = dataclasses.field(default_factory=dict)


def read_own_folder(config: FolderTaskConfig) -> tuple[str, tuple[str, ...], dict[str, ImageSplit], Facts]:
    """The splits that a folder has, its classes, and what was found out. Raises ConfigError for what is ambiguous."""
    if config.data is None:
        raise ConfigError("task.data: missing; give a folder of class-named folders of images")
    root = Path(config.data).expanduser()
    require_folder(root, "task.data", config.name)
    found = _found(split_folders(root, "task.data"))
    _refuse_masks(found)
    names = _names(config, root, found)
    digests = _looked_at(found)
    if config.gaps == "refuse":
        refuse_broken("task.data", found.broken, root, "; task.gaps=leave_out leaves them out")
    found.images = [(path, split, names[label]) for path, split, label in found.images if path in digests]
    left_out = {"unreadable": [str(path.relative_to(root)) for path in found.broken]} if found.broken else {}
    if contradicting := _contradicting(config, root, found, digests):
        left_out["contradicting"] = [str(path.relative_to(root)) for path in contradicting]
        found.images = [image for image in found.images if image[0] not in contradicting]
    classes = tuple(sorted({label for _, split, label in found.images if split == "train"}))
    _refuse_unknown(config, root, found, classes)
    splits = {split: _split(found, split, classes, digests) for split in dict.fromkeys(s for _, s, _ in found.images)}
    kept: dict[str, tuple[str, ...]] = dict.fromkeys(SPLITS, ())
    told = Facts(
        kept=kept,
        left_out=left_out,
        passed_over=found.passed_over,
        suspicious=[
            *suspicious(label for *_, label in found.images),
            *_inner_folders(found),
            *_several_frames(root, found, digests),
        ],
    )
    return config.data, classes, splits or {"train": _split(found, "train", classes, digests)}, told


def _found(splits: dict[str, Path]) -> _Found:
    found = _Found()
    for split, place in splits.items():
        empty = []
        for inner in class_folders(place, "task.data"):
            read, unread, rest = told_apart(list(files_in(inner)), _READ, _UNREAD)
            found.images += [(path, split, inner.name) for path in read]
            found.broken |= dict.fromkeys(unread, "a kind of file that is not read")
            found.passed_over += rest
            if not read and not unread:
                empty.append(inner.name)
        loose, _, rest = told_apart(
            [path for path in place.iterdir() if path.is_file() and not is_hidden(path)], _READ, ()
        )
        if empty or loose:
            what = f"no image in {listed(empty)}" if empty else f"images beside the class folders: {_named(loose)}"
            raise ConfigError(f"task.data={place}: {what}{_hint(place)}")
    return found


def _refuse_masks(found: _Found) -> None:
    """Raise ConfigError for folders in class folders whose images are no pictures of the class."""
    for path, _, label in found.images:
        if path.parent.name != label and path.parent.name.casefold() in _NO_PICTURES:
            raise ConfigError(
                f"task.data={path.parent}: {path.name} and others would be taken for pictures of {label!r}; "
                "move what is no picture to learn from out of the class folders"
            )


def _inner_folders(found: _Found) -> list[str]:
    """What is told of folders that are in every class folder."""
    inner: dict[str, set[str]] = {}
    for path, _, label in found.images:
        inner.setdefault(label, set()).add(path.parent.name)
    shared = sorted(set.intersection(*inner.values()) - set(inner)) if inner else []
    return [f"every class has the folders {listed(shared)}, whose images are all taken"] if shared else []


def _several_frames(root: Path, found: _Found, digests: Mapping[Path, tuple[str, str, int]]) -> list[str]:
    """What is told of files of several pages or frames, of which the first is read."""
    files = [str(path.relative_to(root)) for path, _, _ in found.images if digests[path][2] > 1]
    return [f"{len(files)} files have several pages, of which the first is read ({listed(files)})"] if files else []


def _named(paths: Sequence[Path]) -> str:
    return listed(sorted(path.name for path in paths))


def _hint(place: Path) -> str:
    """Where the splits are, if they stand a folder deeper."""
    for inner in folders_in(place):
        if any(split_named(deeper.name) for deeper in folders_in(inner)):
            return f"; splits are in task.data={inner}"
    return ""


def _names(config: FolderTaskConfig, root: Path, found: _Found) -> dict[str, str]:
    """The class of each folder's name."""
    labels = [label for _, _, label in found.images]
    places = [str(path.parent.relative_to(root)) for path, _, _ in found.images]
    first = dict(zip(zip(labels, places, strict=True), range(len(labels)), strict=False)).values()
    once = sorted(first)
    named = [labels[index] for index in once], [f"{places[index]}/" for index in once]
    return settle_alike(f"task.data={config.data}", *named, config.labels.normalise)


def _looked_at(found: _Found) -> dict[Path, tuple[str, str, int]]:
    """The digest of each file, that of its pixels, and how many pages it has; what cannot be read is broken."""
    files: dict[Path, str] = {}
    for path, _, _ in found.images:
        if problem := _problem(path):
            found.broken[path] = problem
        else:
            files[path] = assets.sha256_of(path)
    key = hashlib.sha256(repr(("pixels and frames", list(files.values()))).encode()).hexdigest()
    looked = cached("pictures", key, partial(_pixels, list(files)))
    whole: dict[Path, tuple[str, str, int]] = {}
    columns = (looked[name].tolist() for name in ("digests", "reasons", "frames"))
    for path, digest, reason, frames in zip(files, *columns, strict=True):
        if reason:
            found.broken[path] = reason
        else:
            whole[path] = files[path], digest, frames
    return whole


def _pixels(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """The digest of each file's pixels, or why it has none; and how many pages it has."""
    digests, reasons, frames = [""] * len(paths), [""] * len(paths), [1] * len(paths)
    for place, path in enumerate(paths):
        try:
            digests[place] = picture_digest(path)
            frames[place] = frame_count(path)
        except ValueError as error:
            reasons[place] = str(error).partition(": cannot identify")[0]
    texts = {"digests": np.array(digests, dtype=str), "reasons": np.array(reasons, dtype=str)}
    return texts | {"frames": np.array(frames)}


def _problem(path: Path) -> str | None:
    if problem := path_problem(path, "file"):
        return problem
    with open(path, "rb") as file:
        return unlike_data(file.read(512))


def _contradicting(
    config: FolderTaskConfig, root: Path, found: _Found, digests: dict[Path, tuple[str, str, int]]
) -> set[Path]:
    """The files that are left out since the same picture stands in another class."""
    keys = [digests[path][1] for path, _, _ in found.images]
    clashes = contradictions(keys, [label for _, _, label in found.images])
    if not clashes:
        return set()
    groups = [[found.images[place][0] for place in places] for places in clashes.values()]
    if config.duplicates == "refuse":
        said = listed(" and ".join(str(path.relative_to(root)) for path in group[:3]) for group in groups)
        rule = "task.duplicates=first keeps the first of them, leave_out none"
        raise ConfigError(f"task.data={config.data}: the same picture in several classes ({said}); {rule}")
    return {path for group in groups for path in group[config.duplicates == "first" :]}


def _refuse_unknown(config: FolderTaskConfig, root: Path, found: _Found, classes: tuple[str, ...]) -> None:
    for path, _, label in found.images:
        if label not in classes:
            parts = path.relative_to(root).parts
            raise ConfigError(
                f"task.data={config.data}: class {label!r} of {parts[0]} is absent from training; classes there: "
                f"{listed(classes)}"
            )


def _split(
    found: _Found, split: str, classes: tuple[str, ...], digests: dict[Path, tuple[str, str, int]]
) -> ImageSplit:
    number = {label: index for index, label in enumerate(classes)}
    mine = sorted((number[label], path) for path, of, label in found.images if of == split)
    paths = tuple(path for _, path in mine)
    return ImageSplit(
        paths,
        np.array([label for label, _ in mine], dtype=np.int64),
        tuple(digests[path][0] for path in paths),
        tuple(digests[path][1] for path in paths),
    )
