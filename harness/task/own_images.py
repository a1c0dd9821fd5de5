"""A user's own folders of images: splits and classes by their names, every file looked at, copies found by pixels."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.config import ConfigError, FolderTaskConfig
from harness.system.paths import listed
from harness.task.base import SPLITS
from harness.task.images import ImageSplit, Rendering
from harness.task.intake.duplicates import contradictions, lost, refuse_leaks, repeats, shared_keys
from harness.task.intake.findings import DataFindings
from harness.task.intake.folders import (
    NO_PICTURES,
    class_folders,
    files_in,
    folders_in,
    is_hidden,
    odd_classes,
    picture_of_mask,
    refuse_broken,
    require_folder,
    several_in,
    split_folders,
    split_named,
    told_apart,
)
from harness.task.intake.labels import settle_alike, suspicious
from harness.task.intake.one_class import told_as_one
from harness.task.intake.scored import scored_alone, with_head
from harness.task.intake.table import not_read, tables_beside
from harness.task.intake.unlabelled import often_none, unlabelled_rows
from harness.task.intake.untrained import untrained
from harness.task.pictures import Looked, look_at, rendering_of, told_of, values_of

IMAGES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".tga", ".jp2"),
)
_WAY = "; each belongs in the folder of its class, or in a table with its label (task=image_table)"
UNREAD_IMAGES = (
    *(".heic", ".heif", ".jxl", ".svg", ".psd", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".eps", ".dcm"),
    *(".mp4", ".mov", ".avi", ".npy", ".ico", ".exr", ".hdr"),
)


@dataclasses.dataclass
class _Found:
    """The image files in the class folders of all splits: (file, split, class) for each, by its name."""

    images: list[tuple[Path, str, str]] = dataclasses.field(default_factory=list)
    passed_over: Counter[str] = dataclasses.field(default_factory=Counter)
    broken: dict[Path, str] = dataclasses.field(default_factory=dict)
    tables: list[str] = dataclasses.field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        return [path for path, _, _ in self.images]


def read_own_folder(config: FolderTaskConfig) -> tuple[str, tuple[str, ...], dict[str, ImageSplit], DataFindings]:
    """The splits that a folder has, its classes, and what was found out. Raises ConfigError for what is ambiguous."""
    if config.data is None:
        raise ConfigError("task.data: missing; give a folder of class-named folders of images")
    root = Path(config.data).expanduser()
    require_folder(root, "task.data", config.name)
    found = _found(config, *split_folders(root, "task.data"))
    _refuse_masks(found)
    names = _names(config, root, found)
    rendering = rendering_of(config)
    digests = _looked_at(found, rendering)
    if config.gaps == "refuse":
        refuse_broken("task.data", found.broken, root, "; task.gaps=leave_out leaves them out")
    found.images = [(path, split, names[label]) for path, split, label in found.images if path in digests]
    left_out = {"unreadable": [str(path.relative_to(root)) for path in found.broken]} if found.broken else {}
    if unlabelled := _unlabelled(config, root, found):
        left_out["unlabelled"] = [str(path.relative_to(root)) for path in unlabelled]
        found.images = [image for image in found.images if image[0] not in unlabelled]
    every = {label for *_, label in found.images}
    if contradicting := _contradicting(config, root, found, digests):
        left_out["contradicting"] = [str(path.relative_to(root)) for path in contradicting]
        found.images = [image for image in found.images if image[0] not in contradicting]
    gone = lost(every, {label for *_, label in found.images}, config.duplicates)
    repeated, stay = _repeated(config, root, found, digests)
    if repeated:
        left_out["repeated"] = [str(path.relative_to(root)) for path in repeated]
        out = set(repeated)
        found.images = [image for image in found.images if image[0] not in out]
    if shared := _shared(config, root, found, digests):
        left_out["in two splits"] = [str(path.relative_to(root)) for path in found.paths if path in shared]
        found.images = [image for image in found.images if image[0] not in shared]
    classes = tuple(sorted(with_head(label for _, split, label in found.images if split == "train")))
    _refuse_unknown(config, root, found, classes)
    there = dict.fromkeys(split for _, split, _ in found.images) or ("train",)
    splits = {split: _split(config, found, split, classes, digests) for split in there}
    named = [(str(path.relative_to(root)), digests[path]) for path, _, _ in found.images]
    kept: dict[str, tuple[str, ...]] = dict.fromkeys(SPLITS, ())
    told = DataFindings(
        kept=kept,
        left_out=left_out,
        passed_over=found.passed_over,
        suspicious=[
            *suspicious(label for *_, label in found.images),
            *odd_classes(classes, settled=config.labels.unlabelled == "keep" or config.classes == len(classes)),
            *told_as_one({label for *_, label in found.images}, config.labels.normalise),
            *often_none([label for *_, label in found.images], policy=config.labels.unlabelled, classes=config.classes),
            *_inner_folders(found),
            *not_read(found.tables, "image_table"),
            *gone,
            *stay,
            *told_of(named, rendering, [label for *_, label in found.images]),
            *_in_two_splits(found, digests),
            *_in_several_classes(found, digests),
        ],
        format=values_of([looked for _, looked in named], rendering),
    )
    return config.data, classes, splits, told


def _found(config: FolderTaskConfig, splits: dict[str, Path], passed_over: Counter[str]) -> _Found:
    found = _Found(passed_over=passed_over)
    for split, place in splits.items():
        empty, others = list[str](), list[str]()
        classes = class_folders(place, "task.data", config.classes)
        tables = [str(place / name) for name in tables_beside(place)]
        found.tables += tables
        if split == "train" and len(classes) == 1 and tables and not scored_alone():
            rule = f"task=image_table reads labels of {listed(tables)}"
            raise ConfigError(f"task.data={place}: {classes[0].name} is its one class; {rule}")
        if split == "train" and len(classes) == 1 and (deeper := several_in(classes[0])) is not None:
            names = listed(path.name for path in folders_in(deeper))
            said = f"{classes[0].name} is its one class; {names} are in task.data={deeper}"
            raise ConfigError(f"task.data={place}: {said}")
        for inner in classes:
            read, unread, rest = told_apart(list(files_in(inner)), IMAGES, UNREAD_IMAGES)
            found.images += [(path, split, inner.name) for path in read]
            found.broken |= dict.fromkeys(unread, "a kind of file that is not read")
            found.passed_over += rest
            if not read and not unread:
                empty.append(inner.name)
                others += [path.name for path in files_in(inner)]
        loose, _, rest = told_apart(
            [path for path in place.iterdir() if path.is_file() and not is_hidden(path)], IMAGES, ()
        )
        if empty or loose:
            beside = f"images beside the class folders: {_named(loose)}{_WAY}"
            endings = f"; names of images end in {listed(IMAGES)}: {listed(others[:3])} do not" if others else ""
            what = f"no image in {listed(empty)}{endings}" if empty else beside
            raise ConfigError(f"task.data={place}: {what}{_hint(place) or _beside(place, empty)}")
    return found


def _refuse_masks(found: _Found) -> None:
    """Raise ConfigError for folders in class folders whose images are no pictures of the class."""
    for path, _, label in found.images:
        if path.parent.name != label and path.parent.name.casefold() in NO_PICTURES:
            raise ConfigError(
                f"task.data={path.parent}: {path.name} and others would be taken for pictures of {label!r}; "
                "move what is no picture to learn from out of the class folders"
            )
    there = {path.with_suffix("") for path in found.paths}
    masks = [path for path in found.paths if (of := picture_of_mask(path)) and of in there]
    if masks:
        raise ConfigError(
            f"task.data={masks[0].parent}: {len(masks)} of {len(found.images)} files are masks of pictures beside them "
            f"by their names ({_named(masks)}); move what is no picture to learn from out of the class folders"
        )


def _inner_folders(found: _Found) -> list[str]:
    """Return warnings about folders that are in every class folder."""
    inner: dict[str, set[str]] = {}
    for path, _, label in found.images:
        inner.setdefault(label, set()).add(path.parent.name)
    shared = sorted(set.intersection(*inner.values()) - set(inner)) if inner else []
    return [f"every class has the folders {listed(shared)}, whose images are all taken"] if shared else []


def _named(paths: Sequence[Path]) -> str:
    return listed(sorted(path.name for path in paths))


def _hint(place: Path) -> str:
    """Say where the splits are, if they are one folder deeper."""
    for inner in folders_in(place):
        if any(split_named(deeper.name) for deeper in folders_in(inner)):
            return f"; splits are in task.data={inner}"
    return ""


def _beside(place: Path, empty: Sequence[str]) -> str:
    """Say where the classes are, if one folder beside those without images has several."""
    others = [inner for inner in folders_in(place) if inner.name not in empty]
    if not empty or len(others) != 1 or len(classes := folders_in(others[0])) < 2:
        return ""
    return f"; {listed(path.name for path in classes)} are in task.data={others[0]}"


def _names(config: FolderTaskConfig, root: Path, found: _Found) -> dict[str, str]:
    """The class of each folder's name."""
    labels = [label for _, _, label in found.images]
    places = [str(path.parent.relative_to(root)) for path, _, _ in found.images]
    first = dict(zip(zip(labels, places, strict=True), range(len(labels)), strict=False)).values()
    once = sorted(first)
    named = [labels[index] for index in once], [f"{places[index]}/" for index in once]
    return settle_alike(f"task.data={config.data}", *named, config.labels.normalise, "folders")


