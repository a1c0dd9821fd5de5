"""An arm learns from its neighbours' trials: moved to its level, alike for any number of workers, and to its gain."""

import math
import statistics

import numpy as np
import pytest

from harness.config import Choice, ConfigError, Range
from harness.config.arms import Arm, arms
from harness.search.checks import check_search
from harness.search.plan import Earlier, SearchPlan
from harness.search.proposals import propose
from harness.search.transfer import lent
from tests.cluster import crowd, stub
from tests.test_record import make

PLAN = SearchPlan(seed=0, startup=3, objective="accuracy", sampler={"name": "tpe"})
SPACE = {"lr": Range(low=1e-4, high=1e-1, log=True)}


def trial(lr, score, state="complete", objective="accuracy"):
    return Earlier({"lr": lr}, make(0, point={"lr": lr}, state=state, scores={"val": {objective: score}}))


def test_a_neighbours_scores_are_moved_by_the_mean_difference_at_common_points():
    own = [trial(0.001, 0.60), trial(0.002, 0.70), trial(0.003, 0.10, "pruned"), Earlier({"lr": 0.02}, None)]
    near = [trial(0.001, 0.80), trial(0.002, 0.86), trial(0.003, 0.9), trial(0.004, 0.84), trial(0.005, 0.9, "fail")]
    stranger = [trial(0.006, 0.99)]
    found = {known.point["lr"]: known.values for known in lent(own, [near, stranger], PLAN)}
    shift = ((0.60 - 0.80) + (0.70 - 0.86)) / 2
    expected = {0.001: 0.80 + shift, 0.002: 0.86 + shift, 0.003: 0.9 + shift, 0.004: 0.84 + shift}
    assert found.keys() == expected.keys()
    for lr, (value,) in found.items():
        assert value == pytest.approx(expected[lr], abs=1e-12)


def test_without_neighbours_nothing_changes():
    arm = Arm("a", {}, SPACE)
    own = [trial(0.001 * (1 + at), 0.5 + 0.01 * at) for at in range(4)]
    assert propose(arm, 4, PLAN, own, [[trial(0.5, 0.9)]]) == propose(arm, 4, PLAN, own), "no common point"


def search(seed, transfer):
    """Six arms whose best rates are nearly the same and whose levels are far apart; how far each ends from its best."""
    plan = SearchPlan(seed=seed, startup=3, objective="accuracy", sampler={"name": "tpe"})
    draw = np.random.default_rng(seed)
    all_arms = [Arm(f"rank {2**at}", {}, SPACE) for at in range(6)]
    known = {arm.name: [] for arm in all_arms}
    for index in range(6):
        points = {}
        for arm in all_arms:
            near = [trials for name, trials in known.items() if name != arm.name] if transfer else []
            points[arm.name] = propose(arm, index, plan, known[arm.name], near)
        for at, arm in enumerate(all_arms):
            score = 0.1 * at - distance(at, points[arm.name]) ** 2 / 50 + float(draw.normal(0, 0.006))
            known[arm.name].append(trial(points[arm.name]["lr"], score))
    best = {name: max(trials, key=lambda each: each.entry.score("val", "accuracy")) for name, trials in known.items()}
    return [distance(at, best[arm.name].point) for at, arm in enumerate(all_arms)]


def distance(at, point):
    return abs(math.log(point["lr"] / 3e-3) + 0.1 * at)


def test_arms_that_are_alike_come_nearer_to_their_best_points():
    without, with_it = ([d for seed in range(8) for d in search(seed, transfer)] for transfer in (False, True))
    assert statistics.fmean(with_it) < 0.9 * statistics.fmean(without)


WRONG = [
    (["sweep.sampler=random"], "sweep.transfer=true: sweep.sampler=random does not learn from trials; tpe and gp"),
    (["sweep.sampler=cmaes"], "sweep.transfer=true: sweep.sampler=cmaes learns from its own trials alone; tpe and gp"),
    (["sweep.mode=joint"], "sweep.transfer=true: of sweep.mode=compared; in the joint mode one arm has all trials"),
    (["sweep.scientific={lora.rank: [4]}"], "sweep.transfer=true: fewer than two arms are compared, baselines aside"),
    (["sweep.constraints={memory: 1e9}"], "sweep.transfer=true: memory is an arm's own figure; arms learn the valid"),
    (
        ["sweep.pruner=asynchronous_halving", "sweep.prune_after=null"],
        "sweep.transfer=true: under sweep.pruner=asynchronous_halving no arm waits; synchronous_halving",
    ),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=[line for _, line in WRONG])
def test_what_cannot_transfer_is_refused_in_a_line(compose, words, line):
    base = ["sweep=rank_alpha_lr", "run=study", "sweep.trials=6", "trainer.evaluations=3", "sweep.transfer=true"]
    with pytest.raises(ConfigError) as caught:
        check_search(compose(*base, *words))
    assert any(said.startswith(line) for said in str(caught.value).splitlines())


@pytest.fixture
def config(compose):
    words = ["sweep.transfer=true", "sweep.trials=5", "sweep.startup=3", "~sweep.baselines.head"]
    return compose("sweep=rank_alpha_lr", "sweep.scientific={lora.rank: [1, 2, 4]}", "run=study", "study=s", *words)


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_leaves_the_records_of_one(config, tmp_path, monkeypatch, workers):
    stub.cheap(monkeypatch.setattr, 0.0)
    alone = crowd.same_for_any_number(config, tmp_path, workers, 20)
    points = {
        (entry.arm, entry.trial): entry.point for entry in alone if entry.phase == "search" and entry.arm != "full"
    }
    assert len({str(point) for point in points.values()}) > 3 + 3


def test_whoever_is_killed_the_records_are_those_of_one_worker(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    crowd.same_after_random_kills(config, tmp_path, 0.06, 5, 20)


def test_baselines_and_choices_neither_lend_nor_borrow(config):
    found = arms(config.sweep)
    assert [arm.transfer for arm in found] == [True, True, True, False]
    assert found[0].awaited == found[2].awaited != found[3].awaited == "full"
    assert Arm("a", {}, {"kind": Choice(choices=["x", "y"])}).awaited == "a"
