"""Recordings out of a table, labelled with a class, with several of them or with a number, in fixed splits."""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import AudioTableConfig, Tokens
from harness.task.base import SPLITS, Inputs
from harness.task.frames import SpeechSplit
from harness.task.intake.cuts import refuse_empty
from harness.task.intake.findings import DataFindings
from harness.task.intake.held import shortened
from harness.task.intake.labels import suspicious
from harness.task.intake.nearly import near_recordings
from harness.task.intake.recordings import (
    OTHERS,
    UNREAD,
    WAV,
    WAV_STARTS,
    DecodedAudio,
    decode_audio,
    read_recording,
    recording_at,
)
from harness.task.intake.segments import SEGMENTS
from harness.task.intake.speakers import brought
from harness.task.labelled import LabelledTask, names_told, numbered_labels
from harness.task.own_file_tables import Files, read_own_files
from harness.task.recorded import RecordedTask

_RARER = ("fname", "file_path", "audio_file", "recording", "slice_file_name")
_USUAL = ("audio", "file_name", "path", "file", "filename", "filepath", "audio_path", "audio_filepath", "wav")


_NOTHING = DecodedAudio(np.zeros(0, np.int16), 0, 0, False)


@dataclasses.dataclass(frozen=True)
class Heard:
    """The audio of a file, or the problem that keeps it from being read."""

    heard: DecodedAudio = _NOTHING
    problem: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.heard.samples.tobytes()).hexdigest()


@dataclasses.dataclass(frozen=True)
class AudioTableTask(RecordedTask, LabelledTask):
    """Three splits of recordings; `labelled` are their classes, sets of them, or numbers."""

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, SpeechSplit]
    labelled: dict[str, tuple[Any, ...]]
    sha256: str
    facts: DataFindings
    several: bool

    def labels(self, split: str) -> tuple[Any, ...]:
        return self.labelled[split]

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        return dataclasses.replace(self.heard(split, tokens), labels=self.answers(split))

    def describe(self) -> dict[str, object]:
        return self.described_labels() | self.facts.described()


def recording_files(rate: int, mix: bool) -> Files[Heard]:
    """Return the reader of recordings at `rate`, with `mix` averaging all channels."""
    hear = partial(_all_heard, rate=rate, mix=mix)
    kinds = (*WAV, *OTHERS)
    return Files(
        "recording",
        "recording",
        _USUAL,
        hear,
        recording_at,
        suffixes=kinds,
        unread=UNREAD,
        parts=SEGMENTS,
        rarer=_RARER,
    )


def read_audio_table(config: AudioTableConfig) -> AudioTableTask:
    """Read a table's recordings and split them. Raises ConfigError for data that cannot be learned from."""
    files = recording_files(config.sample_rate, config.channels == "mix")
    frames, recordings, facts = read_own_files(config, files)
    where = f"task.data={config.data}" if config.data else f"task={config.name}"
    refuse_empty(where, frames)
    known = {split: list(frames[split]["label"]) for split in SPLITS}
    classes, labels = numbered_labels(
        where, known, answer=config.answer, wanted=config.classes, positive=config.positive
    )
    digest = hashlib.sha256(repr(classes).encode())
    splits = {}
    for split in SPLITS:
        part = tuple(each.content.heard.samples for each in recordings[split])
        nothing = len(part) * (0,)
        splits[split] = SpeechSplit(part, nothing, len(part) * ("",), config.sample_rate)
        digest.update(repr((split, splits[split].sha256, labels[split])).encode())
    heard = [each.content.heard for part in recordings.values() for each in part]
    near = near_recordings(
        {
            split: [(shortened(each.name), each.content.digest, each.content.heard.samples) for each in part]
            for split, part in recordings.items()
        },
        config.sample_rate,
    )
    facts = dataclasses.replace(
        facts,
        suspicious=[*facts.suspicious, *suspicious(names_told(known, config.answer)), *near],
        kept={split: [each.name for each in part] for split, part in recordings.items()},
        format={**facts.format, **brought(heard, config.sample_rate)},
    )
    return AudioTableTask(
        name=config.name,
        source=str(config.data or config.dataset),
        classes=classes,
        splits=splits,
        labelled=labels,
        sha256=digest.hexdigest(),
        facts=facts,
        several=config.answer == "labels",
    )


def _all_heard(sources: Sequence[Path | bytes], rate: int, mix: bool) -> list[Heard]:
    return [_one_heard(source, rate, mix) for source in sources]


def _one_heard(source: Path | bytes, rate: int, mix: bool) -> Heard:
    try:
        if isinstance(source, bytes):
            return Heard(decode_audio(source, None, rate, mix, is_wav=source[:4] in WAV_STARTS))
        return Heard(read_recording(source, rate, mix))
    except ValueError as error:
        return Heard(problem=str(error))
