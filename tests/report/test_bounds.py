"""What measures cannot leave, their intervals do not leave either."""

import math

import numpy as np
import pytest
import torch

from harness.config.tasks.base import CLASS_MEASURES, GROUP_MEASURE, NUMBER_MEASURES, TEXT_MEASURES
from harness.record import bounds, within
from harness.report.statistics import ratio_interval
from harness.report.two_level import compare, mean_of
from harness.task.measures import named_measure
from harness.task.metrics import ClassMetrics, LabelSetMetrics, RegressionMetrics, TokenMetrics

NAMES = {
    *(*CLASS_MEASURES, *NUMBER_MEASURES, *TEXT_MEASURES, GROUP_MEASURE, "accuracy_norm", "precision", "recall"),
    *(*ClassMetrics.names, *LabelSetMetrics.names, *RegressionMetrics.names, *TokenMetrics.names),
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_measure_says_what_it_cannot_leave(name):
    assert bounds(name) != (-math.inf, math.inf)
    assert bounds(f"task/{name}") == bounds(name)


def test_of_a_measure_of_the_users_own_nothing_is_known():
    assert bounds("package.module:Name") == (-math.inf, math.inf)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", [*CLASS_MEASURES, *NUMBER_MEASURES])
def test_perfect_and_opposite_answers_score_within_the_bounds(name, sign):
    labels = torch.tensor([0, 1] * 20)
    outputs = torch.stack([1.0 - labels, labels], 1) if name in CLASS_MEASURES else labels.double()[:, None]
    measure = named_measure(name, 2 if name in CLASS_MEASURES else 0)
    low, high = bounds(name)
    assert low <= measure(labels, sign * outputs.double()) <= high
    best = high if math.isfinite(high) else low
    assert measure(labels, outputs.double()) == pytest.approx(best)


def test_few_items_that_are_nearly_all_right_give_no_interval_beyond_one():
    interval = ratio_interval([1.0] * 9 + [0.5], [1.0] * 10)
    assert interval[1] > 1
    assert within(interval, bounds("f1")) == (interval[0], 1.0)
    assert within((0.3, 0.4), bounds("f1")) == (0.3, 0.4)


def test_two_seeds_far_apart_stay_within_the_bounds_of_a_share_and_the_verdict_is_the_same():
    seeds = np.array([[0.3], [0.99]])
    found = mean_of(seeds)
    assert (found.low, found.high) != (found.within(0.0, 1.0).low, found.within(0.0, 1.0).high) == (0.0, 1.0)
    assert found.within(0.0, 1.0).mean == found.mean
    gap = compare({"a": seeds, "b": seeds[::-1] - 0.2}, "a", {"a": "a", "b": "b"})["b"]
    assert gap.low < -1 < 1 < gap.high
    assert (gap.within(1.0).low, gap.within(1.0).high) == (-1.0, 1.0)
    assert gap.within(1.0).verdict(0.01) == gap.verdict(0.01)
