"""Intervals and tests against scipy."""

import numpy as np
import pytest
from scipy import stats

from harness.report.statistics import holm, mcnemar_exact, stratified_interval, wilson_interval


@pytest.mark.parametrize(("right", "items"), [(0, 10), (5, 10), (1300, 1590), (872, 872)])
def test_wilson(right, items):
    expected = stats.binomtest(right, items).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right / items, items) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 0), (12, 5), (40, 41)])
def test_mcnemar(only_first, only_second):
    first = [True] * only_first + [False] * only_second + [True, False] * 20
    second = [False] * only_first + [True] * only_second + [True, False] * 20
    n = only_first + only_second
    expected = stats.binomtest(only_first, n).pvalue if n else 1.0
    assert mcnemar_exact(first, second) == pytest.approx(expected)
    assert mcnemar_exact(second, first) == pytest.approx(expected)


def test_holm():
    # Worked by hand: sorted .01 .02 .03 .04 times 4 3 2 1, never falling.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []
    draws = np.random.default_rng(0).uniform(size=7)
    assert all(0 <= raw <= adjusted <= 1 for raw, adjusted in zip(draws, holm(list(draws)), strict=True))


def test_the_mean_of_groups_has_the_interval_of_a_bootstrap_within_groups():
    draw = np.random.default_rng(0)
    strata = [(draw.random(count) < share).astype(float) for count, share in ((300, 0.8), (150, 0.6), (200, 0.9))]
    means = [np.mean([draw.choice(values, len(values)).mean() for values in strata]) for _ in range(4000)]
    low, high = stratified_interval([values.tolist() for values in strata])
    assert (low, high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.004)
