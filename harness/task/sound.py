"""Recordings as samples at the rate that a model hears, resampled once and cached; batches padded to the longest.

Shapes: B recordings in a batch, N samples of the longest of them.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from harness.task.base import Inputs
from harness.task.frames import SpeechSplit
from harness.task.ragged import cached, padded, starts_of

_RECIPE = "soxr HQ, float32"  # samples made otherwise are other samples
_FRAMES = 100  # a second; what the length of a row is counted in, as of mel frames


@dataclasses.dataclass(frozen=True)
class SoundSplit(Inputs):
    """The samples of a split end to end, where each recording starts, and the classes.

    At most `most` samples of each recording are read, where that is not None.
    """

    samples: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    rate: int
    most: int | None

    @property
    def lengths(self) -> np.ndarray:
        """Hundredths of a second of each recording."""
        return np.ceil(self._read() * (_FRAMES / self.rate)).astype(np.int64)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Samples from -1 to 1 (B, N), zero beyond a recording's end, their `lengths` (B), labels and rows (B)."""
        chosen = list(rows)
        samples, _ = padded(self.samples, self.starts, chosen, np.float32(0))
        return {
            "samples": torch.from_numpy(samples[:, : self.most]),
            "lengths": torch.from_numpy(self._read()[chosen]),
            "labels": torch.from_numpy(self.labels[chosen]),
            "rows": torch.tensor(chosen),
        }

    def truncated(self) -> dict[str, int]:
        if self.most is None:
            return {}
        return {f"recording over {self.most / self.rate:g} s": len(self.cut_rows)}

    @property
    def cut_rows(self) -> list[int]:
        """The recordings that are longer than what is read of them."""
        longer = np.zeros(0) if self.most is None else np.flatnonzero(np.diff(self.starts) > self.most)
        return [int(row) for row in longer]

    def _read(self) -> np.ndarray:
        lengths = np.diff(self.starts)
        return lengths if self.most is None else np.minimum(lengths, self.most)


def read_sound(split: SpeechSplit, rate: int, most: int | None) -> SoundSplit:
    """The samples of a split at `rate`, from the cache where they lie under the digest of sound and recipe."""
    key = hashlib.sha256(f"{_RECIPE}\0{rate}\0{split.sha256}".encode()).hexdigest()
    arrays = cached("sound", key, partial(_make, split, rate))
    return SoundSplit(arrays["samples"], arrays["starts"], np.array(split.labels, dtype=np.int64), rate, most)


def _make(split: SpeechSplit, rate: int) -> dict[str, np.ndarray]:
    # Imported where it is needed: cached samples need it not.
    import soxr

    heard = [soxr.resample(samples.astype(np.float32) / 2**15, split.rate, rate) for samples in split.samples]
    return {"samples": np.concatenate(heard).astype(np.float32), "starts": starts_of(heard)}
