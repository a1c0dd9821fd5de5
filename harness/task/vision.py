"""Image classification tasks: reading real images, and fixed splits that share no image."""

import dataclasses
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import ConfigError, DigitsTaskConfig, FolderTaskConfig, ModelConfig, PublishedImagesConfig, Tokens
from harness.system import assets
from harness.system.paths import listed
from harness.task.base import SPLITS, Inputs, Task, described
from harness.task.constants import Batches, of_classes
from harness.task.images import ImageSplit, evenly_drawn, image_inputs
from harness.task.intake.cuts import drawn, stratified
from harness.task.intake.findings import NO_FINDINGS, DataFindings
from harness.task.intake.missing import missing_classes
from harness.task.intake.nearly import near_pictures
from harness.task.intake.scored import scored_alone
from harness.task.own_images import read_own_folder

VisionConfig = PublishedImagesConfig | DigitsTaskConfig | FolderTaskConfig
Given = tuple[str, tuple[str, ...], dict[str, ImageSplit], DataFindings]
"""Source, classes, the splits as they are given, and what was found out about them."""

DEBIAN = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Where Debian's packages (dataset-fashion-mnist) put the published files."""

_FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclasses.dataclass(frozen=True)
class VisionTask(Task):
    """Three splits, brought to `image_size` pixels a side. `source` says where they came from, `repeated` counts the
    images that were left out of training because they stand elsewhere too.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, ImageSplit]
    sha256: str
    repeated: int
    image_size: int
    facts: DataFindings = NO_FINDINGS

    @property
    def outputs(self) -> int:
        return len(self.classes)

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        return image_inputs(self.splits[split], self.image_size)

    def mistakes(self, model: ModelConfig) -> list[str]:
        return model.image_mistakes(self.name, self.image_size)

    def constants(self, split: str) -> Mapping[str, Batches]:
        return of_classes(self.splits["train"].labels, self.splits[split].labels, self.classes)

    def findings(self) -> DataFindings:
        return self.facts

    def describe(self) -> dict[str, object]:
        labels = {name: split.labels for name, split in self.splits.items()}
        return (
            described(self.name, self.source, self.sha256, self.classes, labels)
            | {"repeated": self.repeated}
            | self.facts.described()
        )


def read_vision(config: VisionConfig) -> VisionTask:
    """Read a task's images and split them. Raises ConfigError for data that cannot be learned from."""
    source, classes, given, facts = _READERS[config.reader](config)
    where = f"task.data={config.data}" if config.data else f"task={config.name}"
    if config.classes is not None and config.classes != len(classes):
        raise ConfigError(f"{where}: {len(classes)} classes, task.classes={config.classes}")
    whole = len(given["train"])
    splits = _cut(given, config)
    _refuse_few(where, splits, given)
    mine = {each for name in splits if name not in given or name == "train" for each in splits[name].contents}
    repeated = whole - len(mine)
    for name, rows in zip(splits, (config.train_rows, config.validation_rows, config.test_rows), strict=True):
        splits[name] = _evenly(splits[name], rows, config.split_seed)
    task = vision_task(
        config.name, source, where, classes=classes, splits=splits, repeated=repeated, image_size=config.image_size
    )
    if facts.kept:
        kept = {name: _files(split, Path(source).expanduser()) for name, split in splits.items()}
        facts = dataclasses.replace(facts, kept=kept, suspicious=[*facts.suspicious, *_near(splits)])
    return dataclasses.replace(task, facts=dataclasses.replace(facts, missing=task.facts.missing))


def _refuse_few(where: str, splits: dict[str, ImageSplit], given: dict[str, ImageSplit]) -> None:
    """Raise ConfigError where too few images are there to be cut."""
    for name, split in splits.items():
        if len(splits["train"]) and not len(split) and name not in given:
            counts = ", ".join(f"{len(found)} {of}" for of, found in splits.items())
            rule = f"more images, another task.{name}_share, or a folder {name} with its own"
            raise ConfigError(f"{where}: the {name} split has no images ({counts}); {rule}")


def _files(split: ImageSplit, root: Path) -> tuple[str, ...]:
    """The names of files below their folder."""
    return tuple(path.relative_to(root).as_posix() for path in split.images if isinstance(path, Path))


def _near(splits: dict[str, ImageSplit]) -> list[str]:
    """Return warnings about the user's own files that look like others of an earlier split."""
    every = {}
    for name, split in splits.items():
        files = ["/".join(path.parts[-2:]) if isinstance(path, Path) else "" for path in split.images]
        every[name] = list(zip(files, split.pictures, split.thumbnails, strict=True))
    return near_pictures(every)


def vision_task(
    name: str,
    source: str,
    where: str,
    *,
    classes: tuple[str, ...],
    splits: dict[str, ImageSplit],
    repeated: int,
    image_size: int,
) -> VisionTask:
    """A task of these splits. `where` opens the line of the ConfigError that is raised for an empty split or class."""
    for split, images in splits.items():
        if not len(images):
            raise ConfigError(f"{where}: the {split} split has no images")
    found = sorted({classes[label] for label in splits["train"].labels})
    if len(found) < 2 and not scored_alone():
        raise ConfigError(f"{where}: the training split has {len(found)} classes ({listed(found)}), 2 are needed")
    names = {split: [classes[label] for label in images.labels] for split, images in splits.items()}
    facts = DataFindings(missing=missing_classes(where, names, "images"))
    return VisionTask(name, source, classes, splits, _digest(classes, splits), repeated, image_size, facts)


