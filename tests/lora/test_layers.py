"""Layers in the places they are used: dropout, packed sequences, encoder layers; and published counts."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from harness.lora import LoraSpec, SpecError, adapt, adapter_parameters, bare, merge
from tests.lora.test_variants import disturb


def test_dropout_touches_the_branch_alone():
    net = nn.Sequential(nn.Linear(6, 4))
    base = copy.deepcopy(net)
    adapt(net, LoraSpec(2, 1.0, ("0",), dropout=0.999999), {})
    disturb(net)
    x = torch.randn(5, 6)
    torch.testing.assert_close(net.train()(x), base(x), atol=1e-3, rtol=0)
    assert not torch.allclose(net.eval()(x), base(x), atol=1e-3)


def test_an_adapted_layer_says_its_geometry_and_not_a_weight_without_its_updates():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(6, 4))
    adapt(net, LoraSpec(2, 1.0, ("0", "2")), {})
    assert (net[0].stride, net[0].kernel_size, net[2].in_features) == ((2, 2), (3, 3), 6)
    for name in ("weight", "bias", "missing"):
        with pytest.raises(AttributeError, match=name):
            getattr(net[0], name)
    assert copy.deepcopy(net)[0].padding == (1, 1)


def test_a_bare_network_is_the_base_to_the_bit_and_comes_back_as_it_was():
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    base = copy.deepcopy(net)
    adapt(net, LoraSpec(2, 1.0, ("0", "2")), {})
    disturb(net)
    x = torch.randn(5, 6)
    adapted = net(x)
    undo = bare(net)
    assert torch.equal(net(x), base(x))
    assert [type(layer) for layer in net] == [type(layer) for layer in base]
    undo()
    assert torch.equal(net(x), adapted)
    assert not torch.equal(adapted, base(x))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_packed_sequences_are_those_of_merged_weights(kind):
    torch.manual_seed(1)
    net = nn.Sequential(kind(5, 4, num_layers=2, bidirectional=True, batch_first=True))
    adapt(net, LoraSpec(2, 1.3, ("0",)), {})
    disturb(net)
    packed = pack_padded_sequence(torch.randn(3, 7, 5), torch.tensor([7, 4, 2]), batch_first=True)
    apart = pad_packed_sequence(net[0](packed)[0], batch_first=True)[0]
    undo = merge(net)
    merged = pad_packed_sequence(net[0](packed)[0], batch_first=True)[0]
    torch.testing.assert_close(apart, merged)
    undo()


@pytest.mark.parametrize("training", [True, False])
def test_an_encoder_layer_uses_the_adapted_attention_in_evaluation_too(training):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    net = nn.ModuleDict({"layer": layer})
    names = {"q": r"layer\.self_attn[0/3]", "o": r"layer\.self_attn\.out_proj"}
    adapt(net, LoraSpec(2, 1.0, ("q", "o")), names)
    disturb(net)
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        apart = net.train(training)["layer"](x)
        undo = merge(net)
        torch.testing.assert_close(net["layer"](x), apart, atol=1e-6, rtol=1e-5)
        undo()
        assert not torch.allclose(apart, layer_of_base(net)(x), atol=1e-3)


def layer_of_base(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)


@pytest.mark.parametrize(
    ("target", "changes", "expected"),
    [
        ("0", {}, 5_120),
        ("0", {"conv_form": "delta"}, 9_216),
        ("1", {}, 167_936),
        ("1", {"each_gate": True}, 278_528),
    ],
)
def test_published_counts(target, changes, expected):
    net = nn.Sequential(nn.Conv2d(64, 64, 3, device="meta"), nn.LSTM(256, 512, 2, bidirectional=True, device="meta"))
    assert sum(tensor.numel() for tensor in net[1].parameters()) == 9_453_568
    ranks = adapt(net, LoraSpec(8, 1.0, (target,), **changes), {})
    assert set(ranks.values()) == {8}
    assert len(ranks) == (1 if target == "0" else 32 if changes else 8)
    assert sum(tensor.numel() for tensor in adapter_parameters(net)) == expected


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (LoraSpec(1, 1.0, ("3",), conv_form="delta"), "3: loralib's factorisation"),
        (LoraSpec(1, 1.0, ("1",), dropout=0.1), "1: dropout"),
        (LoraSpec(5, 1.0, ("1",)), "rank 5: above min(inputs, outputs) = 4 of 1.weight_ih_l0"),
        (LoraSpec(7, 1.0, ("0",)), "rank 7: above min(inputs, outputs) = 6 of 0"),
        (LoraSpec(3, 1.0, ("4",)), "rank 3: above min(inputs, outputs) = 2 of 4"),
        (LoraSpec(1, 1.0, ("5",)), "shortens its own vectors"),
        (LoraSpec(1, 1.0, ("6",)), "6: LayerNorm has no low-rank form"),
        (LoraSpec(1, 1.0, ("q",)), "0: Conv2d is not a fused linear projection"),
    ],
)
def test_forms_that_do_not_exist_are_refused_by_name(spec, line):
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3),
        nn.LSTM(4, 4),
        nn.ReLU(),
        nn.Conv1d(4, 6, 3),
        nn.Conv2d(4, 2, 3, groups=2),
        nn.Embedding(5, 4, max_norm=1.0),
        nn.LayerNorm(4),
    )
    with pytest.raises(SpecError) as caught:
        adapt(net, spec, {"q": "0[0/3]"})
    assert line in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 4),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    flat=st.booleans(),
    rank=st.integers(1, 3),
    form=st.sampled_from(["branch", "delta"]),
)
def test_any_convolution_is_the_one_with_the_merged_kernel(
    inputs, outputs, groups, kernel, stride, padding, dilation, flat, rank, form
):
    kind = nn.Conv1d if flat else nn.Conv2d
    conv = kind(inputs * groups, outputs * groups, kernel, stride, padding, dilation, groups, padding_mode="zeros")
    net = nn.Sequential(conv).double()
    try:
        adapt(net, LoraSpec(rank, 0.9, ("0",), conv_form=form), {})
    except SpecError as error:
        assert "above min" in str(error) or (flat and form == "delta")
        return
    disturb(net)
    x = torch.randn(2, inputs * groups, *([8] if flat else [8, 7]), dtype=torch.float64)
    apart = net(x)
    undo = merge(net)
    torch.testing.assert_close(net(x), apart)
    undo()
