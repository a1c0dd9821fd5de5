"""Who is trained again is a function of the search's records, and the seeds are new ones."""

import dataclasses
import itertools

import numpy as np
import pytest

from harness.config.arms import Arm
from harness.search.confirmation import Wanted, finalists, fresh_order, fresh_seeds
from tests.test_record import make

ARMS = [Arm(f"rank={rank}", {}, {}) for rank in (1, 2, 4)] + [Arm("full", {}, {}, baseline=True)]


def entry(number, arm, accuracy, **changes):
    scores = {"val": {"accuracy": accuracy, "loss": 1 - accuracy}}
    return make(number, arm=arm, point={"optimizer.lr": 0.001 * (number + 1)}, scores=scores, **changes)


RECORDS = [
    entry(0, "rank=1", 0.70),
    entry(1, "rank=2", 0.72),
    entry(2, "rank=4", 0.71),
    entry(3, "full", 0.60),
    entry(4, "rank=1", 0.73),
    entry(5, "rank=2", 0.99, state="pruned"),
]


def test_the_best_arms_on_validation_and_every_baseline_go_on_at_their_best_points():
    found = finalists(ARMS, RECORDS, top=2)
    assert [(each.arm.name, each.trial.trial) for each in found] == [("rank=1", 4), ("rank=2", 1), ("full", 3)]
    assert found[0].point == RECORDS[4].point


def test_beside_each_baseline_of_its_own_the_best_arms_go_on():
    """More rows make every arm better: the best arms of all would all be of the most rows."""
    arms = [Arm(f"rank={rank},rows={rows}", {"rank": rank, "rows": rows}, {}) for rank in (1, 2) for rows in (50, 800)]
    arms += [Arm(f"full,rows={rows}", {"rows": rows}, {}, baseline=True) for rows in (50, 800)]
    records = [
        entry(number, arm.name, 0.5 + 0.0001 * arm.values["rows"] + number / 1000) for number, arm in enumerate(arms)
    ]
    found = finalists(arms, records, 1, Wanted({}, {}, 0.0, across=("rows",)))
    assert [each.arm.name for each in found] == ["rank=2,rows=50", "rank=2,rows=800", "full,rows=50", "full,rows=800"]


def test_neither_the_order_of_records_nor_those_that_confirm_change_who_goes_on():
    again = [dataclasses.replace(entry(9, "rank=4", 0.99), phase="confirm", trial=10_002)]
    shuffled = [RECORDS[index] for index in (5, 2, 4, 0, 3, 1)]
    assert finalists(ARMS, shuffled + again, top=2) == finalists(ARMS, RECORDS, top=2)


def test_an_arm_without_a_complete_trial_is_no_finalist():
    failed = [dataclasses.replace(item, state="fail") if item.arm == "full" else item for item in RECORDS]
    assert [each.arm.name for each in finalists(ARMS, failed, top=9)] == ["rank=1", "rank=2", "rank=4"]


def test_a_lower_loss_is_better():
    by_loss = [
        dataclasses.replace(item, objective="loss", scores={"val": {"loss": item.score("val", "accuracy")}})
        for item in RECORDS
        if item.state == "complete"
    ]
    assert [each.arm.name for each in finalists(ARMS, by_loss, top=1)] == ["rank=1", "full"]
    assert finalists(ARMS, by_loss, top=1)[0].trial.trial == 0


def test_more_seeds_begin_with_the_fewer_and_no_search_had_them():
    assert fresh_seeds(3, 8)[:3] == fresh_seeds(3, 3)
    drawn = [seed for study in range(20) for seed in fresh_seeds(study, 50)]
    assert len(set(drawn)) == len(drawn)
    assert not set(drawn) & set(range(20))


@pytest.mark.parametrize("study", [4_294_966, 20_240_531, 2**32 - 1])
def test_fresh_seeds_of_a_high_seed_are_seeds_that_numpy_takes(study):
    seeds = fresh_seeds(study, 50)
    assert len(set(seeds)) == 50
    assert all(np.random.RandomState(seed) for seed in seeds)
    names = ["a", "b", "c", "d"]
    assert {fresh_order(names, seed, study)[0] for seed in seeds[:4]} == set(names)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_in_the_orders_of_as_many_seeds_each_task_comes_once_in_each_place(count):
    names = [f"t{index}" for index in range(count)]
    for study in range(3):
        orders = [fresh_order(names, seed, study) for seed in fresh_seeds(study, 2 * count)]
        assert all(sorted(order) == names for order in orders)
        for square in (orders[:count], orders[count:]):
            assert all(len({order[place] for order in square}) == count for place in range(count))
            if count % 2 == 0:
                pairs = [pair for order in square for pair in itertools.pairwise(order)]
                assert len(set(pairs)) == len(pairs) == count * (count - 1), "each task once right after each other one"


def test_orders_are_drawn_by_the_study_and_are_more_than_one_square():
    names = ["a", "b", "c", "d"]
    found = {tuple(fresh_order(names, seed, study)) for study in range(40) for seed in fresh_seeds(study, 1)}
    assert len(found) > 10, "of 24"
    seeds = fresh_seeds(3, 8)
    assert {tuple(fresh_order(names, seed, 3)) for seed in seeds[:4]} != {
        tuple(fresh_order(names, seed, 3)) for seed in seeds[4:]
    }
