"""A trial is compared with those of its own arm that came as far."""

import optuna
import pytest
from optuna.trial import TrialState

from harness.search.methods import make_pruner
from harness.search.plan import Earlier, SearchPlan
from harness.search.pruning import below_median, never, rule
from tests.test_record import make

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


CURVES = [
    [(10, 0.50), (20, 0.60), (30, 0.70), (40, 0.72)],
    [(10, 0.55), (20, 0.58), (30, 0.60), (40, 0.61)],
    [(10, 0.30), (20, 0.40), (30, 0.45), (40, 0.50)],
    [(10, 0.60), (20, 0.70), (30, 0.71), (40, 0.75)],
    [(10, 0.58), (20, 0.61), (30, 0.55), (40, 0.54)],
    [(10, 0.20), (20, 0.80), (30, 0.85), (40, 0.90)],
    [(10, 0.61), (20, 0.62), (30, 0.63), (40, 0.64)],
    [(10, 0.65), (20, 0.72), (30, 0.80), (40, 0.81)],
    [(10, 0.40), (20, 0.41), (30, 0.42), (40, 0.43)],
    [(10, 0.70), (20, 0.60), (30, 0.50), (40, 0.40)],
]
PRUNERS = [
    {"name": "median", "n_startup_trials": 2},
    {"name": "percentile", "percentile": 25.0, "n_startup_trials": 2},
    {"name": "successive_halving", "reduction_factor": 2},
    {"name": "successive_halving", "min_resource": 1, "reduction_factor": 2},
    {"name": "hyperband", "reduction_factor": 2, "max_resource": 40},
    {"name": "wilcoxon", "p_threshold": 0.4},
    {"name": "patient", "patience": 1, "wrapped_pruner": "successive_halving"},
    {"name": "patient", "patience": 0, "wrapped_pruner": None},
    {"name": "threshold", "lower": 0.45},
    {"name": "none"},
]


def live(pruner, curves):
    """The steps at which Optuna ends each trial of a study that it runs itself."""
    made = optuna.pruners.NopPruner() if pruner["name"] == "none" else make_pruner(pruner, 10)
    study, ends = optuna.create_study(study_name="harness", direction="maximize", pruner=made), []
    for curve in curves:
        trial = study.ask()
        for step, value in curve:
            trial.report(value, step)
            if stopped := trial.should_prune():
                break
        ends.append((step, stopped))
        study.tell(trial, None if stopped else value, TrialState.PRUNED if stopped else None)
    return ends


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_trials_end_where_optuna_itself_ends_them(pruner):
    plan = SearchPlan(seed=0, startup=1, objective="accuracy", pruner=pruner)
    ends, entries = [], []
    for number, curve in enumerate(CURVES):
        prunes, reports = rule(plan, [Earlier({}, each) for each in entries]), {}
        for step, value in curve:
            reports[step] = value
            if stopped := prunes(reports, step):
                break
        reported = [list(item) for item in reports.items()]
        scores = {"val": {"accuracy": value, "loss": 0.0}}
        entries.append(make(number, state="pruned" if stopped else "complete", scores=scores, reports=reported))
        ends.append((step, stopped))
    assert ends == live(pruner, CURVES)
    assert any(stopped for _, stopped in ends) == (pruner["name"] != "none")


def test_no_named_pruner_stops_a_trial_before_enough_others_have_come_as_far():
    entries = [make(number, reports=[[10, 0.9], [20, 0.9]]) for number in range(2)]
    earlier = [Earlier({}, each) for each in entries]
    for after, stops in ((None, True), (2, True), (3, False)):
        plan = SearchPlan(
            seed=0, startup=1, objective="accuracy", pruner={"name": "successive_halving"}, prune_after=after
        )
        assert rule(plan, earlier)({10: 0.1}, 10) == stops
    assert not never({10: 0.1}, 10)
