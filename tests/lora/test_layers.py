"""Layers against the formula in float64: y = Wx + b + s·BAx."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.lora import LoraLinear
from harness.lora.layers import LoraFused


def randomise(module):
    for name, tensor in module.named_parameters():
        if "lora_" in name:
            nn.init.normal_(tensor)


def test_an_adapted_layer_starts_as_the_layer_it_was():
    base = nn.Linear(6, 4)
    layer = LoraLinear(base, rank=3, scale=2.0)
    x = torch.randn(5, 6)
    assert torch.equal(layer(x), base(x))
    assert layer.lora_A.abs().max() > 0


def test_forward_is_the_formula_and_delta_merges():
    torch.manual_seed(0)
    base = nn.Linear(6, 4, dtype=torch.float64)
    layer = LoraLinear(base, rank=3, scale=1.7)
    randomise(layer)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    expected = x @ base.weight.T + base.bias + 1.7 * x @ layer.lora_A.T @ layer.lora_B.T
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(x @ (base.weight + layer.delta()).T + base.bias, expected)


def test_gradients_are_those_of_the_formula():
    torch.manual_seed(0)
    base = nn.Linear(5, 4, dtype=torch.float64).requires_grad_(False)
    layer = LoraLinear(base, rank=2, scale=0.5)
    randomise(layer)
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    layer(x).sum().backward()
    assert layer.lora_A.grad is not None
    assert layer.lora_B.grad is not None
    assert base.weight.grad is None


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_a_fused_projection_is_adapted_part_by_part(kind):
    torch.manual_seed(0)
    base = nn.Linear(6, 12) if kind == "linear" else Conv1D(12, 6)
    base.double()
    layer = LoraFused(base, scale=0.7)
    layer.add("query", 0, 3, rank=2)
    layer.add("value", 2, 3, rank=3)
    x = torch.randn(5, 6, dtype=torch.float64)
    assert torch.equal(layer(x), base(x))
    randomise(layer)
    change = torch.zeros(5, 12, dtype=torch.float64)
    for name, start in (("query", 0), ("value", 8)):
        part = layer.parts[name]
        change[:, start : start + 4] = 0.7 * x @ part.lora_A.T @ part.lora_B.T
    torch.testing.assert_close(layer(x), base(x) + change)
    assert torch.equal(layer(x)[:, 4:8], base(x)[:, 4:8])


def test_dropout_touches_the_branch_alone():
    base = nn.Linear(6, 4)
    layer = LoraLinear(base, rank=2, scale=1.0, dropout=0.999999)
    randomise(layer)
    x = torch.randn(5, 6)
    torch.testing.assert_close(layer.train()(x), base(x), atol=1e-3, rtol=0)
    assert not torch.allclose(layer.eval()(x), base(x), atol=1e-3)
