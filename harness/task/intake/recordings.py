"""Recordings as 16-bit samples of one channel: WAV in all its sample formats, and what soundfile reads."""

import dataclasses
import importlib
import importlib.util
import io
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from harness.system.paths import path_problem
from harness.task.intake.files import unlike_data
from harness.task.intake.misplaced import file_at

WAV = (".wav", ".wave")
OTHERS = (".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au")
UNREAD = (".m4a", ".aac", ".wma", ".amr", ".sph", ".mp4", ".webm")
_STARTS = {
    b"fLaC": "FLAC",
    b"OggS": "OGG",
    b"ID3": "MP3",
    b"\xff\xfb": "MP3",
    b"\xff\xf3": "MP3",
    b"\xff\xf2": "MP3",
    b"\xff\xf1": "AAC",
    b"NIST_1A": "NIST SPHERE",
    b"FORM": "AIFF",
    b"RIFX": "RIFX",
    b"caff": "CAF",
}
WAV_STARTS = (b"RIFF", b"RF64")
SHORTEST = 0.025
"""Seconds; a mel frame's window."""
_BEYOND = 2.0
"""Float samples that go beyond it, 6 dB over full scale, are of another scale; those below are clipped."""

_BESIDE = ("", "clips", "wavs")  # where files are named from, beside a table: Common Voice's, LJSpeech's
_SUFFIXES = ("", ".wav")  # LJSpeech names them without
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NAMES = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 85: "MP3"}


@dataclasses.dataclass(frozen=True)
class DecodedAudio:
    """Samples (T,) of int16; the rate and channels of the file that they are from; whether some went beyond its full
    scale, and were clipped.
    """

    samples: np.ndarray
    rate: int
    channels: int
    clipped: bool


def read_recording(path: Path, rate: int, mix: bool) -> DecodedAudio:
    """A recording at `rate`; with `mix`, the mean of all channels. Raises ValueError for what is wrong.

    A WAV file of 16-bit samples at `rate` is taken as it is; what has another rate is resampled.
    """
    if problem := path_problem(path, "file"):
        raise ValueError(problem)
    return decode_audio(path.read_bytes(), path, rate, mix, is_wav=path.suffix.lower() in WAV)


def recording_at(folder: Path, name: str) -> Path:
    """Return the file that a table in `folder` names. Raises ValueError if two files match."""
    if "*" in name:
        return file_at(folder, name, _SUFFIXES)
    places = [folder / inner / f"{name}{suffix}" for inner in _BESIDE for suffix in _SUFFIXES]
    return next((place for place in places if path_problem(place, "file") is None), places[0])


def decode_audio(content: bytes, path: Path | None, rate: int, mix: bool, *, is_wav: bool) -> DecodedAudio:
    """Decode the bytes of a file, which lies at `path`, or nowhere."""
    if not content:
        raise ValueError("not a readable WAV file (an empty file)")
    samples, found = _wav(content) if is_wav else _by_soundfile(path, content)
    if samples.shape[1] != 1 and not mix:
        raise ValueError(f"{samples.shape[1]} channels; expected one, or task.channels=mix for their mean")
    peak = float(np.abs(samples).max(initial=0)) if samples.dtype != np.int16 else 0.0
    if peak > _BEYOND:
        raise ValueError(f"float samples reach {peak:.6g}; full scale is 1")
    one = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1) / (2**15 if samples.dtype == np.int16 else 1)
    heard = _sixteen_bits(_resampled(one, found, rate))
    if not len(heard) or (heard == heard[0]).all():
        raise ValueError("no sound in it")
    if len(heard) < SHORTEST * rate:
        raise ValueError(f"{len(heard)} samples, {1000 * len(heard) / rate:.3g} ms; 25 ms are the least")
    return DecodedAudio(heard, found, samples.shape[1], peak > 1)


def _resampled(samples: np.ndarray, found: int, rate: int) -> np.ndarray:
    if found == rate:
        return samples
    import soxr

    full = 2**15 if samples.dtype == np.int16 else 1
    resampled: np.ndarray = soxr.resample(samples.astype(np.float64) / full, found, rate)
    return resampled


