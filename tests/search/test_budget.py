"""Ranks by group keep their budget, and the exact choice is as good as the best of all choices."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.rank_budget import RankBudget, RankCosts, allocate
from harness.search.plan import SearchPlan
from tests.test_record import make

COSTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@given(COSTS, st.data())
def test_a_projected_point_uses_the_budget_and_no_rank_could_be_one_higher(costs, data):
    keys = [f"k{index}" for index in range(len(costs))]
    low, high = 1, data.draw(st.integers(2, 12))
    fixed = data.draw(st.sampled_from([0, 1, 1000]))
    most = fixed + data.draw(st.integers(sum(costs), 100))
    budget = RankBudget(dict(zip(keys, costs, strict=True)), low, high, most, fixed=fixed)
    point = {key: data.draw(st.integers(low, high)) for key in keys} | {"lr": 0.1}
    found = budget.project(point)
    assert fixed + sum(budget.costs[key] * found[key] for key in keys) == budget.used(found) <= most
    assert all(low <= found[key] <= high for key in keys)
    assert all(found[key] == high or budget.used(found) + budget.costs[key] > budget.most for key in keys)
    assert found["lr"] == 0.1
    assert list(found) == list(point)
    assert found == budget.project(point)
    for one, other in itertools.permutations(keys, 2):
        if budget.costs[one] == budget.costs[other] and point[one] > point[other]:
            assert found[one] >= found[other], "at equal costs the order stays"


@given(COSTS, st.data())
def test_no_greater_factor_fits_than_the_one_that_a_projection_takes(costs, data):
    """Of every factor at which a rounded rank changes, in exact fractions, the greatest that fits."""
    keys, high = [f"k{index}" for index in range(len(costs))], data.draw(st.integers(2, 6))
    wanted = {key: data.draw(st.integers(1, high)) for key in keys}
    most = data.draw(st.integers(sum(costs), 60))

    def ranks(factor):
        return {key: min(max(int(factor * value), 1), high) for key, value in wanted.items()}

    def used(point):
        return sum(cost * point[key] for key, cost in zip(keys, costs, strict=True))

    factors = {Fraction(rank, value) for value in wanted.values() for rank in range(1, high + 1)} | {Fraction(0)}
    best = ranks(max(factor for factor in factors if used(ranks(factor)) <= most))
    found = RankBudget(dict(zip(keys, costs, strict=True)), 1, high, most).project(wanted)
    assert all(
        best[key] <= found[key] <= best[key] + (most - used(best)) // cost
        for key, cost in zip(keys, costs, strict=True)
    )


@given(COSTS, st.data())
def test_what_comes_with_the_first_rank_is_paid_with_it_alone(costs, data):
    """DoRA's magnitudes: a projection from rank 0 on keeps the budget, and no rank in it could be one higher."""
    keys, high = [f"k{index}" for index in range(len(costs))], data.draw(st.integers(1, 5))
    present = {key: data.draw(st.integers(0, 9)) for key in keys}
    most = data.draw(st.integers(0, 80))
    budget = RankBudget(dict(zip(keys, costs, strict=True)), 0, high, most, present=present)
    found = budget.project({key: data.draw(st.integers(0, high)) for key in keys})

    def cost(ranks):
        return sum(budget.costs[key] * rank + present[key] * (rank > 0) for key, rank in ranks.items())

    assert cost(found) == budget.used(found) <= most
    assert all(rank == high or cost(found | {key: rank + 1}) > most for key, rank in found.items())


def test_optuna_is_told_the_use_of_a_budget_as_a_share_of_it():
    plan = SearchPlan(
        seed=0, startup=1, objective="accuracy", budget=RankBudget({"a": 10, "b": 1}, 1, 9, 100, fixed=50)
    )
    shares = [plan.violations(make(0, point={"a": a, "b": b})) for a, b in ((5, 0), (4, 5), (6, 1))]
    assert shares == [{"budget": 0.0}, {"budget": 95 / 100 - 1}, {"budget": 111 / 100 - 1}]
    assert plan.violations(make(0, point={"lr": 0.1})) == {}, "a baseline has no ranks by group"


def test_a_point_that_fits_exactly_stays_and_multiples_of_it_come_to_it():
    budget = RankBudget({"a": 10, "b": 20}, 0, 64, 10 * 4 + 20 * 2)
    for factor in (1, 2, 5):
        assert budget.project({"a": 4 * factor, "b": 2 * factor}) == {"a": 4, "b": 2}
    assert budget.project({"a": 0, "b": 4})["b"] == 4, "rank 0 stays where the rest uses the budget"


def test_a_group_has_no_more_than_its_own_limit_and_the_others_take_what_is_left():
    budget = RankBudget({"a": 1, "b": 1}, 0, 12, 16, {"a": 3})
    assert budget.project({"a": 1, "b": 1}) == {"a": 3, "b": 12}
    assert budget.project({"a": 5, "b": 0}) == {"a": 3, "b": 12}


@settings(max_examples=80, deadline=None)
@given(COSTS, st.data())
def test_the_allocation_is_the_best_of_all(costs, data):
    keys = [f"k{index}" for index in range(len(costs))]
    gains = {key: sorted(data.draw(st.lists(st.integers(0, 20), max_size=3)), reverse=True) for key in keys}
    most = data.draw(st.integers(0, 40))
    price = RankCosts(dict(zip(keys, costs, strict=True)), {key: data.draw(st.integers(0, 9)) for key in keys})

    def cost(ranks):
        found = zip(price.each.values(), price.present.values(), ranks, strict=True)
        return sum(each * rank + present * (rank > 0) for each, present, rank in found)

    found = allocate(gains, price, most)
    assert cost(found.values()) == price.used(found) <= most
    ranges = [range(len(gains[key]) + 1) for key in keys]

    def value(ranks):
        return sum(sum(gains[key][:rank]) for key, rank in zip(keys, ranks, strict=True))

    allowed = [ranks for ranks in itertools.product(*ranges) if cost(ranks) <= most]
    assert value(found[key] for key in keys) == pytest.approx(max(map(value, allowed)))
