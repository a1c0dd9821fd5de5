"""The table of variants and layer kinds, made by trying every one: `python -m harness.lora.table` prints it."""

import importlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.base_layers.quantized import QuantizedLinear, dequantize
from harness.lora.adapted import adapter_parameters
from harness.lora.errors import SpecError
from harness.lora.initialisation import initialise
from harness.lora.inject import adapt
from harness.lora.merge import merge
from harness.lora.peft_format import export_adapter
from harness.lora.spec import LoraSpec
from harness.lora.variants import VARIANTS


def _transposed() -> nn.Module:
    """A linear layer whose weight is (I, O)."""
    conv1d: nn.Module = importlib.import_module("transformers.pytorch_utils").Conv1D(12, 6)
    return nn.Sequential(conv1d)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x, x, x)[0]
        return out


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(6, 6, 2, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)[0]
        return out


class _Experts(nn.Module):
    """Two experts as transformers fuses them; every input goes to both."""

    def __init__(self) -> None:
        super().__init__()
        transformers = importlib.import_module("transformers.models.mixtral")
        config = transformers.MixtralConfig(num_local_experts=2, hidden_size=6, intermediate_size=4)
        config._experts_implementation = "eager"  # the usual one knows no float64
        self.experts = transformers.modeling_mixtral.MixtralExperts(config)
        for weight in self.experts.parameters():
            nn.init.normal_(weight, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.arange(2).expand(len(x), 2)
        out: Tensor = self.experts(x, both, torch.full_like(x[:, :2], 0.5))
        return out


_Build = Callable[[], nn.Module]
_IMAGE = (2, 4, 7, 7)
# name, network, target pattern, shape of the input, convolution's form
KINDS: list[tuple[str, _Build, str, tuple[int, ...], str]] = [
    ("Linear", lambda: nn.Sequential(nn.Linear(6, 12)), "0", (5, 6), "branch"),
    ("transposed Linear", _transposed, "0", (5, 6), "branch"),
    ("part of fused q,k,v", lambda: nn.Sequential(nn.Linear(6, 12)), "0[0/3]", (5, 6), "branch"),
    ("Embedding", lambda: nn.Sequential(nn.Embedding(9, 6)), "0", (5, 6), "branch"),
    ("Conv1d, Conv2d", lambda: nn.Sequential(nn.Conv2d(4, 6, 3)), "0", _IMAGE, "branch"),
    ("Conv in groups", lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)), "0", _IMAGE, "branch"),
    ("Conv, loralib's", lambda: nn.Sequential(nn.Conv2d(4, 6, 3)), "0", _IMAGE, "delta"),
    ("LSTM, GRU", _Recurrent, "layer", (3, 5, 6), "branch"),
    ("MultiheadAttention", _Attention, r"attention[0/3]", (3, 5, 8), "branch"),
    ("experts", _Experts, "experts", (5, 6), "branch"),
]


def table() -> str:
    """Markdown: for each variant and kind of layer how its adapter is saved, or – where there is no such thing."""
    header = ["`lora=`", "method", *(name for name, *_ in KINDS), "merges"]
    rows = [header, ["---"] * len(header)]
    for name, variant in VARIANTS.items():
        cells = [_tried(name, kind) for kind in KINDS]
        merges = "exactly" if all(error < 1e-9 for _, error in cells if error is not None) else "no"
        rows.append([name, f"{variant.title} ({variant.source})", *(saved for saved, _ in cells), merges])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _tried(variant: str, kind: tuple[str, _Build, str, tuple[int, ...], str]) -> tuple[str, float | None]:
    """PEFT or own (the format it is saved in) and by how much merging changes the output, in float64."""
    _, build, target, shape, form = kind
    torch.manual_seed(0)
    net = _held(build(), variant).double()
    x = torch.randint(9, shape) if isinstance(next(net.children()), nn.Embedding) else torch.randn(shape).double()
    by_alpha = VARIANTS[variant].root
    try:
        spec = LoraSpec(
            2,
            None if by_alpha else 1.0,
            ("t",),
            variant=variant,
            alpha=2.0 if by_alpha else None,
            conv_form="delta" if form == "delta" else "branch",
        )
        adapt(net, spec, {"t": target})

        def feed(gradients: bool) -> None:
            loss = (net(x) - 1).square().mean()
            if gradients:
                loss.backward()

        initialise(net, spec, feed)
    except SpecError:
        return "–", None
    for tensor in adapter_parameters(net):
        tensor.data += 0.1 * torch.randn_like(tensor)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        export_adapter(net, "", Path(folder))
        config = json.loads((Path(folder) / "adapter_config.json").read_text())
        apart = net(x)
        if config["peft_type"] == "LORA":
            assert float((_by_peft(build, variant, Path(folder))(x) - apart).abs().max()) < 1e-6, (variant, kind[0])
        merge(net)
        error = float((net(x) - apart).abs().max())
    return ("PEFT" if config["peft_type"] == "LORA" else "own"), error


def _held(net: nn.Module, variant: str) -> nn.Module:
    """The network, its linear layers in 4 bits for a variant that is for such."""
    for name, layer in list(net.named_modules()):
        if VARIANTS[variant].reads_floats and type(layer) is nn.Linear:
            held = QuantizedLinear(layer, "nf4")
            held.floats = layer.weight.detach()
            net.set_submodule(name, held)
    return net


def _by_peft(build: _Build, variant: str, folder: Path) -> nn.Module:
    """The network before any adapter, with the saved one put in by PEFT."""
    peft = importlib.import_module("peft")
    torch.manual_seed(0)
    base = _held(build(), variant).double()
    dequantize(base)
    loaded: nn.Module = peft.PeftModel.from_pretrained(base, str(folder)).eval()
    return loaded


if __name__ == "__main__":
    print(table())
