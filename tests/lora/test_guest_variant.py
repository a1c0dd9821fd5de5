"""A variant of one's own, by its dotted path."""

import sys

import pytest
import torch
from torch import nn

from harness.lora import LoraSpec, SpecError, adapt, adapter_parameters, initialise, merge, variant

GUEST = """
import torch
from harness.lora.adapted import layer_updates
from harness.lora.update import LowRankUpdate
from harness.lora.variants import Variant


class Gated(LowRankUpdate):
    def reset(self, matrix):
        super().reset(matrix)
        self.lora_g = torch.nn.Parameter(matrix.new_ones(()))

    def factors(self):
        down, up = super().factors()
        return self.lora_g * down, up


def initialise(base, settings, feed):
    for layer, update in layer_updates(base):
        update.lora_B.data.normal_(std=0.1)


GATED = Variant("Gated LoRA", "this test", form=Gated, initialise=initialise)
OTHER = "no variant"
"""


@pytest.fixture
def guest(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(GUEST)
    monkeypatch.syspath_prepend(tmp_path)
    yield "mine:GATED"
    sys.modules.pop("mine", None)


def test_a_variant_of_ones_own_is_put_in_started_and_merged(guest):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 4)).double(), torch.randn(3, 6).double()
    spec = LoraSpec(2, 1.0, ("0",), variant=f"{guest}+lora_plus")
    base = net(x)
    adapt(net, spec, {})
    assert sum(tensor.numel() for tensor in adapter_parameters(net)) == 2 * (6 + 4) + 1
    initialise(net, spec, lambda _: None)
    apart = net(x)
    layer = net[0]
    down, up = (getattr(layer.updates["all"], name).detach() for name in ("lora_A", "lora_B"))
    torch.testing.assert_close(apart, base + x @ down.t() @ up.t())
    merge(net)
    torch.testing.assert_close(net(x), apart)
    assert spec.method.plus == 16.0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine:OTHER", "variant mine:OTHER: mine:OTHER is no harness.lora.variants.Variant"),
        ("mine:NONE", "variant mine:NONE: mine:NONE cannot be imported"),
        ("nowhere.at.all:X", "cannot be imported, ModuleNotFoundError: No module named 'nowhere'"),
        ("mine:GATED+dora", "more than one of them changes the same thing (form)"),
        ("pandas:read_pickle", "is no harness.lora.variants.Variant"),
    ],
)
def test_what_is_no_variant_is_refused(guest, name, said):
    with pytest.raises(SpecError) as found:
        variant(name)
    assert said in str(found.value)
