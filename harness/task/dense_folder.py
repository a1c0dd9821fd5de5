"""NYUD-v2 and PASCAL-Context for several dense tasks, from the folders that multi-task work shares them in.

The layout is that of Vandenhende's Multi-Task-Learning-PyTorch, which MTLoRA's published code reads as well. Of
PASCAL-Context human parts lie in MATLAB files. Its edges are the boundaries of the label maps, where they are there,
else of the segmentation.

Shapes: H × W pixels of a file, S pixels a side as the model reads it.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.config import ConfigError, DenseFolderConfig
from harness.system import assets
from harness.task.base import Inputs
from harness.task.dense import DenseTask
from harness.task.dense_answers import VOID, answer_of
from harness.task.pascal_marks import edges_between, human_parts, label_map

_LIST = {"nyud": "gt_sets", "pascal_context": "ImageSets/Context"}
_IMAGES = {"nyud": "images", "pascal_context": "JPEGImages"}
_FILES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "nyud": {
        "segmentation": ["segmentation/{}.png"],
        "depth": ["depth/{}.npy"],
        "normals": ["normals/{}.npy"],
        "edges": ["edge/{}.npy"],
    },
    "pascal_context": {
        "segmentation": ["semseg/VOC12/{}.png", "semseg/pascal-context/{}.png"],
        "parts": ["human_parts/{}.mat"],
        "saliency": ["sal_distill/{}.png"],
        "normals": ["normals_distill/{}.png"],
        "edges": ["pascal-context/trainval/{}.mat", "semseg/VOC12/{}.png", "semseg/pascal-context/{}.png"],
    },
}
"""Where an answer lies: the first of these that is there."""

_DEPTH_FILES = 100  # of the training split, that depth is standardised by


@dataclasses.dataclass(frozen=True)
class FolderInputs(Inputs):
    """A split whose files are read as they are needed: too large to be held at a model's size."""

    reader: str
    root: Path
    names: tuple[str, ...]
    tasks: tuple[str, ...]
    size: int

    @property
    def lengths(self) -> np.ndarray:
        return np.ones(len(self.names), dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """`images` (B, 3, S, S) as bytes, `rows` (B), and under each task's name its answers."""
        chosen = [self.names[row] for row in rows]
        images = np.stack([_image(self.root / _IMAGES[self.reader] / f"{name}.jpg", self.size) for name in chosen])
        answers = {task: np.stack([self.answer(task, name) for name in chosen]) for task in self.tasks}
        found = {task: torch.from_numpy(values) for task, values in answers.items()}
        return {"images": torch.from_numpy(images), "rows": torch.tensor(list(rows))} | found

    def answer(self, task: str, name: str) -> np.ndarray:
        """One task's answer to one image: classes (S, S), or numbers (K, S, S)."""
        path = self.path(task, name)
        if path is None:
            return np.full((self.size, self.size), VOID, dtype=np.int64)
        values = _square(_read(task, path), self.size)
        if task == "edges" and self.reader == "pascal_context":
            return edges_between(values)[None]  # at the model's size: lines of a pixel would be lost on the way
        return _as_answer(self.reader, task, values)

    def path(self, task: str, name: str) -> Path | None:
        """The file of an answer; None of an image without people's parts. Raises ConfigError where there is none."""
        places = [self.root / place.format(name) for place in _FILES[self.reader][task]]
        found = next((place for place in places if place.is_file()), None)
        if found is None and not (task == "parts" and places[0].parent.is_dir()):
            raise ConfigError(f"task.data={self.root}: no {places[0].relative_to(self.root)}")
        return found


def read_dense_folder(config: DenseFolderConfig) -> DenseTask:
    """Find the files of every split. Raises ConfigError for one that is not there."""
    if config.data is None:
        raise ConfigError(f"task.data: missing; give the folder of {config.name}, with {_IMAGES[config.reader]} in it")
    root = Path(config.data).expanduser()
    listed = {split: _names(root / _LIST[config.reader] / f"{split}.txt") for split in ("train", "val")}
    if shared := set(listed["train"]) & set(listed["val"]):
        raise ConfigError(f"task.data={config.data}: {len(shared)} images are in train.txt and in val.txt")
    order = np.random.default_rng(config.split_seed).permutation(len(listed["train"]))
    held = max(1, round(config.validation_share * len(order)))
    places = {"train": np.sort(order[held:])[: config.train_rows], "validation": np.sort(order[:held])}
    names = {split: tuple(listed["train"][row] for row in rows) for split, rows in places.items()}
    names["test"] = tuple(listed["val"][: config.test_rows])
    for split, found in names.items():
        if not found:
            raise ConfigError(f"task.data={config.data}: the {split} split has no images")
    tasks = tuple(config.chosen)
    splits = {split: FolderInputs(config.reader, root, rows, tasks, config.image_size) for split, rows in names.items()}
    train, channels = splits["train"], config.known_outputs
    depth = [train.answer("depth", name) for name in train.names[:_DEPTH_FILES]] if "depth" in tasks else [np.zeros(1)]
    answers = {task: answer_of(task, count, np.stack(depth), "m") for task, count in channels.items()}
    return DenseTask(config.name, config.data, channels, answers, splits, _digest(splits), alone=config.alone)


def _names(path: Path) -> list[str]:
    if not path.is_file():
        raise ConfigError(f"task.data={path.parent.parent}: no {path.name} in {path.parent.name}")
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _digest(splits: Mapping[str, FolderInputs]) -> str:
    whole = hashlib.sha256()
    for split, inputs in splits.items():
        for name in inputs.names:
            files = [
                inputs.root / _IMAGES[inputs.reader] / f"{name}.jpg",
                *(path for task in inputs.tasks if (path := inputs.path(task, name)) is not None),
            ]
            missing = next((file for file in files if not file.is_file()), None)
            if missing is not None:
                raise ConfigError(f"task.data={inputs.root}: no {missing.relative_to(inputs.root)}")
            whole.update(repr((split, name, [assets.sha256_of(file) for file in files])).encode())
    return whole.hexdigest()


def _read(task: str, path: Path) -> np.ndarray:
    match path.suffix:
        case ".mat":
            return human_parts(path) if task == "parts" else label_map(path)
        case ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
    return _pixels(path)


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)


