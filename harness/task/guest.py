"""Tasks of the user's own: what such a class has to be, and how its rows become a task."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from harness.config import ConfigError, GuestTaskConfig
from harness.config.guests import load_guest, make_guest
from harness.system import assets
from harness.task.base import SPLITS, Task
from harness.task.frames import SpeechSplit
from harness.task.images import ImageSplit
from harness.task.seq2seq import seq2seq_task
from harness.task.seq2seq_inputs import Seq2seqSplit
from harness.task.speech import speech_task
from harness.task.text import text_task
from harness.task.vision import pixels, vision_task

Rows = tuple[Sequence[Any], Sequence[Any]]
"""What is read, and the answer to each of them."""


class GuestTask(ABC):
    """Subclass it, and name the subclass as `task.reader=package.module:Name`.

    The subclass sets `reads`, takes `task.arguments` in its constructor, and gives its rows in `splits`. What they are
    depends on `reads`; labels are names or numbers of classes, or, with `numbers`, the numbers to be predicted:

    - text: sentences and labels; a sentence is cut at `max_length` tokens.
    - vision: images, either an array (N, S, S) or (N, S, S, 3) of bytes or paths of files, and labels; they are brought
      to `image_size` pixels a side.
    - speech: arrays of 16-bit samples, `sample_rate` a second, and labels.
    - generator: source texts and target texts, cut at `max_source` and `max_target` tokens; texts are generated for the
      first `generate_rows` test rows.
    """

    reads: ClassVar[str]
    numbers: ClassVar[bool] = False
    max_length: ClassVar[int] = 128
    image_size: ClassVar[int] = 64
    sample_rate: ClassVar[int] = 8000
    max_source: ClassVar[int] = 128
    max_target: ClassVar[int] = 128
    generate_rows: ClassVar[int] = 200

    @abstractmethod
    def splits(self) -> Mapping[str, Rows]:
        """The rows of train, validation and test, the same at every call; no row may stand in two of them."""

    def task(self, name: str, source: str) -> Task:
        """The task as the harness knows it; override it for inputs or metrics of your own, by a subclass of Task."""
        rows = self.splits()
        if set(rows) != set(SPLITS):
            raise ConfigError(f"task.reader={source}: splits gives {', '.join(rows)}; needed: {', '.join(SPLITS)}")
        return _BUILDERS[self.reads](self, name, source, {split: rows[split] for split in SPLITS})


def guest_task_class(path: str) -> type[GuestTask]:
    """The class that a dotted path names. Raises ConfigError where it is no guest."""
    kind = load_guest("task.reader", path, GuestTask)  # type: ignore[type-abstract]
    if getattr(kind, "reads", None) not in _BUILDERS:
        raise ConfigError(f"task.reader={path}: {kind.__name__}.reads is none of {', '.join(_BUILDERS)}")
    return kind


def read_guest(config: GuestTaskConfig) -> Task:
    """The task that a guest's rows make. Raises ConfigError for rows that cannot be learned from."""
    return make_guest("task.arguments", guest_task_class(config.reader), config.arguments).task(
        config.name, config.reader
    )


def _text(guest: GuestTask, name: str, source: str, rows: Mapping[str, Rows]) -> Task:
    frames = {
        split: pd.DataFrame({"text": list(texts), "label": [str(label) for label in labels]})
        for split, (texts, labels) in rows.items()
    }
    return text_task(
        name, source, f"task={name}", frames, number=guest.numbers, wanted=None, max_length=guest.max_length
    )


def _vision(guest: GuestTask, name: str, source: str, rows: Mapping[str, Rows]) -> Task:
    classes, labels = _classes(name, rows)
    splits = {split: _images(images, labels[split]) for split, (images, _) in rows.items()}
    _refuse_shared(name, {split: images.digests for split, images in splits.items()})
    return vision_task(
        name, source, f"task={name}", classes=classes, splits=splits, repeated=0, image_size=guest.image_size
    )


def _images(images: Any, labels: np.ndarray) -> ImageSplit:
    if hasattr(images, "dtype"):
        return pixels(np.asarray(images, dtype=np.uint8), labels)
    paths = tuple(map(Path, images))
    return ImageSplit(paths, labels, tuple(map(assets.sha256_of, paths)))


def _speech(guest: GuestTask, name: str, source: str, rows: Mapping[str, Rows]) -> Task:
    classes, labels = _classes(name, rows)
    splits = {
        split: SpeechSplit(
            tuple(np.asarray(sound, dtype=np.int16) for sound in sounds),
            tuple(labels[split].tolist()),
            (),
            guest.sample_rate,
        )
        for split, (sounds, _) in rows.items()
    }
    _refuse_shared(name, {split: [sound.tobytes() for sound in part.samples] for split, part in splits.items()})
    return speech_task(name, source, classes, splits)


def _generator(guest: GuestTask, name: str, source: str, rows: Mapping[str, Rows]) -> Task:
    splits = {split: Seq2seqSplit(tuple(sources), tuple(targets)) for split, (sources, targets) in rows.items()}
    _refuse_shared(name, {split: part.sources for split, part in splits.items()})
    return seq2seq_task(
        name,
        source,
        splits,
        {},
        max_source=guest.max_source,
        max_target=guest.max_target,
        generate_rows=guest.generate_rows,
    )


def _refuse_shared(name: str, keys: Mapping[str, Sequence[str] | Sequence[bytes]]) -> None:
    """Raise ConfigError where a row stands in two splits: it would be scored on what was learned by heart."""
    for first, second in itertools.combinations(keys, 2):
        known = set(keys[first])
        if shared := sum(key in known for key in keys[second]):
            raise ConfigError(f"task={name}: {shared} rows of the {second} split stand in {first} too")


def _classes(name: str, rows: Mapping[str, Rows]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The classes of the training split in their order, and every split's labels as their numbers."""
    classes = sorted(set(rows["train"][1]))
    number = {label: index for index, label in enumerate(classes)}
    for split, (_, labels) in rows.items():
        if unknown := sorted(set(labels) - set(classes)):
            raise ConfigError(f"task={name}: label {unknown[0]!r} of the {split} split is absent from training")
    numbers = {
        split: np.array([number[label] for label in labels], dtype=np.int64) for split, (_, labels) in rows.items()
    }
    return tuple(map(str, classes)), numbers


_BUILDERS: dict[str, Callable[[GuestTask, str, str, Mapping[str, Rows]], Task]] = {
    "text": _text,
    "vision": _vision,
    "speech": _speech,
    "generator": _generator,
}
