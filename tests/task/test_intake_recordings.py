"""Folders of recordings that people bring, in every format of a WAV."""
# ruff: noqa: E501

import dataclasses
import struct

import numpy as np
import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from tests.task.intake_inputs import chunk, tone, wav


@pytest.fixture
def recordings(tmp_path):
    seed = 0
    for speaker in ("ann", "bob", "cy", "dee"):
        for label in ("yes", "no"):
            for index in range(2):
                seed += 1
                (tmp_path / f"{label}_{speaker}_{index}.wav").write_bytes(wav(tone(seed)))
    return tmp_path


def spoken(make_task, folder, **changes):
    task = make_task("task=spoken_digits", f"task.data={folder}", "task.classes=null")
    return read_task(dataclasses.replace(task, **changes))


SAME = tone(99)
FORMATS = [
    ("24 bits", "yes_ann_9.wav", wav(SAME, bits=24), SAME),
    ("32 bits", "yes_ann_9.wav", wav(SAME, bits=32), SAME),
    ("float", "yes_ann_9.wav", wav(SAME, kind=3, bits=32), SAME),
    ("double", "yes_ann_9.wav", wav(SAME, kind=3, bits=64), SAME),
    ("8 bits", "yes_ann_9.wav", wav(SAME, bits=8), (SAME >> 8) * 256),
    ("extensible", "yes_ann_9.wav", wav(SAME, extensible=True), SAME),
    ("extensible float", "yes_ann_9.wav", wav(SAME, kind=3, bits=32, extensible=True), SAME),
    ("LIST chunk", "yes_ann_9.wav", wav(SAME, before=chunk(b"LIST", b"INFOx")), SAME),
    (
        "bext and fact chunks",
        "yes_ann_9.wav",
        wav(SAME, before=chunk(b"bext", bytes(61)) + chunk(b"fact", bytes(4))),
        SAME,
    ),
    ("written to a pipe", "yes_ann_9.wav", wav(SAME, size=0xFFFFFFFF), SAME),
    ("never closed", "yes_ann_9.wav", wav(SAME, size=0), SAME),
    ("upper case", "yes_ann_9.WAV", wav(SAME), SAME),
]


@pytest.mark.parametrize(("name", "content", "samples"), [row[1:] for row in FORMATS], ids=[row[0] for row in FORMATS])
def test_a_recording_in_another_format_has_the_same_samples(make_task, recordings, name, content, samples):
    (recordings / name).write_bytes(content)
    task = spoken(make_task, recordings)
    heard = [each for split in task.splits.values() for each in split.samples]
    assert len(heard) == 17
    assert any(np.array_equal(each, samples) for each in heard)


def test_another_rate_is_resampled_and_several_channels_are_mixed_where_that_is_said(make_task, recordings):
    time = np.arange(8000) / 16000
    low = (8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    (recordings / "yes_ann_8.wav").write_bytes(wav(low, rate=16000))
    (recordings / "yes_ann_9.wav").write_bytes(wav(np.repeat(tone(98), 2), channels=2))
    with pytest.raises(ConfigError, match="yes_ann_9.wav: 2 channels; expected one, or task.channels=mix"):
        spoken(make_task, recordings)
    task = spoken(make_task, recordings, channels="mix")
    heard = [each for split in task.splits.values() for each in split.samples]
    wanted = 8000 * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)
    near = min(np.abs(each[200:-200] - wanted[200:-200]).max() for each in heard if len(each) == 4000)
    assert near < 60
    assert any(np.array_equal(each, tone(98)) for each in heard)
    assert task.describe()["format"] == {
        "of 16000 samples a second": "1 recordings",
        "of 2 channels": "1 recordings",
    }


BAD_RECORDINGS = [
    ("one sample", "yes_ann_9.wav", wav(SAME[:1]), "25 ms are the least|no sound"),
    ("silence", "yes_ann_9.wav", wav(0 * SAME), "no sound in it"),
    ("one level throughout", "yes_ann_9.wav", wav(0 * SAME + 7), "no sound in it"),
    ("no samples", "yes_ann_9.wav", wav(SAME[:0]), "no sound in it"),
    (
        "NaN",
        "yes_ann_9.wav",
        wav(SAME, kind=3, bits=32).replace(struct.pack("<f", SAME[5] / 2**15), struct.pack("<f", float("nan"))),
        "no finite",
    ),
    ("ADPCM", "yes_ann_9.wav", wav(SAME, kind=2), "ADPCM"),
    ("no WAV", "yes_ann_9.wav", b"OggS" + bytes(99), "not a readable WAV file"),
    ("pointer", "yes_ann_9.wav", b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
    ("cut short", "yes_ann_9.wav", wav(SAME)[:900], "it ends after 428 of 4000 samples"),
    ("floats of another scale", "yes_ann_9.wav", wav(SAME, kind=3, bits=32, full=1), "float samples reach 8.*; full scale is 1"),
    ("unread kind", "yes_ann_9.m4a", b"x", "a kind of recording that is not read"),
    ("other name", "yes-ann-9.wav", wav(SAME), "its name is not LABEL_SPEAKER_INDEX.wav"),
    ("same recording, other word", "no_ann_9.wav", wav(tone(1)), "are the same recording|is in .* too"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "line"), [row[1:] for row in BAD_RECORDINGS], ids=[row[0] for row in BAD_RECORDINGS]
)
def test_a_recording_that_is_none_is_named(make_task, recordings, name, content, line):
    (recordings / name).write_bytes(content)
    with pytest.raises(ConfigError, match=line):
        spoken(make_task, recordings)


@pytest.mark.parametrize("name", ["._yes_ann_0.wav", ".yes_ann_0.wav", "yes_ann_0.wav.lock", "Thumbs.db", "notes.txt"])
def test_files_beside_recordings_are_passed_over(make_task, recordings, name):
    (recordings / name).write_bytes(b"\0\5\x16\7")
    assert sum(len(split.samples) for split in spoken(make_task, recordings).splits.values()) == 16


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Yes_ann_9.wav", r"labels that differ .*'yes' \(as in yes_ann_0.wav\) and 'Yes'"),
        ("yes_Ann_9.wav", "speakers that .*'ann' .* and 'Ann'"),
    ],
)
def test_words_and_speakers_that_are_alike_are_refused(make_task, recordings, name, line):
    (recordings / name).write_bytes(wav(SAME))
    with pytest.raises(ConfigError, match=line):
        spoken(make_task, recordings)


def test_recordings_that_go_beyond_full_scale_are_counted(make_task, recordings):
    (recordings / "yes_ann_9.wav").write_bytes(wav(SAME, kind=3, bits=32, full=8000))
    assert spoken(make_task, recordings).describe()["format"] == {"clipped at full scale": "1 recordings"}


def test_held_out_speakers_that_say_one_word_are_refused(make_task, recordings):
    for index in range(2):
        (recordings / f"no_dee_{index}.wav").unlink()
    with pytest.raises(ConfigError, match="all 2 recordings of the test split are 'yes'"):
        spoken(make_task, recordings, test_speakers=["dee"], validation_speakers=["cy"])


def test_recordings_that_cannot_be_read_are_left_out_where_that_is_said(make_task, recordings):
    (recordings / "yes_ann_9.wav").write_bytes(b"x")
    assert spoken(make_task, recordings, gaps="leave_out").describe()["left_out"] == {"unreadable": 1}
