"""Verdicts over seeds and items, held against scipy's Dunnett and paired t, and against worlds with a known truth."""

import numpy as np
import pytest
from scipy import stats

from harness.report import two_level
from harness.report.two_level import Comparison, compare, critical, detectable, equal_within, mean_of

TEXT, SPEECH = 0.006, 0.012
"""The sd over seeds of an arm's true accuracy, as measured on movie snippets and on spoken digits."""
DISAGREE = 0.11
"""On how many test items two seeds of one arm differ there: 8 to 14 %."""


def kinds_of(arms):
    """Full fine-tuning, adapters, and a frozen base as the last."""
    return {str(arm): {0: "full", arms - 1: "head"}.get(arm, "adapter") for arm in range(arms)}


BETWEEN = 0.0096
"""The variance over test items of what adapters and full fine-tuning score differently on one, over many seeds."""


def world(draw, leads, seeds, run_sd, items=1_272, disagree=DISAGREE, between=0.0):
    """Studies with a known truth: arms 0, 1, … lead by so much; an item is answered with a chance of its own.

    `run_sd` is of every arm, or one for each; `between` is the variance over items of what two arms do differently.
    """
    mean = 0.8
    ratio = disagree / 2 / (mean * (1 - mean))
    weight = ratio / (1 - ratio)
    chances = draw.beta(mean * weight, (1 - mean) * weight, size=items)
    slopes = chances * (1 - chances)
    slopes /= slopes.mean()  # items that are never or always answered do not move
    lifts = np.array(leads)[:, None] + draw.normal(0, 1, (len(leads), seeds)) * np.reshape(run_sd, (-1, 1))
    liked = draw.normal(0, np.sqrt(between / 2), (len(leads), 1, items)) * slopes / np.sqrt((slopes**2).mean())
    shifted = np.clip(chances + lifts[:, :, None] * slopes + liked, 0, 1)
    right = draw.random(shifted.shape) < shifted
    return {str(arm): values.astype(float) for arm, values in enumerate(right)}


@pytest.mark.parametrize(("arms", "size"), [(3, 4), (5, 9), (8, 3)])
def test_the_reach_of_simultaneous_intervals_is_dunnetts(arms, size):
    draw = np.random.default_rng(0)
    samples = draw.normal(size=(arms, size))
    control, others = samples[0], samples[1:]
    found = stats.dunnett(*others, control=control, rng=np.random.default_rng(0)).confidence_interval(0.95)
    pooled = np.sqrt(samples.var(axis=1, ddof=1).mean() * 2 / size)
    half = (found.high - found.low) / 2
    assert critical(arms - 1, arms * (size - 1)) == pytest.approx(half[0] / pooled, rel=5e-3)


def test_one_comparison_of_scores_alone_is_welchs_t_test():
    draw = np.random.default_rng(1)
    first, second = draw.normal(0.8, 0.01, 5), draw.normal(0.8, 0.03, 5)
    gap = compare({"a": first[:, None], "b": second[:, None]}, "b", {"a": "adapter", "b": "full"})["a"]
    theirs = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (gap.low, gap.high) == pytest.approx((theirs.low, theirs.high), rel=1e-3)  # degrees of freedom to a tenth


def test_two_adapters_are_compared_by_one_spread_as_in_students_t_test():
    draw = np.random.default_rng(2)
    first, second = draw.normal(0.8, 0.01, (2, 5))
    alike = np.stack([first, second.mean() - (first - first.mean())])  # one spread
    gap = compare({"a": alike[0][:, None], "b": alike[1][:, None]}, "b", {"a": "adapter", "b": "adapter"})["a"]
    theirs = stats.ttest_ind(*alike).confidence_interval(0.95)
    assert (gap.low, gap.high) == pytest.approx((theirs.low, theirs.high))
    assert gap.freedom == pytest.approx(8)


