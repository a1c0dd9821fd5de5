"""Ranks by group keep their budget, and the exact choice is as good as the best of all choices."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.search.budget import Budget, allocate

COSTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@given(COSTS, st.data())
def test_a_projected_point_uses_the_budget_and_no_rank_could_be_one_higher(costs, data):
    keys = [f"k{index}" for index in range(len(costs))]
    low, high = 1, data.draw(st.integers(2, 12))
    budget = Budget(dict(zip(keys, costs, strict=True)), low, high, data.draw(st.integers(sum(costs), 100)))
    point = {key: data.draw(st.integers(low, high)) for key in keys} | {"lr": 0.1}
    found = budget.project(point)
    assert budget.used(found) <= budget.most
    assert all(low <= found[key] <= high for key in keys)
    assert all(found[key] == high or budget.used(found) + budget.costs[key] > budget.most for key in keys)
    assert found["lr"] == 0.1
    assert list(found) == list(point)
    assert found == budget.project(point)
    for one, other in itertools.permutations(keys, 2):
        if budget.costs[one] == budget.costs[other] and point[one] > point[other]:
            assert found[one] >= found[other], "at equal costs the order stays"


def test_a_point_that_fits_exactly_stays_and_multiples_of_it_come_to_it():
    budget = Budget({"a": 10, "b": 20}, 0, 64, 10 * 4 + 20 * 2)
    for factor in (1, 2, 5):
        assert budget.project({"a": 4 * factor, "b": 2 * factor}) == {"a": 4, "b": 2}
    assert budget.project({"a": 0, "b": 4})["b"] == 4, "rank 0 stays where the rest uses the budget"


def test_a_group_has_no_more_than_its_own_limit_and_the_others_take_what_is_left():
    budget = Budget({"a": 1, "b": 1}, 0, 12, 16, {"a": 3})
    assert budget.project({"a": 1, "b": 1}) == {"a": 3, "b": 12}
    assert budget.project({"a": 5, "b": 0}) == {"a": 3, "b": 12}


@settings(max_examples=80, deadline=None)
@given(COSTS, st.data())
def test_the_allocation_is_the_best_of_all(costs, data):
    keys = [f"k{index}" for index in range(len(costs))]
    gains = {key: sorted(data.draw(st.lists(st.integers(0, 20), max_size=3)), reverse=True) for key in keys}
    most, price = data.draw(st.integers(0, 40)), dict(zip(keys, costs, strict=True))
    found = allocate(gains, price, most)
    assert sum(price[key] * rank for key, rank in found.items()) <= most
    ranges = [range(len(gains[key]) + 1) for key in keys]

    def value(ranks):
        return sum(sum(gains[key][:rank]) for key, rank in zip(keys, ranks, strict=True))

    allowed = [
        ranks
        for ranks in itertools.product(*ranges)
        if sum(price[key] * rank for key, rank in zip(keys, ranks, strict=True)) <= most
    ]
    assert value(found[key] for key in keys) == pytest.approx(max(map(value, allowed)))