def _unlabelled(config: FolderTaskConfig, root: Path, found: _Found) -> set[Path]:
    """The files that are left out since the name of their class often means that there is none."""
    labels = [(label,) for *_, label in found.images]
    names = [path.relative_to(root) for path, *_ in found.images]
    where, policy = f"task.data={config.data}", config.labels.unlabelled
    places = unlabelled_rows(where, labels, names, policy=policy, classes=config.classes)
    return {found.images[place][0] for place in places}


def _looked_at(found: _Found, rendering: Rendering) -> dict[Path, Looked]:
    """Read each file that can be read; the others are broken."""
    paths = [path for path, _, _ in found.images]
    every = dict(zip(paths, look_at(paths, rendering), strict=True))
    found.broken |= {path: looked.problem for path, looked in every.items() if looked.problem}
    return {path: looked for path, looked in every.items() if not looked.problem}


def _contradicting(config: FolderTaskConfig, root: Path, found: _Found, digests: dict[Path, Looked]) -> set[Path]:
    """The files that are left out since the same picture stands in another class."""
    keys = [digests[path].pixels for path, _, _ in found.images]
    clashes = contradictions(keys, [label for _, _, label in found.images])
    if not clashes or config.duplicates == "keep":
        return set()
    groups = [[found.images[place][0] for place in places] for places in clashes.values()]
    if config.duplicates == "refuse":
        said = listed(" and ".join(str(path.relative_to(root)) for path in group[:3]) for group in groups)
        rule = "task.duplicates=first keeps the first of them, leave_out none, keep all"
        raise ConfigError(f"task.data={config.data}: the same picture in several classes ({said}); {rule}")
    return {path for group in groups for path in group[config.duplicates == "first" :]}


