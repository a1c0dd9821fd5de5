"""Arms are compared on like draws, and a resumed study proposes what an undisturbed one would."""

import dataclasses
import math
from collections import Counter

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from torch.quasirandom import SobolEngine

from harness.cluster.assignments import schedule
from harness.config import Choice, ExtraArmConfig, Range, SweepConfig
from harness.search import Arm, arms, proposals
from harness.search.plan import Earlier, SearchPlan
from harness.search.proposals import _seed
from tests.test_record import make

LR = Range(low=1e-4, high=1e-2, log=True)
SCALE = Range(low=0.5, high=8.0)
ARM = Arm("rank=1", {"lora.rank": 1}, {"optimizer.lr": LR, "lora.scale": SCALE})


def propose(arm, index, seed, startup, objective, entries, **search):
    """What is proposed after trials that have these records."""
    plan = SearchPlan(seed=seed, startup=startup, objective=objective, **search)
    return proposals.propose(arm, index, plan, [Earlier(entry.point, entry) for entry in entries])


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


def as_it_was(arm, index, seed, startup, entries):
    """What was proposed while every dimension was a range of floats."""
    if index < startup:
        unit = SobolEngine(len(arm.nuisance), scramble=True, seed=seed).draw(index + 1)[index].tolist()
        values = {}
        for (key, bounds), fraction in zip(arm.nuisance.items(), unit, strict=True):
            scale, back = (math.log, math.exp) if bounds.log else (float, float)
            values[key] = back(scale(bounds.low) + fraction * (scale(bounds.high) - scale(bounds.low)))
    else:
        ranges = {
            key: FloatDistribution(bounds.low, bounds.high, log=bounds.log) for key, bounds in arm.nuisance.items()
        }
        sampler = optuna.samplers.TPESampler(seed=_seed(seed, arm.name, index), n_startup_trials=1)
        study = optuna.create_study(sampler=sampler, direction="maximize")
        for entry in entries:
            score = entry.scores["val"]["accuracy"]
            study.add_trial(optuna.trial.create_trial(value=score, params=entry.point, distributions=ranges))
        values = study.ask(ranges).params
    return {
        key: min(max(float(f"{value:.3g}"), arm.nuisance[key].low), arm.nuisance[key].high)
        for key, value in values.items()
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.booleans(), st.integers(1, 4), st.integers(0, 12))
def test_ranges_of_floats_are_searched_as_ever(seed, log, keys, index):
    bounds = Range(low=0.001 + 0.1 * seed, high=1000.0, log=log)
    every = {"z": bounds, "y": LR, "x": SCALE, "w": bounds}
    arm = Arm("a", {}, {key: every[key] for key in list(every)[:keys]})
    before = []
    for at in range(index):
        point = propose(arm, at, seed, 4, "accuracy", before)
        before.append(make(at, point=point, scores={"val": {"accuracy": math.sin(at), "loss": 0.0}}))
    assert propose(arm, index, seed, 4, "accuracy", before) == as_it_was(arm, index, seed, 4, before)


RANK = Range(low=1, high=8, integer=True, log=True)
MIXED = {
    "ratio": Range(low=1.5, high=16.0, log=True, when={"variant": ["plus", "both"]}),
    "lr": LR,
    "rank": RANK,
    "variant": Choice(choices=["plain", "plus", "both"]),
    "targets": Choice(choices=[["query"], ["query", "value"]]),
    "steps": Range(low=10, high=30, integer=True, step=10),
    "share": Range(low=0.0, high=0.3, step=0.1),
    "depth": Range(low=1, high=3, integer=True, when={"variant": "both", "targets": ["query", "value"]}),
}
SPACE = Arm("mixed", {}, MIXED)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(0, 12))
def test_points_of_a_mixed_space_have_the_keys_and_values_that_they_may_have(seed, index):
    before = []
    for at in range(index + 1):
        point = propose(SPACE, at, seed, 4, "accuracy", before)
        assert point == propose(SPACE, at, seed, 4, "accuracy", before)
        assert ("ratio" in point) == (point["variant"] != "plain")
        assert ("depth" in point) == (point["variant"] == "both" and point["targets"] == ["query", "value"])
        assert list(point) == [key for key in MIXED if key in point]
        assert point["rank"] in range(1, 9)
        assert point["targets"] in (["query"], ["query", "value"])
        assert point["steps"] in (10, 20, 30)
        assert point["share"] in (0.0, 0.1, 0.2, 0.3)
        assert point.get("depth", 1) in (1, 2, 3)
        assert {type(point[key]) for key in ("rank", "steps")} == {int}
        before.append(make(at, point=point, scores={"val": {"accuracy": math.sin(at), "loss": 0.0}}))


def test_startup_draws_every_choice_and_step_alike_and_integers_alike_on_their_scale():
    points = [propose(SPACE, index, 0, 512, "accuracy", []) for index in range(512)]
    for key, values in {"variant": 3, "steps": 3, "share": 4}.items():
        counts = Counter(point[key] for point in points)
        assert len(counts) == values
        assert max(counts.values()) - min(counts.values()) <= 0.03 * 512
    ranks = Counter(point["rank"] for point in points)
    for rank in range(1, 9):  # as Optuna draws: the logarithm is even from one half below to one half above
        share = math.log((rank + 0.5) / (rank - 0.5)) / math.log(8.5 / 0.5)
        assert ranks[rank] / 512 == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    ("good", "drawn"),  # and how many of 20 even draws would be good
    [
        (lambda point: point["rank"] >= 5, 4),
        (lambda point: point["targets"] == ["query", "value"], 10),
        (lambda point: point["variant"] == "both", 7),
        (lambda point: point["steps"] == 30, 7),
        (lambda point: point.get("ratio", 0) > 8, 4),
    ],
    ids=["integer", "lists", "names", "steps", "conditional"],
)
def test_tpe_leans_to_what_was_good(good, drawn):
    draws = [propose(SPACE, index, 0, 32, "accuracy", []) for index in range(32)]
    told = history([(point, float(good(point))) for point in draws])
    proposals = [propose(SPACE, 32 + index, 0, 32, "accuracy", told) for index in range(20)]
    assert sum(map(good, proposals)) >= drawn + 4
