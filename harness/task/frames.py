"""Recordings as mel frames, made once and cached; batches of them, padded to the longest.

Shapes: B recordings in a batch, T frames of the longest of them, M mel bands.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from harness.task.base import Inputs
from harness.task.mel import RECIPE, mel_frames
from harness.task.ragged import cached, padded, starts_of


@dataclasses.dataclass(frozen=True)
class SpeechSplit:
    """Recordings at `rate` samples a second and their classes, 0…classes−1, in a fixed order."""

    samples: tuple[np.ndarray, ...]
    labels: tuple[int, ...]
    speakers: tuple[str, ...]
    rate: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def seconds(self) -> list[float]:
        """The duration of each recording."""
        return [len(samples) / self.rate for samples in self.samples]

    @property
    def sha256(self) -> str:
        """The digest of the sound and its rate: what its frames are made of."""
        digest = hashlib.sha256(str(self.rate).encode())
        for samples in self.samples:
            digest.update(len(samples).to_bytes(8, "little") + samples.tobytes())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class FrameSplit(Inputs):
    """The frames of a split end to end, where each recording starts, and the classes."""

    frames: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each recording."""
        return np.diff(self.starts)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Frames (B, T, M), zero beyond a recording's end, their number `lengths` (B), labels (B), rows (B)."""
        chosen = list(rows)
        frames, _ = padded(self.frames, self.starts, chosen, np.float32(0))
        return {
            "frames": torch.from_numpy(frames),
            "lengths": torch.from_numpy(self.lengths[chosen]),
            "labels": torch.from_numpy(self.labels[chosen]),
            "rows": torch.tensor(chosen),
        }


def read_frames(split: SpeechSplit) -> FrameSplit:
    """The mel frames of a split, from the cache where it lies under the digest of the sound and of the recipe."""
    key = hashlib.sha256(f"{RECIPE}\0{split.sha256}".encode()).hexdigest()
    arrays = cached("frames", key, partial(_make, split))
    return FrameSplit(arrays["frames"], arrays["starts"], np.array(split.labels, dtype=np.int64))


def _make(split: SpeechSplit) -> dict[str, np.ndarray]:
    frames = [mel_frames(samples, split.rate) for samples in split.samples]
    return {"frames": np.concatenate(frames), "starts": starts_of(frames)}
