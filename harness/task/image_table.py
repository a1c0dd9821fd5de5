"""Images out of a table, labelled with a class, with several of them or with a number, in fixed splits."""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from harness.config import ImageTableConfig, ModelConfig, Tokens
from harness.task.base import SPLITS, Inputs
from harness.task.images import ImageSplit, Rendering, evenly_drawn, image_inputs
from harness.task.intake.cuts import refuse_empty
from harness.task.intake.findings import DataFindings
from harness.task.intake.held import shortened
from harness.task.intake.labels import suspicious
from harness.task.intake.nearly import near_pictures
from harness.task.intake.segments import BOXES
from harness.task.labelled import LabelledTask, names_told, numbered_labels
from harness.task.own_file_tables import Files, NamedFile, read_own_files
from harness.task.own_images import IMAGES, UNREAD_IMAGES
from harness.task.pictures import Looked, look_at, rendering_of, told_of, values_of

_RARER = ("image_id", "image_name", "img_name", "img_id", "fname", "image_file", "filepaths")
_USUAL = ("image", "img", "file_name", "image_path", "img_path", "path", "file", "filename", "filepath")


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A split: pictures, and the label of each."""

    pictures: tuple[NamedFile[Looked], ...]
    labels: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.pictures)


@dataclasses.dataclass(frozen=True)
class ImageTableTask(LabelledTask):
    """Three splits of pictures, brought to `image_size` pixels a side."""

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, Labelled]
    sha256: str
    image_size: int
    rendering: Rendering
    facts: DataFindings
    several: bool

    def labels(self, split: str) -> tuple[Any, ...]:
        return self.splits[split].labels

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        found = self.splits[split]
        files = tuple(picture.content.file for picture in found.pictures)
        images = tuple(picture.source for picture in found.pictures)
        return image_inputs(ImageSplit(images, self.answers(split), files, (), self.rendering), self.image_size)

    def mistakes(self, model: ModelConfig) -> list[str]:
        return model.image_mistakes(self.name, self.image_size)

    def names(self, split: str) -> Sequence[str]:
        return tuple(picture.name for picture in self.splits[split].pictures)

    def findings(self) -> DataFindings:
        return self.facts

    def describe(self) -> dict[str, object]:
        return self.described_labels() | self.facts.described()


def image_files(rendering: Rendering) -> Files[Looked]:
    """Return the reader of images."""
    look = partial(look_at, rendering=rendering)
    return Files("image", "picture", _USUAL, look, suffixes=IMAGES, unread=UNREAD_IMAGES, parts=BOXES, rarer=_RARER)


def read_image_table(config: ImageTableConfig) -> ImageTableTask:
    """Read a table's images and split them. Raises ConfigError for data that cannot be learned from."""
    rendering = rendering_of(config)
    frames, pictures, facts = read_own_files(config, image_files(rendering))
    named = [(each.name, each.content) for part in pictures.values() for each in part]
    said = [str(label) for split in pictures for label in frames[split]["label"]] if config.answer == "class" else []
    told = told_of(named, rendering, said)
    told += near_pictures(
        {
            split: [(shortened(each.name), each.content.pixels, each.content.thumbnail) for each in part]
            for split, part in pictures.items()
        }
    )
    where = f"task.data={config.data}" if config.data else f"task={config.name}"
    refuse_empty(where, frames)
    known = {split: list(frames[split]["label"]) for split in SPLITS}
    classes, labels = numbered_labels(
        where, known, answer=config.answer, wanted=config.classes, positive=config.positive
    )
    splits = {}
    kept = dict(facts.kept)
    for split, rows in zip(SPLITS, (config.train_rows, config.validation_rows, config.test_rows), strict=True):
        drawn = evenly_drawn(labels[split], rows, config.split_seed)
        splits[split] = Labelled(
            tuple(pictures[split][place] for place in drawn), tuple(labels[split][place] for place in drawn)
        )
        kept[split] = [facts.kept[split][place] for place in drawn]
        known[split] = [known[split][place] for place in drawn]
    if config.train_rows is not None:  # which may leave rows of a class, or of one number, alone
        numbered_labels(f"{where} task.train_rows={config.train_rows}", known, answer=config.answer, wanted=None)
    digest = hashlib.sha256(repr(classes).encode())
    for split, found in splits.items():
        digest.update(repr((split, [each.content.file for each in found.pictures], found.labels)).encode())
    odd = suspicious(names_told(known, config.answer))
    return ImageTableTask(
        name=config.name,
        source=str(config.data or config.dataset),
        classes=classes,
        splits=splits,
        sha256=digest.hexdigest(),
        image_size=config.image_size,
        rendering=rendering,
        facts=dataclasses.replace(
            facts,
            kept=kept,
            suspicious=[*told, *facts.suspicious, *odd],
            format={**facts.format, **values_of([looked for _, looked in named], rendering)},
        ),
        several=config.answer == "labels",
    )
