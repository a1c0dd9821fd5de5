"""Layers whose weight is changed, against the base with the merged weight; counts against the formulas."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from harness.lora import LoraSpec, SpecError, adapt, adapter_parameters
from harness.lora.delta import LoraConvDelta, LoraRecurrent, recurrent_weights
from harness.lora.layers import LoraConv


def randomise(module):
    torch.manual_seed(0)
    for name, tensor in module.named_parameters():
        if "lora_" in name:
            nn.init.normal_(tensor, std=0.3)


CONVOLUTIONS = [
    lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1),
    lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2, padding_mode="reflect", bias=False),
    lambda: nn.Conv2d(4, 6, 1),
    lambda: nn.Conv1d(4, 6, 5, padding="same"),
]


@pytest.mark.parametrize("build", CONVOLUTIONS)
@pytest.mark.parametrize("form", ["branch", "delta"])
def test_an_adapted_convolution_is_the_convolution_with_the_merged_kernel(build, form):
    base = build().double()
    if form == "delta" and isinstance(base, nn.Conv1d):
        pytest.skip("loralib's factorisation is one of square kernels")
    layer = LoraConv(base, 3, 0.7) if form == "branch" else LoraConvDelta(base, 3, 0.7)
    x = torch.randn(2, 4, *[9] * (base.weight.ndim - 2), dtype=torch.float64)
    torch.testing.assert_close(layer(x), base(x), atol=0, rtol=0)
    randomise(layer)
    merged = copy.deepcopy(base)
    merged.weight.data += layer.delta()
    torch.testing.assert_close(layer(x), merged(x))
    assert (layer(x) - base(x)).abs().max() > 0.01
    layer(x).square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().max() > 0 for tensor in adapter_parameters(layer))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("each_gate", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_adapted_recurrent_layer_is_the_layer_with_merged_weights(kind, each_gate, bidirectional):
    torch.manual_seed(1)
    base = kind(5, 4, num_layers=2, bidirectional=bidirectional, batch_first=True).double()
    layer = LoraRecurrent(base, 2, 1.3, each_gate)
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], base(x)[0])
    randomise(layer)
    merged = copy.deepcopy(base)
    for name in recurrent_weights(base):
        getattr(merged, name).data += layer.delta(name)
    torch.testing.assert_close(layer(x)[0], merged(x)[0])
    packed = pack_padded_sequence(x, torch.tensor([7, 4, 2]), batch_first=True)
    ours, theirs = (pad_packed_sequence(net(packed)[0], batch_first=True)[0] for net in (layer, merged))
    torch.testing.assert_close(ours, theirs)
    assert (ours - pad_packed_sequence(base(packed)[0], batch_first=True)[0]).abs().max() > 0.01
    layer(x)[0].square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().max() > 0 for tensor in adapter_parameters(layer))


NAMES = {"conv": "0", "lstm": "1", "grouped": "2", "flat": "3"}


@pytest.mark.parametrize(
    ("target", "changes", "expected"),
    [
        ("conv", {}, 5_120),
        ("conv", {"conv_form": "delta"}, 9_216),
        ("lstm", {}, 167_936),
        ("lstm", {"each_gate": True}, 278_528),
    ],
)
def test_published_counts(target, changes, expected):
    net = nn.Sequential(nn.Conv2d(64, 64, 3, device="meta"), nn.LSTM(256, 512, 2, bidirectional=True, device="meta"))
    assert sum(tensor.numel() for tensor in net[1].parameters()) == 9_453_568
    assert adapt(net, LoraSpec(8, 1.0, (target,), **changes), NAMES) == {NAMES[target]: 8}
    assert sum(tensor.numel() for tensor in adapter_parameters(net)) == expected
    trained = {name for name, tensor in net.named_parameters() if tensor.requires_grad}
    assert all("lora_" in name for name in trained)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (LoraSpec(1, 1.0, ("grouped",)), "2: a convolution in 2 groups"),
        (LoraSpec(1, 1.0, ("flat",), conv_form="delta"), "3: loralib's factorisation"),
        (LoraSpec(1, 1.0, ("lstm",), dropout=0.1), "1: dropout"),
        (LoraSpec(5, 1.0, ("lstm",)), "rank 5: above min(inputs, outputs) = 4 of 1"),
        (LoraSpec(5, 1.0, ("conv",)), "rank 5: above min(inputs, outputs) = 4 of 0"),
    ],
)
def test_forms_that_do_not_exist_are_refused_by_name(spec, line):
    net = nn.Sequential(nn.Conv2d(4, 6, 3), nn.LSTM(4, 4), nn.Conv2d(4, 6, 3, groups=2), nn.Conv1d(4, 6, 3))
    with pytest.raises(SpecError) as caught:
        adapt(net, spec, NAMES)
    assert line in str(caught.value)
