"""Optimiser groups, schedule and scores, against their definitions."""

import math

import pytest
import torch
from torch import nn

from harness.training import ClassMetrics, Diverged, TrialModule, plan


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2)

    def forward(self, batch):
        return self.head(self.norm(self.body(batch["ids"])))


def module(**changes):
    values = {"lr": 1e-3, "head_lr": 1e-2, "weight_decay": 0.1, "warmup": 0.2, "steps": 10} | changes
    return TrialModule(Toy(), ClassMetrics(2), **values)


def test_every_trained_tensor_is_in_one_group_and_biases_and_norms_are_not_decayed():
    trial = module()
    trial.model.body.weight.requires_grad_(False)
    groups = trial.new_optimizer().param_groups
    found = {id(tensor): group for group in groups for tensor in group["params"]}
    names = {name: found.get(id(tensor)) for name, tensor in trial.model.named_parameters()}
    assert names["body.weight"] is None
    for name, lr, decay in [
        ("body.bias", 1e-3, 0.0),
        ("norm.weight", 1e-3, 0.0),
        ("head.weight", 1e-2, 0.1),
        ("head.bias", 1e-2, 0.0),
    ]:
        assert names[name]["initial_lr"] == lr
        assert names[name]["weight_decay"] == decay
    assert sum(len(group["params"]) for group in groups) == 5


def test_the_rate_warms_up_and_decays_to_zero():
    trial = module()
    rates = [trial._rate(step) for step in range(11)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[2:] == pytest.approx([(10 - step) / 8 for step in range(2, 11)])
    assert module(warmup=0.0)._rate(0) == 1.0


def test_scores_are_means_over_examples_not_over_batches():
    trial = module()
    torch.manual_seed(0)
    x, labels = torch.randn(4, 3), torch.tensor([1, 0, 1, 1])
    for rows in (slice(0, 1), slice(1, 4)):
        trial.validation_step({"ids": x[rows], "labels": labels[rows]})
    trial.end_validation(1)
    logits = trial.model({"ids": x}).double()
    rows = [
        math.log(sum(math.exp(other) for other in row)) - row[label]
        for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    assert trial.scores["loss"] == pytest.approx(sum(rows) / 4, rel=1e-5)
    assert trial.scores["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))


def test_nan_logits_are_divergence_and_not_the_share_of_class_zero():
    trial = module()
    nn.init.constant_(trial.model.head.weight, math.nan)
    trial.validation_step({"ids": torch.randn(4, 3), "labels": torch.zeros(4, dtype=torch.long)})
    with pytest.raises(Diverged, match="evaluation loss nan after step 7"):
        trial.end_validation(7)


@pytest.mark.parametrize(
    ("batches", "epochs", "most", "evaluations", "steps"),
    [
        (100, 1.0, None, 4, (25, 50, 75, 100)),
        (100, 2.0, 152, 4, (38, 76, 114, 152)),
        (100, 2.0, 150, 4, (38, 75, 112, 150)),
        (10, 0.25, None, 2, (1, 2)),
        (3, 1.0, None, 9, (1, 2, 3)),
        (1000, 2.0, 10, 4, (2, 5, 8, 10)),
        (1000, 2.0, 3, 2, (2, 3)),
        (5, 1.0, 5, 2, (2, 5)),
        (5, 1.0, 6, 2, (3, 6)),
    ],
)
def test_the_last_evaluation_comes_after_the_last_step_and_none_after_the_bound(
    batches, epochs, most, evaluations, steps
):
    length = plan(batches, epochs, most, evaluations)
    assert length.evaluate_after == steps
    assert length.steps == steps[-1]
    assert most is None or length.steps <= most


def test_a_study_of_before_the_bound_goes_on_with_its_steps():
    assert plan(1000, 2.0, 10, 4, round_up=True).evaluate_after == (3, 6, 9, 12)
    assert plan(1000, 2.0, 12, 4, round_up=True) == plan(1000, 2.0, 12, 4)
