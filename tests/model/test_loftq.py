"""LoftQ: what an adapter can give back of quantisation, held against singular values in float64 and PEFT's function."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.base_layers.quantized import QuantizedLinear, forget_floats
from harness.lora import LoraSpec, SpecError, adapt, initialise, updates_of
from harness.lora.adapted import layer_updates
from harness.model import build_model
from tests.model.hf_inputs import BATCH
from tests.model.test_quantization import SCHEMES, named, save_small

pytest.importorskip("bitsandbytes")
from peft.utils import loftq_utils
from transformers import AutoModelForSequenceClassification


def held(scheme="nf4", inputs=96, outputs=60) -> tuple[nn.Module, torch.Tensor]:
    """A network of one quantised layer, and the weight that it was."""
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs).requires_grad_(False)
    layer = QuantizedLinear(plain, scheme)
    layer.floats = plain.weight.detach()
    return nn.Sequential(layer), plain.weight.double()


def started(net, variant="loftq", where="0", *, rank=4, scale=0.7) -> None:
    spec = LoraSpec(rank, scale, ("t",), variant=variant)
    adapt(net, spec, {"t": where})
    initialise(net, spec, lambda _: None)


@pytest.mark.parametrize("rank", [1, 4, 60])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_left_of_the_loss_are_the_smaller_singular_values(scheme, rank):
    net, weight = held(scheme)
    lost = weight - net[0].weight.double()
    started(net, rank=rank)
    (update,) = updates_of(net)
    left = (lost - update.delta().double()).norm()
    expected = torch.linalg.svdvals(lost)[rank:].norm()
    torch.testing.assert_close(left, expected, rtol=1e-4, atol=1e-5)


def test_a_fused_part_gets_back_its_own_rows():
    net, weight = held()
    lost = (weight - net[0].weight.double())[20:40]
    started(net, where="0[1/3]")
    (update,) = updates_of(net)
    expected = torch.linalg.svdvals(lost)[4:].norm()
    torch.testing.assert_close((lost - update.delta().double()).norm(), expected, rtol=1e-4, atol=0)


def test_the_start_is_that_of_peft():
    net, weight = held()
    quantised = net[0].weight
    started(net, scale=1.0)
    (update,) = updates_of(net)
    theirs = loftq_utils._low_rank_decomposition(weight.float() - quantised, reduced_rank=4)
    torch.testing.assert_close(update.delta(), theirs["L"] @ theirs["R"], rtol=1e-4, atol=1e-6)


def test_dora_begins_as_the_same_network():
    outputs = []
    for variant in ("loftq", "dora+loftq"):
        net, _ = held()
        started(net, variant)
        torch.manual_seed(1)
        outputs.append(net(torch.randn(5, 96)))
    torch.testing.assert_close(*outputs)


def test_the_bits_stay_as_they_were():
    net, _ = held()
    before = net[0].qweight.clone()
    started(net)
    assert torch.equal(net[0].base.qweight, before)


def network(folder, **keys):
    return build_model(named(folder, head="stored", quantization="nf4", **keys), 3, keep_floats=True).eval()


def begin(model, *, rank) -> None:
    spec = LoraSpec(rank, 1.0, ("all-linear",), variant="loftq")
    adapt(model.base, spec, model.targets)
    initialise(model.base, spec, lambda _: None)


def test_at_full_rank_the_base_is_that_in_floats(tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path, num_labels=3)
    whole, model = build_model(named(tmp_path, head="stored"), 3).eval(), network(tmp_path)
    with torch.no_grad():
        assert not torch.allclose(model(BATCH), whole(BATCH), atol=1e-3)
        full = model.base.config.hidden_size
        begin(model, rank=full)
        torch.testing.assert_close(model(BATCH), whole(BATCH), rtol=1e-4, atol=1e-5)


def test_layers_left_in_floats_start_as_lora_does(tmp_path):
    save_small(AutoModelForSequenceClassification, "llama", tmp_path, num_labels=3)
    model = network(tmp_path, quantization_skip=[r"layers\.0\..*"])
    begin(model, rank=2)
    found = {
        isinstance(layer.base, QuantizedLinear): bool(update.lora_B.any()) for layer, update in layer_updates(model)
    }
    assert found == {True: True, False: False}


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_the_file_of_the_weights_in_floats_is_let_go_after_the_start(tmp_path):
    save_small(AutoModelForSequenceClassification, "llama", tmp_path, num_labels=3)
    model = network(tmp_path)
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    forget_floats(model)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_base_that_lost_nothing_and_one_that_forgot_are_refused():
    with pytest.raises(SpecError, match="none of the adapted layers is quantised"):
        started(nn.Sequential(nn.Linear(8, 8)))
    net, _ = held()
    forget_floats(net)
    with pytest.raises(SpecError, match="built without `keep_floats`"):
        started(net)
