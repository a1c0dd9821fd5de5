import dataclasses

import numpy as np
import pytest

from harness.task import SpeechSplit, read_frames
from harness.task.mel import mel_frames

DRAW = np.random.default_rng(0)
SAMPLES = tuple(DRAW.integers(-5000, 5000, length).astype(np.int16) for length in (800, 2400, 1600))
SPLIT = SpeechSplit(SAMPLES, (0, 1, 0), ("a", "a", "b"), 8000)


def test_a_batch_holds_each_recordings_frames_and_zeros_beyond(own_cache):
    inputs = read_frames(SPLIT)
    assert inputs.lengths.tolist() == [11, 31, 21]
    batch = inputs.batch([2, 0])
    assert batch["frames"].shape == (2, 21, 40)
    assert batch["lengths"].tolist() == [21, 11]
    assert batch["labels"].tolist() == [0, 0]
    assert batch["rows"].tolist() == [2, 0]
    assert np.array_equal(batch["frames"][0], mel_frames(SAMPLES[2], 8000))
    assert np.array_equal(batch["frames"][1, :11], mel_frames(SAMPLES[0], 8000))
    assert not batch["frames"][1, 11:].any()


def test_frames_are_made_once_for_one_sound_and_recipe(own_cache, monkeypatch):
    first = read_frames(SPLIT)
    monkeypatch.setattr("harness.task.frames.mel_frames", lambda *_: pytest.fail("made twice"))
    again = read_frames(dataclasses.replace(SPLIT, labels=(1, 1, 0)))
    assert np.array_equal(again.frames, first.frames)
    assert again.labels.tolist() == [1, 1, 0]
    for other in (dataclasses.replace(SPLIT, rate=16000), dataclasses.replace(SPLIT, samples=SAMPLES[::-1])):
        with pytest.raises(pytest.fail.Exception):
            read_frames(other)
    monkeypatch.setattr("harness.task.frames.RECIPE", "another")
    with pytest.raises(pytest.fail.Exception):
        read_frames(SPLIT)
