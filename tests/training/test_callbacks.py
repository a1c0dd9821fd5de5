"""What is kept of the best evaluation: all that training changes, and nothing of what is frozen."""

import torch
from torch import nn

from harness.training import trained_state


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))


def test_the_statistics_of_a_trained_norm_are_kept_with_its_weights():
    statistics = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    model = network()
    assert dict(trained_state(model)).keys() == {name for name, _ in model.named_parameters()} | statistics
    before = {name: tensor.clone() for name, tensor in trained_state(model)}
    model(torch.randn(4, 1, 1, 1))
    assert {name for name, tensor in trained_state(model) if not torch.equal(tensor, before[name])} == statistics


def test_what_is_frozen_or_tied_is_not_kept_twice():
    model = network()
    model.requires_grad_(False)
    model[3].requires_grad_(True)
    assert dict(trained_state(model)).keys() == {"3.weight", "3.bias"}
    tied = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    tied[1].weight = tied[0].weight
    assert dict(trained_state(tied)).keys() == {"0.weight"}
