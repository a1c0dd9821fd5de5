import math

import numpy as np
import pytest

from harness.task.mel import mel_bands, mel_frames

RATE = 16_000


def noise(seconds, level, rate=RATE):
    draw = np.random.default_rng(0).normal(size=round(seconds * rate))
    return np.round(draw * 2**15 * 10 ** (level / 20)).astype(np.int16)


def slaney(hertz):
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def hertz(mel):
    return 200 * mel / 3 if mel < 15 else 1000 * math.exp(math.log(6.4) * (mel - 15) / 27)


def bands_by_formula():
    corners = [hertz(mel) for mel in np.linspace(0, slaney(8000), 42)]
    bands = np.zeros((201, 40))
    for band, (low, middle, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        for column in range(201):
            rising, falling = (40 * column - low) / (middle - low), (high - 40 * column) / (high - middle)
            bands[column, band] = max(0, min(rising, falling)) * 2 / (high - low)
    return bands


def test_the_bands_are_slaneys_and_equal_librosas():
    np.testing.assert_allclose(mel_bands(), bands_by_formula(), atol=1e-15)
    # librosa 0.11.0: filters.mel(sr=16000, n_fft=400, n_mels=40)
    assert mel_bands()[2, 0] == pytest.approx(0.0124045210, rel=1e-6)
    assert mel_bands()[22, 11] == pytest.approx(0.0130674383, rel=1e-6)
    assert mel_bands()[180, 38] == pytest.approx(0.000761884206, rel=1e-6)
    assert mel_bands().sum() == pytest.approx(0.99949715, rel=1e-6)


def test_frames_are_the_formula_in_double_precision():
    samples = noise(0.2, level=-20)
    padded = np.concatenate([np.zeros(200), samples / 2**15, np.zeros(200)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(201)) / 400)
    rows = [padded[start : start + 400] * window @ turns for start in range(0, len(samples) + 1, 160)]
    expected = np.abs(np.array(rows)) ** 2 @ bands_by_formula()
    np.testing.assert_allclose(mel_frames(samples, RATE), expected, rtol=1e-5)


def test_a_tone_at_8_khz_stays_at_its_pitch_and_nothing_appears_above():
    time = np.arange(8000) / 8000
    frames = mel_frames((8000 * np.sin(2 * np.pi * 1500 * time)).astype(np.int16), 8000)
    assert frames.shape == (101, 40)
    assert frames.dtype == np.float32
    inner = frames[10:-10].mean(0)
    assert mel_bands()[round(1500 / 40), inner.argmax()] > 0
    above = mel_bands()[:100].sum(0) == 0  # bands that begin at 4 kHz or higher
    assert above.sum() == 8
    assert inner[above].max() < 1e-6 * inner.max()


def test_quiet_recordings_are_raised_and_loud_ones_left():
    quiet, loud = mel_frames(noise(0.5, -50), RATE), mel_frames(noise(0.5, -20), RATE)
    assert loud.sum() / quiet.sum() == pytest.approx(10, rel=1e-2)  # -20 against -30 dBFS, in power
