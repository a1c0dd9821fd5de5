"""The LSTM voice encoder of Resemblyzer with its weights, frames pooled to one vector, and a head.

Shapes: B utterances, T frames of the longest, M mel bands, H hidden size, C classes.
"""

import pickle
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.config import MEL_BANDS, Outputs, SpeechModelConfig
from harness.model.base import Network, linear, make_head
from harness.system import assets


class VoiceEncoder(nn.Module):
    """An LSTM over mel frames, and where it is asked for the `linear` of its embedding (Wan et al., 2018).

    Names are those of Resemblyzer's own weights.
    """

    def __init__(self, hidden: int, layers: int, projection: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MEL_BANDS, hidden, layers, batch_first=True)
        self.linear = nn.Linear(hidden, hidden) if projection else None

    def forward(self, frames_BTM: Tensor) -> Tensor:
        """Outputs of the last layer at every frame: (B, T, H).

        The LSTM looks back only, so frames that pad an utterance change nothing before its end. Packing them away
        would give the same numbers at less than half the speed on a CPU.
        """
        outputs_BTH: Tensor = self.lstm(frames_BTM)[0]
        return outputs_BTH

    def embed(self, state_BH: Tensor) -> Tensor:
        """The encoder's embedding of an utterance from its final state, before it is made of unit length: (B, H)."""
        assert self.linear is not None
        return torch.relu(self.linear(state_BH))


class SpeechClassifier(Network):
    """A voice encoder, its outputs at each frame pooled to one vector, and a fresh head.

    Pooling is the `mean` over an utterance's frames, the `last` of them, or the encoder's own `embedding` of it.
    """

    def __init__(self, base: VoiceEncoder, head: nn.Module, targets: dict[str, str], pooling: str) -> None:
        super().__init__(base, head, targets)
        self.pooling = pooling

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C) of `frames` (B, T, M) and the number of them that are each utterance's own, `lengths` (B)."""
        pooled_BH = self._pool(self.base(batch["frames"]), batch["lengths"])
        if self.pooling == "embedding":
            pooled_BH = self.base.embed(pooled_BH)  # type: ignore[operator]
        return self.answer(pooled_BH, batch)

    def _pool(self, outputs_BTH: Tensor, lengths_B: Tensor) -> Tensor:
        """The mean over an utterance's own frames, or the output at the last of them: the final hidden state."""
        if self.pooling != "mean":
            return outputs_BTH[torch.arange(len(lengths_B), device=lengths_B.device), lengths_B - 1]
        inside_BT = torch.arange(outputs_BTH.shape[1], device=lengths_B.device) < lengths_B.unsqueeze(1)
        return (outputs_BTH * inside_BT.unsqueeze(2)).sum(1) / lengths_B.unsqueeze(1)


def build(config: SpeechModelConfig, outputs: Outputs, weights: bool) -> SpeechClassifier:
    """A classifier over a voice encoder, as harness.model.build says."""
    projection = config.pooling == "embedding"
    base = VoiceEncoder(config.hidden, config.layers, projection)
    head = make_head(outputs, partial(linear, config.hidden))
    if weights:
        _load(base, config)
    targets = {"lstm": "lstm"} | ({"linear": "linear"} if projection else {})
    return SpeechClassifier(base, head, targets, config.pooling)


def base_file(config: SpeechModelConfig) -> Path:
    """The verified file of the pretrained weights."""
    return assets.fetch(config.weights.address, config.weights.sha256)


def tokens(_: SpeechModelConfig) -> None:
    """It takes no texts."""


def _load(base: VoiceEncoder, config: SpeechModelConfig) -> None:
    wanted = base.state_dict()
    try:
        # weights_only: tensors and plain containers, no code.
        found = torch.load(base_file(config), map_location="cpu", weights_only=True)["model_state"]
        unfit = [name for name, tensor in wanted.items() if name not in found or found[name].shape != tensor.shape]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, AttributeError) as error:
        reason = type(error).__name__
        raise assets.AssetError(f"{config.weights.address}: not the weights of a voice encoder ({reason})") from None
    unfit += [name for name in found if name.startswith("lstm.") and name not in wanted]
    if unfit:
        raise assets.AssetError(f"{config.weights.address}: no fitting weights for {', '.join(unfit[:3])}")
    base.load_state_dict({name: found[name] for name in wanted})