def _digest(classes: tuple[str, ...], splits: dict[str, ImageSplit]) -> str:
    whole = hashlib.sha256(repr(classes).encode())
    for name, split in splits.items():
        whole.update(repr((name, split.digests, split.labels.tolist())).encode())
    return whole.hexdigest()


def _cut(given: dict[str, ImageSplit], config: VisionConfig) -> dict[str, ImageSplit]:
    """Held-out splits stay as given, those not given are cut off; no image of one split stands in a later one.

    An image that is repeated stays in the first of test, validation and training that has it, and only once in what
    was not published as held out.
    """
    held: dict[str, ImageSplit] = {name: given[name] for name in ("test", "validation") if name in given}
    if len(held) == 2 and not config.may_share:
        held["validation"] = _without(held["validation"], held["test"].contents)
    others = [] if config.may_share else [content for split in held.values() for content in split.contents]
    pool = _without(given["train"], others, once=True)
    shares = {name: share for name, share in config.shares.items() if name not in held}
    images = range(len(pool))
    if config.evenly_cut:
        parts = stratified(images, pool.labels.tolist(), shares, config.split_seed)
    else:
        parts = drawn(images, shares, config.split_seed)
    cut = held | {name: pool.take(places) for name, places in parts.items()}
    return {name: cut[name] for name in SPLITS}


def _without(split: ImageSplit, digests: Iterable[str], once: bool = False) -> ImageSplit:
    seen = set(digests)
    rows = []
    for row, digest in enumerate(split.contents):
        if digest not in seen:
            rows.append(row)
            if once:
                seen.add(digest)
    return split.take(rows)


def _evenly(split: ImageSplit, rows: int | None, seed: int) -> ImageSplit:
    """`rows` images drawn evenly from the classes, as far as each has enough; all of them where rows is None."""
    if rows is None or rows >= len(split):
        return split
    return split.take(evenly_drawn(split.labels.tolist(), rows, seed))


def pixels(images: np.ndarray, labels: np.ndarray) -> ImageSplit:
    """A split of images (N, S, S) or (N, S, S, 3) as bytes."""
    digests = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images)
    return ImageSplit(images, labels.astype(np.int64), digests)


def published_folder(config: PublishedImagesConfig) -> Path | None:
    """The folder of published files on this machine: the user's, or Debian's; None where there is neither."""
    if config.data is not None:
        return Path(config.data).expanduser()
    folder = DEBIAN.get(config.reader)
    return folder if folder is not None and folder.is_dir() else None


def _read_published(config: PublishedImagesConfig) -> Given:
    classes, read = _PUBLISHED[config.reader]
    folder = published_folder(config)
    if folder is None:
        root = assets.fetch(config.asset.address, config.asset.sha256)
        files = {name: next(root.rglob(f"{name}-*.parquet")) for name in ("train", "test")}
        return config.asset.address, classes, {name: _read_parquet(path) for name, path in files.items()}, NO_FINDINGS
    try:
        return str(folder), classes, {name: read(folder, name) for name in ("train", "test")}, NO_FINDINGS
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise ConfigError(f"task.data={folder}: {error}") from None


def _read_idx(folder: Path, split: str) -> ImageSplit:
    """The published idx files: big-endian sizes, then bytes."""
    prefix = "train" if split == "train" else "t10k"
    images = _idx(folder, f"{prefix}-images-idx3-ubyte", dimensions=3)
    labels = _idx(folder, f"{prefix}-labels-idx1-ubyte", dimensions=1)
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images and {len(labels)} labels in {split}")
    return pixels(images, labels)


def _idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    path = next((folder / file for file in (name, f"{name}.gz") if (folder / file).is_file()), None)
    if path is None:
        raise ValueError(f"no {name} or {name}.gz in it")
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:4] != bytes([0, 0, 8, dimensions]):  # 8: unsigned bytes
        raise ValueError(f"{path.name} is no idx file of bytes in {dimensions} dimensions")
    sizes = np.frombuffer(content, dtype=">i4", count=dimensions, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(sizes)


def _read_binary(folder: Path, split: str) -> ImageSplit:
    """CIFAR-10's binary version: a byte of class, then 3 × 32 × 32 bytes; the other version is a pickle, never read."""
    inner = folder / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else folder
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] if split == "train" else ["test_batch.bin"]
    rows = [np.fromfile(folder / name, dtype=np.uint8).reshape(-1, 3073) for name in names]
    table = np.concatenate(rows)
    return pixels(np.ascontiguousarray(table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), table[:, 0])


def _read_parquet(path: Path) -> ImageSplit:
    """The hub's form of a published data set: an encoded image and a label a row."""
    import pandas as pd
    from PIL import Image

    frame = pd.read_parquet(path)
    column, label = (name for name in frame.columns if name in ("image", "img", "label"))
    images = [np.asarray(Image.open(io.BytesIO(cell["bytes"]))) for cell in frame[column]]
    return pixels(np.stack(images), frame[label].to_numpy())


def _read_digits(_: DigitsTaskConfig) -> Given:
    from sklearn.datasets import load_digits  # imported where it is needed: it is slow

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # published with 17 levels of grey
    return (
        "scikit-learn",
        tuple(str(digit) for digit in range(10)),
        {"train": pixels(images, bunch.target)},
        NO_FINDINGS,
    )


_PUBLISHED = {"fashion_mnist": (_FASHION, _read_idx), "cifar10": (_CIFAR10, _read_binary)}
_READERS: dict[str, Callable[[Any], Given]] = {
    "fashion_mnist": _read_published,
    "cifar10": _read_published,
    "digits": _read_digits,
    "image_folder": read_own_folder,
}