def test_a_steady_arm_does_not_narrow_the_interval_of_another_kind():
    draw = np.random.default_rng(3)
    scores = draw.normal(0.8, 0.02, (4, 6))
    steady = scores.copy()
    steady[3] = 0.7
    before, after = (
        compare({str(arm): row[:, None] for arm, row in enumerate(rows)}, "0", kinds_of(4)) for rows in (scores, steady)
    )
    assert after["1"] == before["1"]


def test_an_adapter_that_moves_more_than_the_others_is_judged_by_its_own_spread():
    draw = np.random.default_rng(4)
    scores = draw.normal(0.8, 0.001, (5, 6))
    scores[2] = draw.normal(0.8, 0.05, 6)
    gaps = compare({str(arm): row[:, None] for arm, row in enumerate(scores)}, "0", kinds_of(5))
    assert gaps["2"].standard_error == pytest.approx(np.sqrt((scores[2].var(ddof=1) + scores[0].var(ddof=1)) / 6))


def test_items_that_all_seeds_agree_on_count_once():
    draw = np.random.default_rng(4)
    first, second = draw.random((2, 1, 500)) < 0.8
    seeds = 6
    items = {"a": np.repeat(first, seeds, 0).astype(float), "b": np.repeat(second, seeds, 0).astype(float)}
    gap = compare(items, "b", {"a": "adapter", "b": "full"})["a"]
    assert gap.standard_error == pytest.approx(stats.sem(items["a"][0] - items["b"][0]))


def test_runs_that_miss_as_many_but_other_items_leave_the_width_of_chance():
    items = {"perfect": np.ones((3, 50)), "a": np.ones((3, 50))}
    items["a"][range(3), [4, 20, 31]] = 0
    gap = compare(items, "perfect", {"perfect": "full", "a": "adapter"})["a"]
    assert gap.standard_error == pytest.approx(np.sqrt(0.02 * 0.98 / 150), rel=0.03), "as of 150 independent answers"
    assert gap.low < -0.02 < 0 < gap.high
    assert gap.verdict(0.01) == "not decided"
    assert mean_of(items["a"]).low < 0.97


def test_verdicts_are_what_the_interval_says():
    def verdict(low, high):
        return Comparison((low + high) / 2, low, high, 0.0, 1.0, 0.0).verdict(0.01)

    assert verdict(0.001, 0.02) == "better"
    assert verdict(-0.02, -0.001) == "worse"
    assert verdict(-0.009, 0.009) == "equal within the margin"
    assert verdict(-0.02, 0.001) == "not decided"


@pytest.fixture
def coarse(monkeypatch):
    """Degrees of freedom to two digits: intervals are less than a percent off, and studies share the costly part."""

    def rounded(comparisons, freedom):
        return critical(comparisons, float(f"{min(freedom, 1e6):.2g}"))

    monkeypatch.setattr(two_level, "critical", rounded)


def called(draws, leads, seeds, run_sd, between=0.0):
    """Shares of studies: with a false call, with all intervals right; and with the true leads called."""
    draw = np.random.default_rng(5)
    false = covered = found = 0
    for _ in range(draws):
        gaps = compare(world(draw, leads, seeds, run_sd, between=between), "0", kinds_of(len(leads)))
        truth = {name: leads[int(name)] - leads[0] for name in gaps}
        said = {name: gap.verdict(0.01) for name, gap in gaps.items()}
        false += any(word in ("better", "worse") for name, word in said.items() if truth[name] == 0)
        covered += all(gap.low <= truth[name] <= gap.high for name, gap in gaps.items())
        found += all(said[name] == "better" for name in gaps if truth[name] > 0)
    return false / draws, covered / draws, found / draws


CHANCE = 2 * np.sqrt(0.05 * 0.95 / 1_000)
"""Two standard errors of a share of 5 % in a thousand studies."""


@pytest.mark.parametrize("run_sd", [TEXT, SPEECH])
@pytest.mark.parametrize("seeds", [3, 8])
def test_of_a_thousand_studies_of_equal_arms_one_in_twenty_calls_a_difference(run_sd, seeds, coarse):
    false, covered, _ = called(1_000, [0.0] * 7, seeds, run_sd)
    assert false <= 0.05 + CHANCE
    assert 0.95 - CHANCE <= covered <= 0.97 + CHANCE


