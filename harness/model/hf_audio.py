"""Bases of transformers that hear recordings: raw samples, or Whisper's log-mel spectra of them.

The samples are preprocessed as the folder's preprocessor_config.json says, together with the network.
Shapes: B recordings, N samples of the longest, M mel bands, T frames of a window, C classes.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.audio_utils import mel_filter_bank
from transformers.models.auto import modeling_auto

from harness.config import ConfigError
from harness.model.base import Network, TransformersForm
from harness.model.hf_classifier import HfClassifier

FILE = "preprocessor_config.json"
_MEL = "WhisperFeatureExtractor"
_RAW = "Wav2Vec2FeatureExtractor"
# Models that read neither samples nor Whisper's spectra.
_OTHERS = {"audio-spectrogram-transformer", "wav2vec2-bert"}
LEAST = 400
"""Samples that the convolutions of wav2vec2 and its kin need for one frame."""
_POSITIONS = 50  # a second, of Whisper's encoder
_LAYERDROP = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")
_FLOOR = 1e-7  # added to the variance, as transformers does


def hears(model_type: str) -> bool:
    """Return whether an architecture classifies recordings and its input format is known here."""
    return model_type in modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES and model_type not in _OTHERS


@dataclasses.dataclass(frozen=True)
class AudioInput:
    """The input format of a network for recordings at `rate` samples a second.

    Raw samples, with `normalise` brought to mean 0 and variance 1, with `masked` beside what is a recording's own; or,
    with `bands`, log-mel spectra of `fft` samples every `hop` of them. `most` samples are read of each, null: all.
    """

    rate: int
    most: int | None
    normalise: bool
    masked: bool
    bands: int | None
    fft: int
    hop: int

    def settings(self) -> dict[str, Any]:
        """These settings as transformers' feature extractors have them."""
        said: dict[str, Any] = {"sampling_rate": self.rate, "do_normalize": self.normalise, "padding_value": 0.0}
        if self.bands is None:
            return {"feature_extractor_type": _RAW, "feature_size": 1, "return_attention_mask": self.masked} | said
        window = {} if self.most is None else {"chunk_length": self.most // self.rate}
        spectra = {"feature_size": self.bands, "n_fft": self.fft, "hop_length": self.hop}
        return {"feature_extractor_type": _MEL, "return_attention_mask": False} | said | spectra | window


def audio_input(folder: Path, made: PreTrainedConfig, window_s: int | None) -> AudioInput:
    """Read the folder's file; missing keys, or a missing file, have the defaults of transformers.

    Raises ConfigError for another way of reading, and for a window that is longer than the base's own.
    """
    path = folder / FILE
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    mel = made.model_type == "whisper"
    usual = _MEL if mel else _RAW
    if (kind := said.get("feature_extractor_type", usual)) != usual:
        raise ConfigError(f"{path}: its feature_extractor_type is {kind}; a {made.model_type} reads by {usual} here")
    if said.get("dither") or said.get("padding_value"):
        raise ConfigError(f"{path}: dither and a padding_value that is not 0: recordings are not read so here")
    rate = int(said.get("sampling_rate", 16_000))
    normalise = bool(said.get("do_normalize", not mel))
    masked = bool(said.get("return_attention_mask", False)) and not mel
    own = made.max_source_positions / _POSITIONS if mel else None
    if own is not None and window_s is not None and window_s > own:
        raise ConfigError(f"model.window_s={window_s}: the base hears windows of {own:g} seconds; at most so many")
    seconds = own if window_s is None else window_s
    most = None if seconds is None else round(seconds * rate)
    if not mel:
        return AudioInput(rate, most, normalise, masked, None, 0, 0)
    fft, hop = int(said.get("n_fft", 400)), int(said.get("hop_length", 160))
    return AudioInput(rate, most, normalise, False, int(said.get("feature_size", made.num_mel_bins)), fft, hop)


def settle_config(made: PreTrainedConfig, address: str, *, stored_head: bool) -> str:
    """Leave out what training on short recordings cannot have: masked spans of time, and layers left out by chance.

    Returns what its own configuration has of the former (SpecAugment, Park et al., 2019); empty where it has none.

    Raises ConfigError for a stored head that weights the layers, which is not trained here.
    """
    if getattr(made, "use_weighted_layer_sum", False) and stored_head:
        raise ConfigError(f"model.head=stored: the head in {address} weights all layers; model.head=fresh")
    shares = {key: getattr(made, key, 0.0) for key in ("mask_time_prob", "mask_feature_prob")}
    masks = ", ".join(f"{key} {share:g}" for key, share in shares.items() if share)
    left_out = masks if getattr(made, "apply_spec_augment", False) else ""
    for key, value in (("apply_spec_augment", False), *dict.fromkeys(_LAYERDROP, 0.0).items()):
        if hasattr(made, key):
            setattr(made, key, value)
    made.use_weighted_layer_sum = False
    return left_out


def cut_window(base: nn.Module, reads: AudioInput) -> None:
    """Cut the positions beyond the window out of the table of Whisper's encoder."""
    if reads.bands is None or reads.most is None:
        return
    positions = reads.most * _POSITIONS // reads.rate
    table: Any = base.embed_positions
    if positions < table.num_embeddings:
        table.weight = nn.Parameter(table.weight[:positions].detach().clone(), requires_grad=False)
        table.num_embeddings = positions
        base.max_source_positions = positions  # type: ignore[assignment]
        base.config.max_source_positions = positions  # type: ignore[union-attr]


def done_otherwise(made: PreTrainedConfig, reads: AudioInput, masks: str) -> dict[str, str]:
    """Return the deviations from the base's own configuration: `masks` that it trains with, a window that is cut."""
    found = {"spec_augment": f"off; the base's own configuration has {masks}"} if masks else {}
    own = made.max_source_positions / _POSITIONS if reads.bands is not None else None
    if own is not None and reads.most is not None and reads.most < own * reads.rate:
        found["window"] = f"{reads.most / reads.rate:g} s of {own:g} s"
    return found


class Hearing(Network):
    """A network that is given recordings, and reads them as `reads` says.

    Without a mask it reads the zeros after a shorter recording: its norms are over all frames. Outside of
    training it is given recordings of one length at a time, as transformers' pipeline gives it one alone, so that what
    it says of one does not depend on the others of its batch.
    """

    reads: AudioInput
    filters: Tensor

    def listen(self, reads: AudioInput, encoder: nn.Module) -> None:
        """Read recordings so from now on; an encoder of windows has its table of positions cut to them."""
        self.reads = reads
        cut_window(encoder, reads)
        if reads.bands is not None:
            with torch.device("cpu"):
                self.register_buffer("filters", torch.from_numpy(_filters(reads)).float(), persistent=False)
                self.register_buffer("hann", torch.hann_window(reads.fft), persistent=False)

    @torch.no_grad()
    def heard(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the input of transformers' network for `samples` (B, N), of which `lengths` (B) are each recording's
        own.
        """
        # In float16 the least power that is taken for sound is 0, and its logarithm is not finite.
        with torch.autocast(batch["samples"].device.type, enabled=False):
            samples_BN, own_BN = self._samples(batch["samples"].float(), batch["lengths"])
            if self.reads.bands is not None:
                return {"input_features": self._spectra(samples_BN)}
        inputs = {"input_values": samples_BN}
        return inputs | ({"attention_mask": own_BN.long()} if self.reads.masked else {})

    def apart(self, batch: dict[str, Tensor]) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """The rows (B') that are to be heard together, and a batch of them without zeros behind; all, but where a
        network without a mask is not trained.
        """
        lengths_B = batch["lengths"]
        everyone = torch.arange(len(lengths_B), device=lengths_B.device)
        if self.training or self.reads.masked or self.reads.bands is not None:
            return [(everyone, batch)]
        kinds = lengths_B.unique().tolist()
        rows = [everyone[lengths_B == length] for length in kinds]
        return [
            (mine, {"samples": batch["samples"][mine, :length], "lengths": lengths_B[mine]})
            for mine, length in zip(rows, kinds, strict=True)
        ]

    def _samples(self, samples_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Samples as long as they are read, and which of them are each recording's own."""
        reads = self.reads
        length = samples_BN.shape[1] if reads.bands is None else reads.most or samples_BN.shape[1]
        samples_BN = F.pad(samples_BN[:, : reads.most], (0, max(0, max(length, LEAST) - samples_BN.shape[1])))
        lengths_B1 = lengths_B.clamp(LEAST, samples_BN.shape[1]).unsqueeze(1)
        own_BN = torch.arange(samples_BN.shape[1], device=samples_BN.device) < lengths_B1
        if reads.normalise:
            mean_B1 = samples_BN.sum(1, keepdim=True) / lengths_B1
            off_BN = (samples_BN - mean_B1) * own_BN
            samples_BN = off_BN / (off_BN.square().sum(1, keepdim=True) / lengths_B1 + _FLOOR).sqrt()
        return samples_BN, own_BN

    def _spectra(self, samples_BN: Tensor) -> Tensor:
        """Whisper's log-mel spectra (B, M, T), within 8 decades of each recording's loudest (Radford et al., 2022)."""
        hann: Any = self.hann
        waves = torch.stft(samples_BN, self.reads.fft, self.reads.hop, window=hann, return_complex=True)
        power_BFT = (waves[..., :-1].abs() ** 2).contiguous()
        logs_BMT = (self.filters.T @ power_BFT).clamp(min=1e-10).log10()
        return (torch.maximum(logs_BMT, logs_BMT.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


class HfAudioClassifier(HfClassifier, Hearing):
    """Recordings, read as the folder's preprocessor_config.json says."""

    auto_class = "AutoModelForAudioClassification"
    task_type = None

    def __init__(self, whole: PreTrainedModel, reads: AudioInput, *, stored_head: bool = False) -> None:
        super().__init__(whole, stored_head=stored_head)
        self.listen(reads, self.base)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C) of `samples` (B, N) and the number of them that are each recording's own, `lengths` (B)."""
        parts = self.apart(batch)
        logits: Tensor = torch.cat([self.whole(**self.heard(part)).logits for _, part in parts])
        return logits[torch.cat([rows for rows, _ in parts]).argsort()]

    def transformers_form(self) -> TransformersForm:
        return dataclasses.replace(super().transformers_form(), reads=self.reads.settings())


def _filters(reads: AudioInput) -> Any:
    """Slaney's triangles (frequencies, bands), up to 8 kHz."""
    assert reads.bands is not None
    return mel_filter_bank(
        num_frequency_bins=1 + reads.fft // 2,
        num_mel_filters=reads.bands,
        min_frequency=0.0,
        max_frequency=8000.0,
        sampling_rate=reads.rate,
        norm="slaney",
        mel_scale="slaney",
    )
