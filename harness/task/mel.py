"""Recordings as mel frames, as the voice encoder heard them in its own training.

The numbers are those of Resemblyzer 0.1.4 (audio.py, hparams.py), which calls librosa: 16 kHz, volume raised to
−30 dBFS, power spectra of 25 ms Hann windows every 10 ms, 40 mel bands of Slaney's scale and norm, no logarithm.
"""

import functools

import numpy as np

RATE = 16_000  # samples a second that the encoder hears
BANDS = 40
RECIPE = "16 kHz, raised to -30 dBFS, Hann 400/160, power, 40 Slaney bands"  # frames made otherwise are other frames
_WINDOW, _HOP = RATE * 25 // 1000, RATE * 10 // 1000  # samples
_QUIETEST = -30.0  # dB against full scale


def mel_frames(samples: np.ndarray, rate: int) -> np.ndarray:
    """Frames (T, 40) of float32 of a recording of 16-bit samples at `rate`, T = 1 + seconds·100 rounded down.

    The recording must not be silent throughout. Its silences are kept: the encoder's own pipeline cuts the long ones.
    """
    # Imported where they are needed: cached frames need neither.
    import soxr
    from transformers.audio_utils import spectrogram

    heard = soxr.resample(samples.astype(np.float32) / 2**15, rate, RATE)
    frames: np.ndarray = spectrogram(
        _raised(heard),
        _hann(),
        frame_length=_WINDOW,
        hop_length=_HOP,
        power=2.0,
        pad_mode="constant",
        mel_filters=mel_bands(),
        mel_floor=0.0,
    )
    return frames.T.astype(np.float32)


def _raised(samples: np.ndarray) -> np.ndarray:
    """Quiet recordings raised to a root mean square of −30 dBFS; louder ones as they are."""
    level = 20 * np.log10(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    raised: np.ndarray = samples * 10 ** (max(0.0, _QUIETEST - level) / 20)
    return raised


@functools.cache
def _hann() -> np.ndarray:
    """Periodic, as spectra want it: numpy's own is symmetric."""
    return np.hanning(_WINDOW + 1)[:-1]


@functools.cache
def mel_bands() -> np.ndarray:
    """Triangular filters, (201 frequencies, 40 bands), equal to librosa.filters.mel(sr=16000, n_fft=400, n_mels=40)."""
    from transformers.audio_utils import mel_filter_bank

    bands: np.ndarray = mel_filter_bank(_WINDOW // 2 + 1, BANDS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return bands