@pytest.mark.parametrize("seeds", [3, 8])
def test_arms_that_vary_otherwise_are_not_called_different_more_often(seeds, coarse):
    sds = [2 * TEXT, TEXT, TEXT, TEXT, TEXT / 6]  # full fine-tuning moves most, a frozen base hardly
    false, _, _ = called(1_000, [0.0] * 5, seeds, sds)
    assert false <= 0.05 + CHANCE


@pytest.mark.parametrize("adapters", [2, 5])
@pytest.mark.parametrize("unstable", [0.01, 0.05])
def test_one_adapter_that_moves_far_more_than_the_others_is_not_called_different_more_often(adapters, unstable, coarse):
    kept = [0.003, unstable, *[0.003] * adapters]  # and a frozen base
    false, _, _ = called(400, [0.0] * len(kept), 3, kept)
    assert false <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_an_adapter_apart_from_its_like_is_compared_by_welchs_t_test_with_its_own_freedom():
    draw = np.random.default_rng(8)
    scores = draw.normal(0.8, 0.001, (4, 3))
    scores[1] = [0.75, 0.8, 0.87]
    gap = compare({str(arm): row[:, None] for arm, row in enumerate(scores[:3])}, "0", kinds_of(4))["1"]
    theirs = stats.ttest_ind(scores[1], scores[0], equal_var=False)
    assert gap.freedom == pytest.approx(theirs.df, rel=1e-6)


POWERS = {(8, TEXT): 0.95, (8, SPEECH): 0.55, (3, TEXT): 0.34}
"""How often a lead of 2 points is called, as docs/explanation/answers.md has it."""


@pytest.mark.parametrize(("seeds", "run_sd"), POWERS)
def test_a_lead_of_two_points_is_found_as_often_as_the_page_says(seeds, run_sd, coarse):
    _, _, found = called(600, [0.0, 0.02, 0.0, 0.0, 0.0], seeds, run_sd)
    assert found == pytest.approx(POWERS[seeds, run_sd], abs=0.05)


@pytest.mark.parametrize("between", [0.0, BETWEEN, 3 * BETWEEN])
def test_the_difference_that_is_announced_has_the_power_that_is_announced(between, coarse):
    lead = detectable(5, 8, 1_272, run_sd=TEXT, disagreement=DISAGREE, between=between)
    _, _, found = called(500, [0.0, lead, 0.0, 0.0, 0.0], 8, TEXT, between)
    assert found == pytest.approx(0.8, abs=0.07)


EQUAL = {3: 0.71, 8: 0.78}
"""How often adapters are called equal within the margin that is planned, as docs/explanation/answers.md has it."""


@pytest.mark.parametrize("seeds", EQUAL)
def test_equal_adapters_are_called_so_within_the_margin_that_is_planned(seeds, coarse):
    """With three seeds less often than in 80 %: an arm that moves more than its like is judged by its own spread."""
    margin = equal_within(5, seeds, 1_272, run_sd=TEXT, disagreement=DISAGREE, between=BETWEEN)
    draw, equal = np.random.default_rng(7), []
    for _ in range(120):
        gaps = compare(world(draw, [0.0] * 5, seeds, TEXT, between=BETWEEN), "0", kinds_of(5))
        equal += [gaps[arm].verdict(margin) == "equal within the margin" for arm in ("1", "2", "3")]
    assert np.mean(equal) == pytest.approx(EQUAL[seeds], abs=0.08)


def test_an_arms_own_interval_holds_the_truth_of_new_seeds_and_items():
    draw = np.random.default_rng(6)
    means = [mean_of(world(draw, [0.0], 8, SPEECH)["0"]) for _ in range(500)]
    assert 0.93 <= np.mean([found.low <= 0.8 <= found.high for found in means]) <= 0.975
