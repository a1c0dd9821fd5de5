"""Recordings as mel frames, made once and cached; batches of them, padded to the longest.

Shapes: B recordings in a batch, T frames of the longest of them, M mel bands.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from harness import assets
from harness.task.mel import RECIPE, mel_frames
from harness.task.speech import SpeechSplit


@dataclasses.dataclass(frozen=True)
class FrameSplit(Dataset[int]):
    """The frames of a split end to end, where each recording starts, and the classes. Items are row numbers."""

    frames: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> int:
        return index

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each recording."""
        return np.diff(self.starts)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Frames (B, T, M), zero beyond a recording's end, their number `lengths` (B), labels (B), rows (B)."""
        chosen = list(rows)
        lengths = self.lengths[chosen]
        columns = np.arange(lengths.max())
        where = np.minimum(self.starts[chosen, None] + columns, len(self.frames) - 1)
        frames = np.where((columns < lengths[:, None])[..., None], self.frames[where], np.float32(0))
        return {
            "frames": torch.from_numpy(frames),
            "lengths": torch.from_numpy(lengths),
            "labels": torch.from_numpy(self.labels[chosen]),
            "rows": torch.tensor(chosen),
        }


def read_frames(split: SpeechSplit) -> FrameSplit:
    """The mel frames of a split, from the cache where it lies under the digest of the sound and of the recipe."""
    key = hashlib.sha256(f"{RECIPE}\0{split.sha256}".encode()).hexdigest()
    path = assets.cache_folder() / "frames" / f"{key}.npz"
    if not path.exists():
        _make(split, path)
    with np.load(path) as arrays:
        frames, starts = arrays["frames"], arrays["starts"]
    return FrameSplit(frames, starts, np.array(split.labels, dtype=np.int64))


def _make(split: SpeechSplit, path: Path) -> None:
    frames = [mel_frames(samples, split.rate) for samples in split.samples]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f"{path.stem}.{os.getpid()}.npz")
    np.savez(scratch, frames=np.concatenate(frames), starts=np.cumsum([0, *map(len, frames)]))
    os.replace(scratch, path)
