"""Rows of unlike length, end to end in one array: padded to a batch, and kept on the disk under what shaped them."""

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from harness.system import assets


def padded(
    values: np.ndarray, starts: np.ndarray, rows: Sequence[int], fill: int | np.floating
) -> tuple[np.ndarray, np.ndarray]:
    """The rows side by side (B, longest, …), `fill` beyond their ends, and the mask (B, longest) of what is theirs."""
    chosen = list(rows)
    lengths = np.diff(starts)[chosen]
    columns = np.arange(lengths.max())
    mask = columns < lengths[:, None]
    where = np.minimum(starts[chosen, None] + columns, len(values) - 1)
    return np.where(mask.reshape(*mask.shape, *[1] * (values.ndim - 1)), values[where], fill), mask


def starts_of(rows: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """Return the start of each row when they are concatenated, and the end of the last one."""
    starts: np.ndarray = np.cumsum([0, *map(len, rows)])
    return starts


def cached(kind: str, key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `make` makes, from the cache where they lie under `key`, the digest of all that shapes them."""
    path = assets.cache_folder() / kind / f"{key}.npz"
    if not path.exists():
        arrays = make()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = path.with_name(f"{key}.{os.getpid()}.npz")
        np.savez(scratch, **arrays)  # type: ignore[arg-type]
        os.replace(scratch, path)
    with np.load(path) as stored:
        return dict(stored)
