"""Any sampler proposes a function of the records; and Optuna's own way of asking, trial by trial, gives the same."""

import dataclasses
import math

import optuna
import pytest
from optuna.trial import TrialState

from harness.config import Choice, Range
from harness.config.arms import Arm
from harness.config.rank_budget import RankBudget
from harness.search import methods
from harness.search.plan import Earlier, SearchPlan
from harness.search.proposals import _sampler_seed, propose
from harness.search.space import parameters, suggest
from tests.test_record import make

NUMBERS = {
    "lr": Range(low=1e-4, high=1e-2, log=True),
    "rank": Range(low=1, high=64, integer=True, log=True),
    "rows": Range(low=10, high=30, integer=True, step=10),
}
STEPS = {
    "rank": Range(low=1, high=8, integer=True),
    "targets": Choice(choices=[["query"], ["query", "value"]]),
    "share": Range(low=0.0, high=0.3, step=0.1),
}
CONDITIONS = STEPS | {"share": Range(low=0.0, high=0.3, step=0.1, when={"targets": ["query", "value"]})}
METHODS = {
    "tpe": (CONDITIONS, {"group": True, "multivariate": True}),
    "gp": (NUMBERS, {}),
    "cmaes": (NUMBERS, {}),
    "nsgaii": (CONDITIONS, {"population_size": 4}),
    "nsgaiii": (CONDITIONS, {"population_size": 4}),
    "random": (CONDITIONS, {}),
    "qmc": (NUMBERS, {"scramble": True, "qmc_type": "halton"}),
    "grid": (STEPS, {}),
    "brute_force": (CONDITIONS, {}),
}


def score_of(point):
    """Best at rank 4 and lr 1e-3."""
    return -abs(math.log(point.get("lr", 1e-3) / 1e-3)) - abs(math.log(point["rank"] / 4))


def entry(number, point):
    state = ("complete", "complete", "pruned", "fail")[number % 4 if number > 3 else 0]
    return make(number, point=point, state=state, scores={"val": {"accuracy": score_of(point), "loss": 0.0}})


def run(name, trials, lag=0, seed=0, bracket=0):
    """The points of a whole study."""
    space, arguments = METHODS[name]
    arm, plan = Arm("a", {}, space, lag=lag, bracket=bracket), plan_of(name, arguments, seed)
    ended = []
    for index in range(trials):
        first = index // bracket * bracket if bracket else index - lag
        seen = [Earlier(each.point, each if at < first else None) for at, each in enumerate(ended)]
        ended.append(entry(index, propose(arm, index, plan, seen)))
    return [each.point for each in ended]


def plan_of(name, arguments, seed=0):
    return SearchPlan(seed=seed, startup=4, objective="accuracy", sampler={"name": name} | arguments)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("lag", [0, 3])
def test_points_are_of_the_space_and_repeatable(name, lag):
    space = METHODS[name][0]
    count = 10 if name == "gp" else 16
    points = run(name, count, lag)
    assert points == run(name, count, lag)
    assert points != run(name, count, lag, seed=1)
    for point in points:
        assert all(space[key].holds(value) for key, value in point.items())
        assert list(point) == [key for key in space if key in point]


@pytest.mark.parametrize("name", ["nsgaii", "gp"])
def test_what_lies_within_the_lag_is_not_read(name):
    """The scores of the last two trials may be anything; their points are known, as Optuna knows running trials'."""
    space, arguments = METHODS[name]
    arm, plan = Arm("a", {}, space, lag=2), plan_of(name, arguments)
    ended = [entry(at, point) for at, point in enumerate(run(name, 18, 2))]
    others = [make(at, point=each.point, scores={"val": {"accuracy": -each.trial}}) for at, each in enumerate(ended)]

    def proposed(entries):
        return propose(arm, 18, plan, [Earlier(each.point, each) for each in entries])

    assert proposed(ended) == proposed([*ended[:16], *others[16:]])
    assert proposed(ended) != proposed([*others[:16], *ended[16:]]), "scores before the lag are read"


@pytest.mark.parametrize("name", ["nsgaii", "tpe"])
def test_a_bracket_is_proposed_from_those_before_it(name):
    """Whatever its own trials score, and whichever of them have ended."""
    space, arguments = METHODS[name]
    arm, plan = Arm("a", {}, space, bracket=6), plan_of(name, arguments)
    ended = [entry(at, point) for at, point in enumerate(run(name, 18, bracket=6))]
    others = [make(at, point=each.point, scores={"val": {"accuracy": -each.trial}}) for at, each in enumerate(ended)]

    def proposed(entries):
        seen = [Earlier(each.point, each) for each in entries]
        return [propose(arm, index, plan, seen[:index]) for index in range(13, 18)]

    assert proposed(ended) == proposed([*ended[:12], *others[12:]])
    assert proposed(ended) != proposed([*others[:12], *ended[12:]])


