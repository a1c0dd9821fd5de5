"""Intervals and tests against scipy."""

import numpy as np
import pytest
from scipy import stats

from harness.report.statistics import (
    holm,
    mcnemar_exact,
    median_ratio,
    normal_quantile,
    paired_shares,
    stratified_interval,
    t_interval,
    t_quantile,
    wilson_interval,
)


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


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99, 1 - 0.05 / 6])
def test_quantiles(level):
    assert normal_quantile(level) == pytest.approx(stats.norm.ppf(0.5 + level / 2), abs=1e-12)
    for freedom in (1, 2, 7, 100, 5_000):
        assert t_quantile(level, freedom) == pytest.approx(stats.t.ppf(0.5 + level / 2, freedom), rel=1e-8)


def test_t_interval():
    values = [0.3, -0.1, 0.25, 0.02]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx((np.mean(values), *expected))


def test_paired_shares_by_hand():
    # 2 gained, 1 lost of 10; with half an item more in each cell 2.5 and 1.5 of 12.
    first = [True] * 2 + [False] * 1 + [True] * 7
    second = [False] * 2 + [True] * 1 + [True] * 7
    centre, variance = 1 / 12, ((2.5 + 1.5) / 12 - (1 / 12) ** 2) / 12
    half = stats.norm.ppf(0.975) * variance**0.5
    assert paired_shares(first, second) == pytest.approx((0.1, centre - half, centre + half))


@pytest.mark.parametrize(("gained", "lost"), [(0.02, 0.02), (0.10, 0.05), (0.01, 0.0)])
def test_paired_shares_hold_their_level(gained, lost):
    draw, covered = np.random.default_rng(1), 0
    for _ in range(1_000):
        fate = draw.choice(3, size=300, p=[1 - gained - lost, gained, lost])
        _, low, high = paired_shares(list(fate == 1), list(fate == 2))
        covered += low <= gained - lost <= high
    assert covered >= 935  # 950 less two standard errors


def test_median_ratio():
    draw = np.random.default_rng(2)
    value, low, high = median_ratio(draw.normal(2.0, 0.1, 60), draw.normal(4.0, 0.1, 60))
    assert low < 0.5 < high
    assert high - low < 0.06
    assert value == pytest.approx(0.5, abs=0.02)
    assert median_ratio([3.0, 3.0], [6.0, 6.0]) == (0.5, 0.5, 0.5)


def test_the_mean_of_groups_has_the_interval_of_a_bootstrap_within_groups():
    draw = np.random.default_rng(0)
    strata = [(draw.random(count) < share).astype(float) for count, share in ((300, 0.8), (150, 0.6), (200, 0.9))]
    means = [np.mean([draw.choice(values, len(values)).mean() for values in strata]) for _ in range(4000)]
    low, high = stratified_interval([values.tolist() for values in strata])
    assert (low, high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.004)
