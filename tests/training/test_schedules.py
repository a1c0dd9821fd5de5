"""Schedules of the learning rate, against those of transformers."""

import pytest
import torch
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup, get_wsd_schedule

from harness.training.schedules import SCHEDULES, rate

STEPS, WARMUP = 40, 5


def theirs(make):
    """The rates of a schedule of transformers, whose warm-up begins at zero and ours a step later."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found[WARMUP:]


def ours(name, decay=0.25):
    return [rate(name, step, steps=STEPS, warmup_steps=WARMUP, decay=decay) for step in range(WARMUP, STEPS)]


def test_after_the_warm_up_they_are_those_of_transformers():
    assert ours("cosine") == pytest.approx(theirs(lambda made: get_cosine_schedule_with_warmup(made, WARMUP, STEPS)))
    assert ours("constant") == pytest.approx(theirs(lambda made: get_constant_schedule_with_warmup(made, WARMUP)))
    keys = {"decay_type": "linear", "min_lr_ratio": 0.0, "warmup_type": "linear"}
    stable = theirs(lambda made: get_wsd_schedule(made, WARMUP, 10, num_stable_steps=25, **keys))
    assert ours("warmup-stable-decay") == pytest.approx(stable)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_warms_up_and_stays_within_its_peak(name):
    rates = [rate(name, step, steps=STEPS, warmup_steps=WARMUP, decay=0.25) for step in range(STEPS + 1)]
    assert rates[:WARMUP] == pytest.approx([(step + 1) / (WARMUP + 1) for step in range(WARMUP)])
    assert max(rates) == 1.0
    assert (rates[-1] == pytest.approx(0.0)) == (name != "constant")