def _repeated(
    config: FolderTaskConfig, root: Path, found: _Found, digests: dict[Path, Looked]
) -> tuple[list[Path], list[str]]:
    """The files of pictures that stand in their split before, and warnings about those that stay."""
    mine = {split: [image for image in found.images if image[1] == split] for _, split, _ in found.images}
    seen = {split: [(digests[path].pixels, label) for path, _, label in images] for split, images in mine.items()}
    names = {split: [path.relative_to(root) for path, _, _ in images] for split, images in mine.items()}
    out, told = repeats(seen, names, config.duplicates)
    return [mine[split][place][0] for split in mine for place in out[split]], told


def _shared(config: FolderTaskConfig, root: Path, found: _Found, digests: dict[Path, Looked]) -> set[Path]:
    """The files that are left out since a later one of the splits that are given has the same picture.

    Raises ConfigError where these are more than a few.
    """
    if config.leaks == "allow":
        return set()
    mine = {split: [path for path, of, _ in found.images if of == split] for split in SPLITS}
    if config.leaks == "refuse":
        pixels = {split: [digests[path].pixels for path in paths] for split, paths in mine.items()}
        names = {split: [path.relative_to(root) for path in paths] for split, paths in mine.items()}
        rule = "; task.leaks=leave_out leaves them out of the earlier one, allow takes them all the same"
        refuse_leaks(f"task.data={config.data}", pixels, names, str, rule, "pictures")
    later, out = set[str](), set[Path]()
    for split in reversed(SPLITS):
        out |= {path for path in mine[split] if digests[path].pixels in later}
        later |= {digests[path].pixels for path in mine[split]}
    return out


def _in_two_splits(found: _Found, digests: dict[Path, Looked]) -> list[str]:
    """Return warnings about pictures that are in two of the given splits, if they are kept."""
    pixels = {split: [digests[path].pixels for path, of, _ in found.images if of == split] for split in SPLITS}
    return [
        f"{len(places)} pictures of {names.partition(' and ')[2]} stand in {names.partition(' and ')[0]}, too"
        for names, places in shared_keys(pixels).items()
    ]


def _in_several_classes(found: _Found, digests: dict[Path, Looked]) -> list[str]:
    """Return warnings about the same pictures in several classes, if they are kept."""
    keys = [digests[path].pixels for path, _, _ in found.images]
    clashes = contradictions(keys, [label for _, _, label in found.images])
    return [f"the same picture in several classes, {len(clashes)} times"] if clashes else []


def _refuse_unknown(config: FolderTaskConfig, root: Path, found: _Found, classes: tuple[str, ...]) -> None:
    """Raise ConfigError for classes of a held-out split that training has not."""
    if said := untrained([(path.relative_to(root), label) for path, _, label in found.images], classes, "images"):
        raise ConfigError(f"task.data={config.data}: {said}{_only_train(root, found, classes)}")


def _only_train(root: Path, found: _Found, classes: tuple[str, ...]) -> str:
    """Say how to learn from training alone, if a held-out split has one folder, which is none of the classes."""
    held = {split: {label for _, of, label in found.images if of == split} for split in SPLITS}
    if not any(len(labels) == 1 and not labels & set(classes) for labels in held.values()):
        return ""
    first = next(path for path, split, _ in found.images if split == "train").relative_to(root)
    return f"; where that is no class, task.data={root / first.parts[0]} cuts the splits off training"


def _split(
    config: FolderTaskConfig, found: _Found, split: str, classes: tuple[str, ...], digests: dict[Path, Looked]
) -> ImageSplit:
    number = {label: index for index, label in enumerate(classes)}
    mine = sorted((number[label], path) for path, of, label in found.images if of == split)
    paths = tuple(path for _, path in mine)
    return ImageSplit(
        paths,
        np.array([label for label, _ in mine], dtype=np.int64),
        tuple(digests[path].file for path in paths),
        tuple(digests[path].pixels for path in paths),
        rendering_of(config),
        tuple(digests[path].thumbnail for path in paths),
    )