def _image(path: Path, size: int) -> np.ndarray:
    """(3, S, S): the square in the middle, resampled over all the pixels that it covers."""
    from PIL import Image
    from PIL.Image import Resampling

    with Image.open(path) as image:
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(square.resize((size, size), Resampling.BILINEAR)).transpose(2, 0, 1)


def _square(values: np.ndarray, size: int) -> np.ndarray:
    """The square in the middle of answers (H, W, …), by nearest neighbour: answers are not averaged."""
    height, width = values.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    places = ((np.arange(size) + 0.5) * side / size).astype(np.int64)
    return np.asarray(values[top + places][:, left + places])


def _as_answer(reader: str, task: str, values: np.ndarray) -> np.ndarray:
    if task in ("segmentation", "parts"):
        classes = values.astype(np.int64)
        # NYUD's class 0 means no class, as in the work that reports on it.
        return np.where(classes == 0, VOID, classes - 1) if reader == "nyud" else classes
    numbers: np.ndarray[Any, Any] = values.astype(np.float32)
    if task == "normals":
        numbers = numbers * (2 / 255) - 1 if values.dtype == np.uint8 else numbers
        length = np.linalg.norm(numbers, axis=-1, keepdims=True)
        return np.where(length > 0.5, numbers / np.maximum(length, 1e-6), np.nan).transpose(2, 0, 1).copy()
    numbers = numbers.reshape(*numbers.shape[:2], -1)[..., 0][None]
    if task == "depth":
        return np.where(numbers > 0, numbers, np.nan).astype(np.float32)
    scale = 255 if values.dtype == np.uint8 else 1
    return (numbers / scale > 0.5).astype(np.float32)
