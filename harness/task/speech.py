"""Spoken keywords: reading recordings, and fixed splits that share no voice."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.config import ConfigError, SpokenTaskConfig, Tokens, nearest
from harness.system import assets
from harness.system.paths import listed
from harness.task.base import Inputs, described
from harness.task.constants import Batches, of_classes
from harness.task.frames import SpeechSplit
from harness.task.intake.findings import NO_FINDINGS, DataFindings
from harness.task.intake.folders import files_in, folders_in, is_hidden, require_folder, told_apart
from harness.task.intake.labels import alike
from harness.task.intake.missing import missing_classes
from harness.task.intake.recordings import OTHERS, UNREAD, WAV, read_recording
from harness.task.recorded import RecordedTask

_NAME = re.compile(r"([^_]+)_(.+)_(\d+)")  # label, speaker, index
_SHOWN = 10  # mistakes of one kind that an error names


@dataclasses.dataclass(frozen=True)
class Recording:
    """One utterance: 16-bit samples, the word that is said, who says it, and the name of its file."""

    file: str
    label: str
    speaker: str
    samples: np.ndarray


@dataclasses.dataclass(frozen=True)
class SpeechTask(RecordedTask):
    """Three splits of unlike speakers. `source` says where they came from."""

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, SpeechSplit]
    sha256: str
    facts: DataFindings = NO_FINDINGS

    @property
    def outputs(self) -> int:
        return len(self.classes)

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        return self.heard(split, tokens)

    def constants(self, split: str) -> Mapping[str, Batches]:
        return of_classes(self.splits["train"].labels, self.splits[split].labels, self.classes)

    def describe(self) -> dict[str, object]:
        """With the speakers of each split, where they are known."""
        labels = {name: split.labels for name, split in self.splits.items()}
        speakers = {name: sorted(set(split.speakers)) for name, split in self.splits.items()}
        known = any(map(any, speakers.values()))
        told = ({"speakers": speakers} if known else {}) | self.facts.described()
        return described(self.name, self.source, self.sha256, self.classes, labels) | told


def read_speech(config: SpokenTaskConfig) -> SpeechTask:
    """Read a folder of recordings and split it by speaker.

    Raises ConfigError for a folder without recordings, for every file that is not what its task says, for speakers
    that are unknown, too few or held out twice, and for a word that training never hears.
    """
    folder, source = _folder(config)
    recordings, facts = _recordings(config, folder)
    for what, names in (("labels", [r.label for r in recordings]), ("speakers", [r.speaker for r in recordings])):
        _refuse_alike(f"task.data={folder}", what, names, [r.file for r in recordings])
    speakers = _speakers(config, sorted({recording.speaker for recording in recordings}))
    parts = {name: [r for r in recordings if r.speaker in chosen] for name, chosen in speakers.items()}
    classes = tuple(sorted({recording.label for recording in parts["train"]}))
    _check_words(config, parts, classes)
    number = {label: index for index, label in enumerate(classes)}
    splits = {name: _split(part, number, config.sample_rate) for name, part in parts.items()}
    kept = {name: [recording.file for recording in part] for name, part in parts.items()}
    task = speech_task(config.name, source, classes, splits)
    return dataclasses.replace(task, facts=dataclasses.replace(facts, kept=kept, missing=task.facts.missing))


def speech_task(name: str, source: str, classes: tuple[str, ...], splits: dict[str, SpeechSplit]) -> SpeechTask:
    """A task of these splits, with its digest. Raises ConfigError for a held-out split of one class."""
    digest = hashlib.sha256(repr(classes).encode())
    for key, split in splits.items():
        digest.update(repr((key, split.sha256, split.labels, split.speakers)).encode())
    said = {key: [classes[label] for label in split.labels] for key, split in splits.items()}
    facts = DataFindings(missing=missing_classes(f"task={name}", said, "recordings"))
    return SpeechTask(name, source, classes, splits, digest.hexdigest(), facts)


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
    require_folder(folder, "task.data", config.name)
    inner = folder / "recordings"  # the data set's repository keeps them there
    return (inner if inner.is_dir() else folder), source


def _recordings(config: SpokenTaskConfig, folder: Path) -> tuple[list[Recording], DataFindings]:
    kinds = (*WAV, *OTHERS)
    visible = [path for path in sorted(folder.iterdir()) if not is_hidden(path) and not path.is_dir()]
    files, unread, rest = told_apart(visible, kinds, UNREAD)
    if not files and not unread:
        raise ConfigError(f"task.data={folder}: no .wav file in it{_deeper(folder)}")
    found: list[Recording] = []
    brought: Counter[str] = Counter()
    mistakes = dict.fromkeys(unread, "a kind of recording that is not read; save it as WAV")
    for file in files:
        match = _NAME.fullmatch(file.stem)
        try:
            if match is None:
                raise ValueError("its name is not LABEL_SPEAKER_INDEX.wav, as in 7_jackson_32.wav")
            heard = read_recording(file, config.sample_rate, config.channels == "mix")
            found.append(Recording(file.name, match[1], match[2], heard.samples))
            brought.update([f"of {heard.rate} samples a second"] if heard.rate != config.sample_rate else [])
            brought.update([f"of {heard.channels} channels"] if heard.channels > 1 else [])
            brought.update(["clipped at full scale"] if heard.clipped else [])
        except ValueError as error:
            mistakes[file] = str(error)
    if mistakes and config.gaps == "refuse":
        said = [f"task.data={file}: {reason}" for file, reason in mistakes.items()]
        if (more := len(said) - _SHOWN) > 0:
            said[_SHOWN:] = [f"task.data={folder}: and {more} files more"]
        raise ConfigError(*said[:-1], f"{said[-1]}; task.gaps=leave_out leaves out what cannot be read")
    left_out = {"unreadable": [file.name for file in mistakes]} if mistakes else {}
    told = {kind: f"{count} recordings" for kind, count in brought.items()}
    return found, DataFindings(left_out=left_out, passed_over=rest, format=told)


def _refuse_alike(where: str, what: str, names: Sequence[str], files: Sequence[str]) -> None:
    """Raise ConfigError for words, or speakers, whose names differ in case, blanks or number format only."""
    if groups := alike(names):
        first = [
            (name, next(file for file, its in zip(files, names, strict=True) if its == name)) for name in groups[0]
        ]
        said = " and ".join(f"{name!r} (as in {file})" for name, file in first)
        raise ConfigError(f"{where}: {what} that differ in blanks, case or number format: {said}; rename the files")


def _deeper(folder: Path) -> str:
    """Say where there are recordings in folders of the folder."""
    inner = [path.name for path in folders_in(folder) if any(file.suffix.lower() in WAV for file in files_in(path))]
    return f"; there are in {listed(inner)}; task=audio_folder reads a folder for each class" if inner else ""


def _speakers(config: SpokenTaskConfig, known: list[str]) -> dict[str, set[str]]:
    """Assign speakers to splits: those named, and as many as asked for drawn by `split_seed` from the others."""
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
    heard: dict[bytes, tuple[str, Recording]] = {}
    for name, part in parts.items():
        for recording in part:
            if recording.label not in classes:
                raise ConfigError(
                    f"task={config.name}: {recording.file} of the {name} split says {recording.label!r}, "
                    "which no training speaker says"
                )
            elsewhere, first = heard.setdefault(recording.samples.tobytes(), (name, recording))
            if elsewhere != name:
                raise ConfigError(f"task={config.name}: {recording.file} of the {name} split is in {elsewhere} too")
            if first.label != recording.label:
                raise ConfigError(f"task={config.name}: {first.file} and {recording.file} are the same recording")
