"""A trial is compared with those of its own arm that came as far."""

import pytest

from harness.search.pruning import below_median

OTHERS = [{10: 0.4}, {10: 0.5}, {10: 0.6}, {5: 0.99}]


@pytest.mark.parametrize(("value", "pruned"), [(0.2, True), (0.5, False), (0.9, False)])
def test_below_the_median_of_those_that_reached_the_step(value, pruned):
    assert below_median({10: value}, OTHERS, 10, 3, 1.0) == pruned
    assert below_median({10: 1 - value}, [{at: 1 - v for at, v in other.items()} for other in OTHERS], 10, 3, -1.0) == (
        pruned
    )
    assert not below_median({10: value}, OTHERS, 10, 4, 1.0)


def test_the_best_so_far_counts():
    assert not below_median({5: 0.7, 10: 0.1}, OTHERS, 10, 3, 1.0)
    assert below_median({5: 0.1, 10: 0.1, 15: 0.9}, OTHERS, 10, 3, 1.0)
