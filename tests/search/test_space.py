"""Arms are compared on like draws, and a resumed study proposes what an undisturbed one would."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cluster.assignments import schedule
from harness.config import ExtraArmConfig, Range, SweepConfig
from harness.search import Arm, arms
from harness.search.proposals import propose
from tests.test_record import make

LR = Range(low=1e-4, high=1e-2, log=True)
SCALE = Range(low=0.5, high=8.0)
ARM = Arm("rank=1", {"lora.rank": 1}, {"optimizer.lr": LR, "lora.scale": SCALE})


def sweep(**changes):
    values = {
        "scientific": {"lora.rank": [1, 2], "lora.targets": [["query"], ["query", "value"]]},
        "nuisance": {"optimizer.lr": LR},
        "baselines": {"head": ExtraArmConfig(set={"lora": {"name": "head"}}, nuisance={"optimizer.head_lr": LR})},
        "trials": 3,
        "startup": 2,
        "prune_after": None,
    }
    return SweepConfig(**(values | changes))


def test_arms_are_the_product_and_then_the_baselines():
    assert [arm.name for arm in arms(sweep())] == [
        "rank=1,targets=query",
        "rank=1,targets=query+value",
        "rank=2,targets=query",
        "rank=2,targets=query+value",
        "head",
    ]
    assert arms(sweep())[1].values == {"lora.rank": 1, "lora.targets": ["query", "value"]}


def test_a_baseline_takes_every_value_that_goes_across():
    every = arms(sweep(scientific={"task.train_rows": [50, None], "lora.rank": [1]}, across=["task.train_rows"]))
    assert [arm.name for arm in every] == [
        "train_rows=50,rank=1",
        "train_rows=all,rank=1",
        "head,train_rows=50",
        "head,train_rows=all",
    ]
    assert every[2].values == {"lora": {"name": "head"}, "task.train_rows": 50}


def test_the_schedule_treats_arms_alike_and_keeps_numbers_when_trials_are_added():
    few, more = schedule(arms(sweep()), 2), schedule(arms(sweep()), 3)
    assert more[: len(few)] == few
    assert [slot.number for slot in more] == list(range(15))
    assert [slot.arm.name for slot in more[:5]] == [slot.arm.name for slot in more[5:10]]
    assert {slot.index for slot in more[10:]} == {2}


def history(points):
    return [
        make(number, point=point, scores={"val": {"accuracy": score, "loss": 1 - score}})
        for number, (point, score) in enumerate(points)
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(0, 3), st.floats(1e-6, 1.0), st.floats(1.5, 1e4))
def test_proposals_stay_in_their_range(seed, index, low, factor):
    bounds = Range(low=low, high=low * factor, log=True)
    point = propose(Arm("a", {}, {"x": bounds}), index, seed, 2, "accuracy", history([({"x": low}, 0.5)]))
    assert bounds.low <= point["x"] <= bounds.high


def test_startup_points_are_the_same_unit_points_in_every_arm():
    full = Arm("full", {}, {"optimizer.lr": Range(low=1e-5, high=1e-3, log=True), "lora.scale": SCALE})
    for index in range(4):
        one, other = (propose(arm, index, 7, 4, "accuracy", []) for arm in (ARM, full))
        assert math.log10(other["optimizer.lr"]) == pytest.approx(math.log10(one["optimizer.lr"]) - 1, abs=0.02)
        assert other["lora.scale"] == one["lora.scale"]
    assert propose(ARM, 0, 7, 4, "accuracy", []) != propose(ARM, 1, 7, 4, "accuracy", [])
    assert propose(ARM, 0, 7, 4, "accuracy", []) != propose(ARM, 0, 8, 4, "accuracy", [])


def test_later_points_are_a_function_of_the_records_and_lean_to_what_was_good():
    draws = [propose(ARM, index, 0, 32, "accuracy", []) for index in range(32)]
    good = [(point, 1 - abs(math.log10(point["optimizer.lr"]) + 3)) for point in draws]
    proposals = [propose(ARM, 32 + i, 0, 32, "accuracy", history(good)) for i in range(20)]
    again = [propose(ARM, 32 + i, 0, 32, "accuracy", history(good)) for i in range(20)]
    assert proposals == again
    near = sum(abs(math.log10(point["optimizer.lr"]) + 3) < 0.4 for point in proposals)
    assert near >= 14  # a uniform draw would have 8
    as_loss = [
        dataclasses.replace(entry, scores={"val": {"loss": entry.scores["val"]["accuracy"]}}) for entry in history(good)
    ]
    flipped = [propose(ARM, 32 + i, 0, 32, "loss", as_loss) for i in range(20)]
    assert sum(abs(math.log10(point["optimizer.lr"]) + 3) < 0.4 for point in flipped) < 8


def test_failed_trials_teach_nothing_and_pruned_ones_do():
    failed = [make(0, state="fail", scores={}, point={"optimizer.lr": 1e-3, "lora.scale": 1.0})]
    assert propose(ARM, 3, 0, 1, "accuracy", failed) == propose(ARM, 3, 0, 1, "accuracy", [])
    pruned = [make(0, state="pruned", point={"optimizer.lr": 1e-3, "lora.scale": 1.0})]
    assert propose(ARM, 3, 0, 1, "accuracy", pruned) != propose(ARM, 3, 0, 1, "accuracy", [])
