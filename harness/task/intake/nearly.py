"""Copies in two splits that are not the same to the bit: pictures saved anew or scaled, recordings made louder.

They get a warning only. False alarms: 43 of 10,000 test images of Fashion-MNIST look like one of its 60,000 of
training, none of 397 of scikit-learn's digits like one of 1,400; none of 3,000 spoken digits of the Free Spoken Digit
Dataset sounds like one of another speaker, and none of 600 at random like one of the other 2,400. Found of 400 copies
of images of Fashion-MNIST: all that are JPEG of quality 75, twice as large, a sixth brighter, of 64 colours, or have
noise of 4 grey levels; 95 % at quality 50; none that is cut by a pixel. Found of 400 recordings: all at a third of the
volume, 99 % with silence around them or with noise 30 dB below, 98 % resampled and back; 95 % without their first
10 ms; 91 % where twice the volume clips them; 53 % with noise 20 dB below. Mirrored or turned pictures are told where
they are 2 % of a split: of Fashion-MNIST and the digits none are.

Cost on one core: 20 µs a picture of 28 pixels a side, whose file takes 250 µs to read, and 250 µs more one that is held
out, which is turned; 10 µs a recording of half a second and 45 µs one of two, which take 60 and 130 µs to read from
plain WAV at the task's own rate.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product

import numpy as np

from harness.system.paths import listed

THUMBNAIL = 16
"""Pixels a side of the grey thumbnails by which pictures are compared."""

_ALIKE = 0.99  # the correlation of the slopes of two thumbnails
_FLAT = 22.0  # the slopes of a thumbnail of one grey level a pixel; noise is above, a picture of nothing below
_LEADING = 24  # waves of a thumbnail that are compared first
_MOST_PICTURES, _MOST_RECORDINGS = 4, 4  # that are compared with one, the closest by what is compared first

_FEWEST_TURNED, _SHARE_TURNED = 3, 0.02  # of a split; of what is the same in a mirror some are alike by chance
_TURNS = tuple(product(range(4), (False, True)))[1:]  # quarters, and whether in a mirror

_OUTLINES = 0.012  # how far outlines of copies lie from each other
_SOUNDS_ALIKE = 0.9  # the correlation of two fine spectra
_BAND, _HIGHEST = 7.8125, 4000.0  # Hz
_SECONDS = 30  # of a recording whose spectrum is looked at
_LAGS = (1, 4, 8)


def near_pictures(splits: Mapping[str, Sequence[tuple[str, str, bytes]]]) -> list[str]:
    """Return warnings about pictures (name, digest of pixels, thumbnail) that look like one of an earlier split."""
    waves = {split: _leading(pictures) for split, pictures in splits.items() if len(pictures)}
    told = []
    for place, second in enumerate(waves):
        later = splits[second]
        ways = [_all_turned(later, *way) for way in _TURNS] if place else []
        ways_waves = list(map(_leading, ways))
        for first in list(waves)[:place]:
            pairs = _alike(splits[first], later, waves[first], waves[second])
            told += _told("pictures look like", first, second, len(later), pairs)
            turned = dict[str, str]()
            for way, leading in zip(ways, ways_waves, strict=True):
                turned |= _alike(splits[first], way, waves[first], leading)
            turned = {name: other for name, other in turned.items() if name not in pairs}
            if len(turned) >= max(_FEWEST_TURNED, _SHARE_TURNED * len(later)):
                told += _told("pictures, mirrored or turned, look like", first, second, len(later), turned)
    return told


def _all_turned(pictures: Sequence[tuple[str, str, bytes]], times: int, mirrored: bool) -> list[tuple[str, str, bytes]]:
    return [(name, pixels, _turned(thumb, times, mirrored)) for name, pixels, thumb in pictures]


def _alike(
    first: Sequence[tuple[str, str, bytes]],
    second: Sequence[tuple[str, str, bytes]],
    first_waves: np.ndarray,
    second_waves: np.ndarray,
) -> dict[str, str]:
    """The names of pictures of the second split that look like one of the first, with that; waves are the leading."""
    later, earlier = _candidates(first_waves, second_waves, (2 - 2 * _ALIKE) ** 0.5, _MOST_PICTURES)
    sides = (second, later), (first, earlier)
    one, other = (_waves([pictures[place][2] for place in places]) for pictures, places in sides)
    alike = np.einsum("nw,nw->n", one, other) >= _ALIKE
    return _named(first, second, earlier[alike], later[alike])


def _turned(thumbnail: bytes, times: int, mirrored: bool) -> bytes:
    """A thumbnail turned by quarters, of itself or of what is seen in a mirror."""
    grey = np.frombuffer(thumbnail, np.uint8).reshape(THUMBNAIL, THUMBNAIL)
    return np.rot90(grey[:, ::-1] if mirrored else grey, times).tobytes()


def _leading(pictures: Sequence[tuple[str, str, bytes]]) -> np.ndarray:
    return np.concatenate([_waves([thumb for *_, thumb in part])[:, :_LEADING] for part in _blocks(pictures)])


def _blocks(pictures: Sequence[tuple[str, str, bytes]]) -> list[Sequence[tuple[str, str, bytes]]]:
    return [pictures[begin : begin + 10_000] for begin in range(0, len(pictures), 10_000)]


def _waves(thumbnails: Sequence[bytes]) -> np.ndarray:
    """(N, 255): thumbnails as waves, longest first, whose products are those of all slopes between neighbouring pixels
    (a cosine transform has them apart); of length 1, or 0 where nothing is to be seen.
    """
    from scipy.fft import dctn

    grey = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL).astype(np.float32)
    slopes = 2 - 2 * np.cos(np.pi * np.arange(THUMBNAIL) / THUMBNAIL)
    weights = (slopes[:, None] + slopes).reshape(-1)
    order = np.argsort(weights, kind="stable")[1:]
    waves = dctn(grey, axes=(1, 2), norm="ortho").reshape(-1, THUMBNAIL**2)
    found = waves[:, order] * np.sqrt(weights[order]).astype(np.float32)
    sizes = np.linalg.norm(found, axis=1, keepdims=True)
    unit: np.ndarray = np.where(sizes < _FLAT, 0, found / np.maximum(sizes, _FLAT)).astype(np.float32)
    return unit


def near_recordings(splits: Mapping[str, Sequence[tuple[str, str, np.ndarray]]], rate: int) -> list[str]:
    """Return warnings about recordings (name, digest, samples) that sound like one of an earlier split."""
    outlines = {
        split: _outlines(samples for *_, samples in recordings)
        for split, recordings in splits.items()
        if len(recordings)
    }
    told = []
    for first, second in combinations(outlines, 2):
        later, earlier = _candidates(outlines[first], outlines[second], _OUTLINES, _MOST_RECORDINGS)
        sides = (splits[second], later), (splits[first], earlier)
        one, other = (
            {place: _fine_spectrum(recordings[place][2], rate) for place in set(places.tolist())}
            for recordings, places in sides
        )
        products = [float(one[a] @ other[b]) for a, b in zip(later.tolist(), earlier.tolist(), strict=True)]
        alike = np.array(products) >= _SOUNDS_ALIKE
        pairs = _named(splits[first], splits[second], earlier[alike], later[alike])
        told += _told("recordings sound like", first, second, len(splits[second]), pairs)
    return told


def _outlines(recordings: Iterable[np.ndarray]) -> np.ndarray:
    """(N, 4): what silence before or after and another volume do not change: products with what comes a little later,
    and how peaked the samples are, in units of their power.
    """
    sums = np.array([_sums(samples) for samples in recordings], dtype=np.float64)
    power = np.maximum(sums[:, :1], 1)
    peaked = np.log(np.maximum(sums[:, -1:], 1) / power / power) / 4
    return np.hstack([sums[:, 1:-1] / power, peaked])


def _sums(samples: np.ndarray) -> list[float]:
    heard = samples.astype(np.float32)
    squares = heard * heard
    later = [np.dot(heard[lag:], heard[:-lag]) for lag in _LAGS]
    return [np.dot(heard, heard), *later, np.dot(squares, squares)]


def _fine_spectrum(samples: np.ndarray, rate: int) -> np.ndarray:
    """The power of narrow bands against that of their neighbours, of length 1: a voice's pitch, and where it goes."""
    from scipy.fft import next_fast_len, rfft

    heard = samples[: _SECONDS * rate].astype(np.float32)
    count = next_fast_len(max(2 * len(heard), rate), real=True)
    found = rfft(heard - heard.mean(), count)
    bands = int(min(_HIGHEST, rate / 2) / _BAND)
    edges = (np.arange(bands + 1) * _BAND * count / rate).astype(int)
    power = np.add.reduceat(found.real**2 + found.imag**2, edges)[:-1]
    levels = np.log(power + 1e-4 * power.max() + 1e-9)
    around = np.pad(levels, 4, mode="reflect")
    levels = levels - np.convolve(around, np.full(9, 1 / 9), mode="valid")
    levels -= levels.mean()
    unit: np.ndarray = levels / max(float(np.linalg.norm(levels)), 1e-9)
    return unit


def _candidates(earlier: np.ndarray, later: np.ndarray, within: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The places, in both, of those that lie within a distance of each other: of each later one the closest `most`."""
    from scipy.spatial import cKDTree

    distances, places = cKDTree(earlier).query(later, k=range(1, most + 1), distance_upper_bound=within)
    rows, columns = np.nonzero(np.isfinite(distances))
    return rows, places[rows, columns]


def _named(
    first: Sequence[tuple[str, str, object]],
    second: Sequence[tuple[str, str, object]],
    earlier: np.ndarray,
    later: np.ndarray,
) -> dict[str, str]:
    """The names of those of the second split with that of one of the first; exact copies are reported elsewhere."""
    pairs: dict[str, str] = {}
    for place, other in zip(later.tolist(), earlier.tolist(), strict=True):
        if second[place][1] != first[other][1]:
            pairs.setdefault(second[place][0], first[other][0])
    return pairs


def _told(alike: str, first: str, second: str, count: int, pairs: Mapping[str, str]) -> list[str]:
    if not pairs:
        return []
    said = listed(f"{name} and {other}" for name, other in pairs.items())
    return [f"{len(pairs)} of {count} {second} {alike} those of {first}, if not to the bit ({said})"]
