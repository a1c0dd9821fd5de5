"""One small network for each kind of layer, and what an adapter of rank R adds to it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import GptOssConfig, MixtralConfig, PreTrainedConfig
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.mixtral.modeling_mixtral import MixtralExperts
from transformers.pytorch_utils import Conv1D


class Attention(nn.Module):
    """Self-attention over (B, L, E)."""

    def __init__(self, same: bool = True) -> None:
        super().__init__()
        self.same = same
        sizes = {} if same else {"kdim": 6, "vdim": 10}
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **sizes)

    def forward(self, x: Tensor) -> Tensor:
        key = x if self.same else x[..., :6]
        value = x if key is x else torch.cat([x, x[..., :2]], -1)
        return self.attention(x, key, value, need_weights=False)[0]


class Recurrent(nn.Module):
    """The outputs of an LSTM or GRU over (B, L, I)."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.layer = kind(5, 4, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Mixture(nn.Module):
    """Three experts, each token at two of them, so that every expert has tokens."""

    def __init__(self, kind: type[nn.Module], config: PreTrainedConfig) -> None:
        super().__init__()
        config._experts_implementation = "eager"
        self.experts = kind(config)
        for weight in self.experts.parameters():
            nn.init.normal_(weight, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.arange(len(x), device=x.device) % 3
        shares = torch.linspace(0.2, 0.8, len(x), dtype=x.dtype, device=x.device)
        return self.experts(x, torch.stack([first, (first + 1) % 3], 1), torch.stack([shares, 1 - shares], 1))


_EXPERTS = {"num_local_experts": 3, "hidden_size": 6, "intermediate_size": 4}


@dataclass(frozen=True)
class Kind:
    """`per_rank` sums the inputs and outputs of the matrices that get an update, `outputs` their outputs."""

    build: Callable[[], nn.Module]
    names: dict[str, str]
    x: Callable[[], Tensor]
    per_rank: int
    outputs: int
    changes: dict[str, object]


def _x(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(*shape, dtype=torch.float64)


_IMAGE = _x(3, 4, 6, 6)
_THIRDS = {"q": r"0[0/3]", "v": r"0[2/3]"}

KINDS = {
    "linear": Kind(lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh()), {"a": "0"}, _x(3, 6), 11, 5, {}),
    "linear without bias": Kind(lambda: nn.Sequential(nn.Linear(6, 5, bias=False)), {"a": "0"}, _x(3, 7, 6), 11, 5, {}),
    "transposed": Kind(lambda: nn.Sequential(Conv1D(5, 6)), {"a": "0"}, _x(3, 6), 11, 5, {}),
    "fused": Kind(lambda: nn.Sequential(nn.Linear(6, 12)), _THIRDS, _x(3, 6), 20, 8, {}),
    "fused, transposed": Kind(lambda: nn.Sequential(Conv1D(12, 6)), _THIRDS, _x(3, 6), 20, 8, {}),
    "embedding": Kind(
        lambda: nn.Sequential(nn.Embedding(9, 5)), {"a": "0"}, lambda: torch.randint(9, (3, 4)), 14, 5, {}
    ),
    "conv1d": Kind(lambda: nn.Sequential(nn.Conv1d(4, 6, 5, padding="same")), {"a": "0"}, _x(3, 4, 9), 26, 6, {}),
    "conv2d": Kind(lambda: nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1)), {"a": "0"}, _IMAGE, 42, 6, {}),
    "conv2d, dilated, reflecting": Kind(
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, padding=2, dilation=2, padding_mode="reflect", bias=False)),
        {"a": "0"},
        _IMAGE,
        42,
        6,
        {},
    ),
    "conv2d in groups": Kind(lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2)), {"a": "0"}, _IMAGE, 24, 6, {}),
    "depthwise": Kind(lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, padding=1)), {"a": "0"}, _IMAGE, 13, 4, {}),
    "conv2d, loralib": Kind(
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3)), {"a": "0"}, _IMAGE, 90, 54, {"conv_form": "delta"}
    ),
    "lstm": Kind(
        lambda: Recurrent(nn.LSTM), {"a": "layer"}, _x(3, 7, 5), 4 * 16 + 4 * 4 + 4 * 16 + 2 * 5 + 2 * 8, 128, {}
    ),
    "gru, each gate": Kind(
        lambda: Recurrent(nn.GRU),
        {"a": "layer"},
        _x(3, 7, 5),
        8 * 12 + 3 * (4 * 4 + 2 * 5 + 2 * 8),
        96,
        {"each_gate": True},
    ),
    "attention": Kind(
        lambda: Attention(),
        {"q": r"attention[0/3]", "v": r"attention[2/3]", "o": r"attention\.out_proj"},
        _x(2, 5, 8),
        48,
        24,
        {},
    ),
    "attention's query and value": Kind(
        lambda: Attention(), {"q": r"attention[0/3]", "v": r"attention[2/3]"}, _x(2, 5, 8), 32, 16, {}
    ),
    "attention of three sizes": Kind(
        lambda: Attention(same=False), {"k": r"attention[1/3]", "v": r"attention[2/3]"}, _x(2, 5, 8), 14 + 18, 16, {}
    ),
    "experts": Kind(
        lambda: Mixture(MixtralExperts, MixtralConfig(**_EXPERTS)),
        {"a": "experts"},
        _x(7, 6),
        3 * (6 + 8 + 4 + 6),
        3 * (8 + 6),
        {},
    ),
    "experts, transposed": Kind(
        lambda: Mixture(GptOssExperts, GptOssConfig(**_EXPERTS)),
        {"a": "experts"},
        _x(7, 6),
        3 * (6 + 8 + 4 + 6),
        3 * (8 + 6),
        {},
    ),
}