def _sixteen_bits(samples: np.ndarray) -> np.ndarray:
    """Samples in 16 bits; floats have full scale 1."""
    if samples.dtype == np.int16:
        return samples
    whole: np.ndarray = np.clip(np.rint(samples * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
    return whole


def _by_soundfile(path: Path | None, content: bytes) -> tuple[np.ndarray, int]:
    """Samples (T, channels) of int16 where the file has no more than 16 bits, else floats; and their rate."""
    if reason := unlike_data(content[:512]):
        raise ValueError(reason)
    if importlib.util.find_spec("soundfile") is None:
        raise ValueError("not a WAV file; others need the extra audio: pip install 'lora-harness[audio]'")
    soundfile = importlib.import_module("soundfile")  # not in every speech user's environment
    try:
        narrow = soundfile.info(path or io.BytesIO(content)).subtype in ("PCM_16", "PCM_S8", "PCM_U8")
        samples, rate = soundfile.read(
            path or io.BytesIO(content), dtype="int16" if narrow else "float64", always_2d=True
        )
    except RuntimeError as error:
        raise ValueError(f"no recording that can be read: {error}") from None
    return samples, rate


def _wav(content: bytes) -> tuple[np.ndarray, int]:
    """Samples (T, channels), of int16 or of floats whose full scale is 1, and their rate."""
    if content[:4] not in WAV_STARTS or content[8:12] != b"WAVE":
        kind = next((kind for start, kind in _STARTS.items() if content.startswith(start)), None)
        kind = "MP4" if content[4:8] == b"ftyp" else kind
        own = "it does not begin as one" if kind is None else f"it is {kind} by its content"
        why = unlike_data(content[:512]) or own
        raise ValueError(f"not a readable WAV file ({why})")
    chunks, promised = _chunks(content)
    if b"fmt " not in chunks or len(chunks[b"fmt "]) < 16:
        raise ValueError("not a readable WAV file (it says nothing of its samples)")
    if b"data" not in chunks:
        raise ValueError("not a readable WAV file (no samples in it)")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    if kind == _EXTENSIBLE and len(chunks[b"fmt "]) >= 26:
        kind = struct.unpack("<H", chunks[b"fmt "][24:26])[0]
    if not channels or not rate:
        raise ValueError(f"not a readable WAV file ({channels} channels, {rate} samples a second)")
    if kind not in (_PCM, _FLOAT) or (kind, bits) not in _READ:
        rule = "save it as PCM of 16 bits, as sox IN -e signed -b 16 OUT does"
        raise ValueError(f"{bits} bits a sample of {_NAMES.get(kind, f'kind {kind}')}; {rule}")
    width = bits // 8 * channels
    if len(chunks[b"data"]) < promised:
        raise ValueError(f"it ends after {len(chunks[b'data']) // width} of {promised // width} samples")
    data = chunks[b"data"][: len(chunks[b"data"]) // width * width]
    samples = _READ[kind, bits](data).reshape(-1, channels)
    if samples.dtype != np.int16 and not np.isfinite(samples).all():
        raise ValueError("samples that are no finite numbers")
    return samples, rate


def _chunks(content: bytes) -> tuple[Mapping[bytes, bytes], int]:
    """The first chunk of each name, and how many bytes of samples are promised."""
    chunks: dict[bytes, bytes] = {}
    at, promised = 12, 0
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"data" and (size in (0xFFFFFFFF, 0x7FFFFFFF) or (size == 0 and not _is_chunk(content, at + 8))):
            size = len(content) - at - 8  # written to a pipe, or never closed: to the end
        if name == b"data" and name not in chunks:
            promised = size
        chunks.setdefault(name, content[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return chunks, promised


def _is_chunk(content: bytes, at: int) -> bool:
    """Return whether a chunk begins there, with a name in letters."""
    name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
    return re.fullmatch(rb"[A-Za-z0-9 _]{4}", name) is not None and at + 8 + size <= len(content)


def _of_24_bits(data: bytes) -> np.ndarray:
    wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
    wide[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0] / 2.0**31


_READ: dict[tuple[int, int], Callable[[bytes], np.ndarray]] = {
    (_PCM, 8): lambda data: (np.frombuffer(data, dtype=np.uint8).astype(np.int16) - 128) * np.int16(256),
    (_PCM, 16): lambda data: np.frombuffer(data, dtype="<i2").astype(np.int16),
    (_PCM, 24): _of_24_bits,
    (_PCM, 32): lambda data: np.frombuffer(data, dtype="<i4") / 2.0**31,
    (_FLOAT, 32): lambda data: np.frombuffer(data, dtype="<f4").astype(np.float64),
    (_FLOAT, 64): lambda data: np.frombuffer(data, dtype="<f8").astype(np.float64),
}
