"""Spoken keywords: reading recordings, and fixed splits that share no voice."""

import dataclasses
import hashlib
import re
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.config import ConfigError, SpokenTaskConfig, Tokens, nearest
from harness.system import assets
from harness.task.base import Inputs, Task, described
from harness.task.frames import SpeechSplit, read_frames

_NAME = re.compile(r"([^_]+)_(.+)_(\d+)\.wav")  # label, speaker, index
_SHOWN = 5  # mistakes of one kind that an error names


@dataclasses.dataclass(frozen=True)
class Recording:
    """One utterance: 16-bit samples, the word that is said, who says it, and the name of its file."""

    file: str
    label: str
    speaker: str
    samples: np.ndarray


@dataclasses.dataclass(frozen=True)
class SpeechTask(Task):
    """Three splits of unlike speakers. `source` says where they came from."""

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, SpeechSplit]
    sha256: str

    @property
    def outputs(self) -> int:
        return len(self.classes)

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        return read_frames(self.splits[split])

    def describe(self) -> dict[str, object]:
        """With the speakers of each split."""
        labels = {name: split.labels for name, split in self.splits.items()}
        speakers = {name: sorted(set(split.speakers)) for name, split in self.splits.items()}
        return described(self.name, self.source, self.sha256, self.classes, labels) | {"speakers": speakers}


def read_speech(config: SpokenTaskConfig) -> SpeechTask:
    """Read a folder of recordings and split it by speaker.

    Raises ConfigError for a folder without recordings, for every file that is not what its task says, for speakers
    that are unknown, too few or held out twice, and for a word that training never hears.
    """
    folder, source = _folder(config)
    recordings = _recordings(folder, config.sample_rate)
    speakers = _speakers(config, sorted({recording.speaker for recording in recordings}))
    parts = {name: [r for r in recordings if r.speaker in chosen] for name, chosen in speakers.items()}
    classes = tuple(sorted({recording.label for recording in parts["train"]}))
    _check_words(config, parts, classes)
    number = {label: index for index, label in enumerate(classes)}
    splits = {name: _split(part, number, config.sample_rate) for name, part in parts.items()}
    return speech_task(config.name, source, classes, splits)


def speech_task(name: str, source: str, classes: tuple[str, ...], splits: dict[str, SpeechSplit]) -> SpeechTask:
    """A task of these splits, with its digest."""
    digest = hashlib.sha256(repr(classes).encode())
    for key, split in splits.items():
        digest.update(repr((key, split.sha256, split.labels, split.speakers)).encode())
    return SpeechTask(name, source, classes, splits, digest.hexdigest())


def _split(part: Sequence[Recording], number: dict[str, int], rate: int) -> SpeechSplit:
    return SpeechSplit(
        tuple(recording.samples for recording in part),
        tuple(number[recording.label] for recording in part),
        tuple(recording.speaker for recording in part),
        rate,
    )


def _folder(config: SpokenTaskConfig) -> tuple[Path, str]:
    if config.data is not None:
        folder, source = Path(config.data).expanduser(), config.data
    elif config.asset is not None:
        folder, source = assets.fetch(config.asset.address, config.asset.sha256), config.asset.address
    else:
        raise ConfigError(
            "task.data: missing; give a folder of recordings LABEL_SPEAKER_INDEX.wav, such as those of "
            "github.com/Jakobovski/free-spoken-digit-dataset"
        )
    if not folder.is_dir():
        raise ConfigError(f"task.data={config.data}: no such folder")
    inner = folder / "recordings"  # the data set's repository keeps them there
    return (inner if inner.is_dir() else folder), source


