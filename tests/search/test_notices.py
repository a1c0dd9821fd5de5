"""What a study is told of its search before it begins."""

import pytest

from harness.config import Range, check
from harness.config.arms import Arm, arms
from harness.search.notices import notices
from harness.search.plan import Earlier, SearchPlan
from harness.search.proposals import propose, startup_point
from tests.test_record import make


@pytest.fixture
def told(tree):
    def told(*words, on_cpu=True):
        return list(notices(check(tree("sweep=rank_alpha_lr", "run=study", *words)), on_cpu=on_cpu))

    return told


@pytest.mark.parametrize(
    ("words", "on_cpu", "measured"),
    [
        (["sweep.objectives={val: maximize, step_time: minimize}"], True, "step_time"),
        (["sweep.constraints={latency: 1.0}"], True, "latency"),
        (["sweep.objectives={val: maximize, memory: minimize}"], True, ""),
        (["sweep.objectives={val: maximize, memory: minimize}"], False, "memory"),
        (["sweep.objectives={val: maximize, memory.train_peak: minimize}"], True, "memory.train_peak"),
        (["sweep.objectives={val: maximize, step_time: minimize}", "sweep.sampler=random"], True, ""),
        (["sweep.objectives={val: maximize, flops: minimize}"], False, ""),
    ],
)
def test_a_search_that_learns_from_what_is_measured_cannot_be_repeated(told, words, on_cpu, measured):
    found = told("sweep.prune_after=null", *words, on_cpu=on_cpu)
    assert [line.partition(":")[0] for line in found] == ([measured] if measured else [])


def test_the_baselines_that_a_sampler_does_not_take_are_drawn_evenly(told, tree):
    """The shipped baselines have one learning rate, and CMA-ES needs two dimensions."""
    (line,) = told("sweep.sampler=cmaes")
    assert line.startswith(
        "sweep.sampler=cmaes: does not take the dimensions of full, head, whose trials are drawn even"
    )
    config = check(tree("sweep=rank_alpha_lr", "run=study", "sweep.sampler=cmaes", "sweep.trials=8"))
    full = next(arm for arm in arms(config.sweep) if arm.name == "full")
    plan, ended = SearchPlan.of(config), []
    for index in range(8):
        ended.append(Earlier(propose(full, index, plan, ended), make(index)))
    assert [each.point for each in ended] == [startup_point(full, index, 0) for index in range(8)]


def test_a_baseline_whose_dimensions_a_sampler_takes_is_searched_by_it():
    space = {"optimizer.lr": Range(low=1e-4, high=1e-2, log=True)}
    plan = SearchPlan(seed=0, startup=1, objective="accuracy", sampler={"name": "random"})
    arm = Arm("full", {}, space, baseline=True)
    assert propose(arm, 0, plan, []) != startup_point(arm, 0, 0)