def test_a_genetic_sampler_is_taken_up_where_optuna_itself_would_be():
    """NSGA-II counts generations in its study: the truth is a study that was never interrupted."""
    space, arguments = METHODS["nsgaii"]
    arm, plan = Arm("a", {}, space), plan_of("nsgaii", arguments)
    study, truth = optuna.create_study(direction="maximize"), []
    for index in range(16):
        study.sampler = methods.make_sampler(plan.sampler, space, _sampler_seed(arm, index, plan))
        if index < 4:
            study.enqueue_trial(parameters(arm, propose(arm, index, plan, [])))
        trial = study.ask()
        truth.append(suggest(trial, arm))
        made = entry(index, truth[-1])
        if made.state == "complete":
            study.tell(trial, score_of(truth[-1]))
        else:
            study.tell(trial, state=TrialState.PRUNED if made.state == "pruned" else TrialState.FAIL)
    assert run("nsgaii", 16) == truth


def test_grid_and_brute_force_come_through_all_points_once():
    assert len({tuple(map(str, point.items())) for point in run("grid", 64)}) == 8 * 2 * 4
    assert len({tuple(map(str, point.items())) for point in run("brute_force", 40)}) == 8 * (1 + 4)
    assert len({tuple(map(str, point.items())) for point in run("brute_force", 40, lag=3)}) == 8 * (1 + 4)


def test_a_model_finds_the_best_rank_and_random_draws_do_not_lean_to_it():
    assert sum(point["rank"] in (3, 4, 5) for point in run("gp", 16)[8:]) >= 5
    assert sum(point["rank"] in (3, 4, 5) for point in run("random", 40)[8:]) <= 20


def test_tpe_by_name_proposes_what_is_proposed_by_default():
    arm = Arm("a", {}, CONDITIONS)
    seen = [Earlier(each.point, each) for each in (entry(at, point) for at, point in enumerate(run("tpe", 8)))]
    by_name, default = plan_of("tpe", {}), SearchPlan(seed=0, startup=4, objective="accuracy")
    for index in range(8):
        assert propose(arm, index, by_name, seen[:index]) == propose(arm, index, default, seen[:index])


@pytest.mark.parametrize("name", ["qmc", "grid", "brute_force"])
def test_points_that_failed_are_not_proposed_again(name):
    space, arguments = METHODS[name]
    arm, plan = Arm("a", {}, space), plan_of(name, arguments, 0)
    ended = []
    for index in range(6):
        point = propose(arm, index, plan, [Earlier(each.point, each) for each in ended])
        ended.append(make(index, point=point, state="fail", reason="out of memory", scores={}))
    assert len({repr(each.point) for each in ended}) == 6


@pytest.mark.parametrize("name", ["tpe", "nsgaii", "random", "brute_force"])
def test_enqueued_points_come_first_and_what_they_leave_out_is_drawn(name):
    space, arguments = METHODS[name]
    arm = Arm("a", {}, space)
    given = [{"rank": 7, "targets": ["query", "value"], "share": 0.2}, {"rank": 3, "targets": ["query"]}, {"rank": 2}]
    plan = dataclasses.replace(plan_of(name, arguments), enqueued=given)
    ended = []
    for index in range(10):
        ended.append(entry(index, propose(arm, index, plan, [Earlier(each.point, each) for each in ended])))
    points = [each.point for each in ended]
    assert points[:2] == [given[0], given[1]], "share exists only with both targets"
    assert points[2]["rank"] == 2
    assert all(space[key].holds(value) for point in points for key, value in point.items())
    beside = dataclasses.replace(arm, baseline=True)
    assert propose(beside, 0, plan, []) == propose(beside, 0, plan_of(name, arguments), [])


class Own(optuna.samplers.RandomSampler):
    """A sampler of the user's own."""


RANKS = {f"rank{index}": Range(low=1, high=32, integer=True, log=True) for index in range(4)}
LEARNED = {
    "tpe": {},
    "nsgaii": {"population_size": 4},
    "nsgaiii": {"population_size": 4},
    "cmaes": {},
    "tests.search.test_samplers:Own": {},
}


@pytest.mark.parametrize("name", LEARNED)
def test_a_sampler_learns_from_the_ranks_that_were_trained_under_a_budget(name, monkeypatch):
    budget, told = RankBudget(dict.fromkeys(RANKS, 10), 1, 32, 200), {}
    plan = dataclasses.replace(plan_of(name, LEARNED[name]), budget=budget, enqueued=[{"rank0": 32, "rank1": 1}])
    arm = Arm("a", {}, RANKS | {"lr": NUMBERS["lr"]})
    ask = optuna.Study.ask

    def asked(study):  # when the last trial is proposed, this is what its sampler can see
        told.update({trial.number: trial.params for trial in study.trials if trial.state is TrialState.COMPLETE})
        return ask(study)

    monkeypatch.setattr(optuna.Study, "ask", asked)
    ended = []
    for index in range(12):
        told.clear()
        point = propose(arm, index, plan, [Earlier(each.point, each) for each in ended])
        assert budget.used(point) == 200
        ended.append(make(index, point=point, scores={"val": {"accuracy": -point["rank0"]}}))
    assert len(told) == 11
    for number, params in told.items():
        assert {key: params[key] for key in RANKS} == {key: ended[number].point[key] for key in RANKS}
