"""Intervals and tests against formulas, tables and simulation that are not scipy's."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from harness.report.statistics import (
    holm,
    mcnemar_exact,
    median_ratio,
    sign_flip,
    stratified_interval,
    t_interval,
    wilson_interval,
)

Z95 = 1.959963984540054


@pytest.mark.parametrize(("correct", "items"), [(0, 10), (5, 10), (1300, 1590), (872, 872)])
def test_wilson_by_its_formula(correct, items):
    share, z2 = correct / items, Z95**2
    centre = (share + z2 / (2 * items)) / (1 + z2 / items)
    half = Z95 / (1 + z2 / items) * math.sqrt(share * (1 - share) / items + z2 / (4 * items**2))
    assert wilson_interval(share, items) == pytest.approx((centre - half, centre + half), abs=1e-9)
    assert wilson_interval(float(np.float32(share)), items) == wilson_interval(share, items)  # as a score is stored


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 0), (12, 5), (40, 41)])
def test_mcnemar_is_a_sum_of_binomial_terms(only_first, only_second):
    first = [True] * only_first + [False] * only_second + [True, False] * 20
    second = [False] * only_first + [True] * only_second + [True, False] * 20
    n, k = only_first + only_second, min(only_first, only_second)
    expected = min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)
    assert mcnemar_exact(first, second) == pytest.approx(expected)
    assert mcnemar_exact(second, first) == pytest.approx(expected)


def test_holm():
    # Worked by hand: sorted .01 .02 .03 .04 times 4 3 2 1, never falling.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []
    draws = np.random.default_rng(0).uniform(size=7)
    assert all(0 <= raw <= adjusted <= 1 for raw, adjusted in zip(draws, holm(list(draws)), strict=True))


# Student's t that leaves 2.5 % above it, from the table, for one value less than there are.
@pytest.mark.parametrize(("count", "t"), [(2, 12.7062), (3, 4.3027), (4, 3.1824), (11, 2.2281), (101, 1.9840)])
def test_t_interval_reaches_as_far_as_the_table_says(count, t):
    values = np.random.default_rng(0).normal(size=count)
    half = t * np.std(values, ddof=1) / math.sqrt(count)
    assert t_interval(values) == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=2e-4)


def test_sign_flip_is_the_share_of_all_flips_that_reach_as_far():
    values = [0.5, 0.25, -0.125, 1.0, 0.75]
    flips = [
        sum(sign * value for sign, value in zip(signs, values, strict=True)) for signs in product((-1, 1), repeat=5)
    ]
    exact = np.mean([abs(total) >= abs(sum(values)) for total in flips])
    assert sign_flip(values) == pytest.approx(exact, abs=0.02)


def test_median_ratio():
    draw = np.random.default_rng(2)
    value, low, high = median_ratio(draw.normal(2.0, 0.1, 60), draw.normal(4.0, 0.1, 60))
    assert low < 0.5 < high
    assert high - low < 0.06
    assert value == pytest.approx(0.5, abs=0.02)
    assert median_ratio([3.0, 3.0], [6.0, 6.0]) == (0.5, 0.5, 0.5)
    assert median_ratio([3.0], [5.0, 6.0, 7.0])[0] == 0.5


def test_median_ratio_is_the_percentile_bootstrap_of_scipy():
    draw = np.random.default_rng(3)
    groups = draw.normal(2.0, 0.5, 7), draw.normal(4.0, 0.5, 5)

    def ratio(one, other, axis):
        return np.median(one, axis=axis) / np.median(other, axis=axis)

    found = stats.bootstrap(groups, ratio, n_resamples=9_999, method="percentile", rng=np.random.default_rng(0))
    assert median_ratio(*groups)[1:] == pytest.approx(tuple(found.confidence_interval))


def test_the_mean_of_groups_has_the_interval_of_a_bootstrap_within_groups():
    draw = np.random.default_rng(0)
    strata = [(draw.random(count) < share).astype(float) for count, share in ((300, 0.8), (150, 0.6), (200, 0.9))]
    means = [np.mean([draw.choice(values, len(values)).mean() for values in strata]) for _ in range(4000)]
    low, high = stratified_interval([values.tolist() for values in strata])
    assert (low, high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.004)
