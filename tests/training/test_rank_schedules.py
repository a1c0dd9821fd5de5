"""What a variant asks of training: rates, penalties, prefixes."""

import torch
from torch import nn

from harness.lora import LoraSpec, adapt, orthogonality, updates_of
from harness.lora.variants.dylora import RandomPrefixes
from harness.training import ClassMetrics, TrialModule

SETTINGS = {"lr": 1e-3, "head_lr": 1e-2, "weight_decay": 0.0, "warmup": 0.0, "steps": 10}


class Net(nn.Module):
    def __init__(self, variant):
        super().__init__()
        self.base, self.head = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)), nn.Linear(6, 2)
        adapt(self.base, LoraSpec(3, 1.0, ("0", "1"), variant=variant), {})

    def forward(self, batch):
        return self.head(self.base(batch["x"]))


def test_b_learns_faster_than_a_and_nothing_else_does():
    net = Net("lora_plus")
    fast = [update.zero_factor for update in updates_of(net)]
    module = TrialModule(net, ClassMetrics(2), **SETTINGS, fast=fast, fast_ratio=16.0)
    groups = module.new_optimizer().param_groups
    rate = {id(tensor): group["initial_lr"] for group in groups for tensor in group["params"]}
    for update in updates_of(net):
        assert (rate[id(update.lora_A)], rate[id(update.lora_B)]) == (1e-3, 16e-3)
    assert rate[id(net.head.weight)] == 1e-2
    assert len(rate) == 6


def test_of_an_embedding_the_factor_at_zero_is_the_fast_one():
    net = nn.Sequential(nn.Embedding(9, 6))
    adapt(net, LoraSpec(2, 1.0, ("0",), variant="lora_plus"), {})
    (update,) = updates_of(net)
    assert not update.zero_factor.any()
    assert update.zero_factor is update.lora_A


def test_the_penalty_is_in_the_loss_and_not_in_the_curve():
    net = Net("adalora")
    module = TrialModule(net, ClassMetrics(2), **SETTINGS, penalty=lambda: 0.5 * orthogonality(net.base))
    batch = {"x": torch.randn(4, 6), "labels": torch.tensor([0, 1, 0, 1])}
    out = module(batch)
    eye = [(torch.eye(5), update) for update in updates_of(net)]
    terms = [
        (update.lora_A @ update.lora_A.t() - i).norm() + (update.lora_B.t() @ update.lora_B - i).norm()
        for i, update in eye
    ]
    torch.testing.assert_close(out["loss"] - out["bare"], 0.5 * sum(terms) / 4)


def test_prefixes_are_drawn_from_one_to_the_rank_and_all_of_it_counts_outside_of_training():
    net = Net("dylora")
    nested, again = RandomPrefixes(net.base, seed=0), RandomPrefixes(net.base, seed=0)
    drawn = []
    for _ in range(200):
        nested.before_step()
        drawn.append(next(iter(updates_of(net))).active)
        again.before_step()
        assert next(iter(updates_of(net))).active == drawn[-1]
        nested.after_step(1)
        assert all(update.active == 3 for update in updates_of(net))
    assert all(40 < drawn.count(rank) < 100 for rank in (1, 2, 3))