def _recordings(folder: Path, rate: int) -> list[Recording]:
    files = sorted(folder.glob("*.wav"))
    if not files:
        raise ConfigError(f"task.data={folder}: no .wav file in it")
    found, mistakes = [], []
    for file in files:
        match = _NAME.fullmatch(file.name)
        try:
            if match is None:
                raise ValueError("its name is not LABEL_SPEAKER_INDEX.wav, as in 7_jackson_32.wav")
            found.append(Recording(file.name, match[1], match[2], _samples(file, rate)))
        except ValueError as error:
            mistakes.append(f"task.data={file}: {error}")
    if mistakes:
        more = len(mistakes) - _SHOWN
        raise ConfigError(*mistakes[:_SHOWN], *([f"task.data={folder}: and {more} files more"] if more > 0 else []))
    return found


def _samples(file: Path, rate: int) -> np.ndarray:
    """The 16-bit samples of one file. Raises ValueError with what is wrong about it."""
    try:
        with wave.open(str(file)) as sound:
            channels, width, found = sound.getnchannels(), sound.getsampwidth(), sound.getframerate()
            promised, data = sound.getnframes(), sound.readframes(sound.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise ValueError(f"not a readable WAV file ({error or 'it ends too early'})") from None
    if channels != 1:
        raise ValueError(f"{channels} channels; expected one")
    if width != 2:
        raise ValueError(f"{8 * width} bits a sample; expected 16")
    if found != rate:
        raise ValueError(f"{found} samples a second; task.sample_rate={rate}")
    if len(data) != width * promised:
        raise ValueError(f"it ends after {len(data) // width} of {promised} samples")
    samples = np.frombuffer(data, dtype="<i2").astype(np.int16)
    if not samples.any():
        raise ValueError("no sound in it")
    return samples


def _speakers(config: SpokenTaskConfig, known: list[str]) -> dict[str, set[str]]:
    """Who is in which split: those named, and as many as asked for drawn by `split_seed` from the others."""
    wanted = {"validation": config.validation_speakers, "test": config.test_speakers}
    named = {name: set(who) if isinstance(who, list) else set() for name, who in wanted.items()}
    _check_names(named, known)
    held = len(known) - sum(who if isinstance(who, int) else len(set(who)) for who in wanted.values())
    if held < 1:
        raise ConfigError(
            f"task.validation_speakers and task.test_speakers: they leave no speaker of {len(known)} to train on "
            f"({', '.join(known)})"
        )
    free = [speaker for speaker in known if speaker not in named["validation"] | named["test"]]
    order = [free[index] for index in np.random.default_rng(config.split_seed).permutation(len(free))]
    for name, who in wanted.items():
        if isinstance(who, int):
            named[name], order = set(order[:who]), order[who:]
    return {"train": set(order), **named}


def _check_names(named: dict[str, set[str]], known: list[str]) -> None:
    mistakes = [
        f"task.{split}_speakers: no recording of {speaker}{nearest(speaker, known) or '; known: ' + ', '.join(known)}"
        for split, speakers in named.items()
        for speaker in sorted(speakers - set(known))
    ]
    mistakes += [
        f"task.validation_speakers and task.test_speakers: {speaker} is in both"
        for speaker in sorted(named["validation"] & named["test"])
    ]
    if mistakes:
        raise ConfigError(*mistakes)


def _check_words(config: SpokenTaskConfig, parts: dict[str, list[Recording]], classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise ConfigError(f"task={config.name}: the training speakers say {len(classes)} word; at least 2 are needed")
    if config.classes is not None and config.classes != len(classes):
        raise ConfigError(f"task.classes={config.classes}: the training speakers say {len(classes)} words")
    heard: dict[bytes, str] = {}
    for name, part in parts.items():
        for recording in part:
            if recording.label not in classes:
                raise ConfigError(
                    f"task={config.name}: {recording.file} of the {name} split says {recording.label!r}, "
                    "which no training speaker says"
                )
            elsewhere = heard.setdefault(recording.samples.tobytes(), name)
            if elsewhere != name:
                raise ConfigError(f"task={config.name}: {recording.file} of the {name} split is in {elsewhere} too")
