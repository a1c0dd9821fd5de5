"""The surrogate of benchmarks/search.py, fitted to a simulated world whose answer is known, and its table of trials."""

import math

import numpy as np
import pytest

from benchmarks.search import COMPARED, SCHEMES, Moment, Search, mean_regret, reached
from benchmarks.surrogate import FLOOR, Row, Surrogate, collect, read_rows, write_rows
from harness import record
from tests.test_record import make

NOISE = 0.008
SETS = ("all-linear", "query+value")
BEST = (16, "all-linear", 4e-3)
"""Rank, targets, and the product of rate and scale."""
STEPS = (50, 100, 200)


def truth(rank, targets, lr, scale, step):
    """Best at rank 16, all layers and lr·scale = 4e-3; what is above that product learns late."""
    rank_lost = 0.004 * (math.log2(rank) - 4) ** 2
    off = math.log(lr * scale / BEST[2])
    return 0.85 - rank_lost - 0.02 * (targets != BEST[1]) - 0.02 * off**2 - 0.08 * (1 - step / 200)


def seconds(rank, targets):
    return (0.2 if targets == "all-linear" else 0.1) + 0.001 * rank


def world(trials, seed=0):
    """Trials at random points, a third of them stopped after the second evaluation."""
    draw, rows = np.random.default_rng(seed), []
    for trial in range(trials):
        rank, targets = round(2 ** draw.uniform(0, 6)), SETS[trial % 2]
        lr, scale = math.exp(draw.uniform(math.log(5e-4), math.log(8e-3))), math.exp(draw.uniform(-1, 1.5))
        for step in STEPS[: 2 if trial % 3 == 0 else 3]:
            score = truth(rank, targets, lr, scale, step) + draw.normal(0, NOISE)
            rows.append(Row(trial, lr, scale, rank, targets, step, score, seconds(rank, targets), 500))
    return rows


@pytest.fixture(scope="module")
def fitted():
    return Surrogate(world(140))


def test_a_fit_errs_by_little_more_than_the_noise_on_trials_it_has_not_seen(fitted):
    errors = [
        fitted.at(row.point, row.step) - max(FLOOR, truth(row.rank, row.targets, row.lr, row.scale, row.step))
        for row in world(60, seed=1)
    ]
    off = math.sqrt(np.mean(np.square(errors)))
    assert off < fitted.spread / 3
    assert off < fitted.error < 1.5 * math.hypot(off, NOISE), "what is left out in cross-validation is noisy"
    assert fitted.said.startswith("surrogate: extra trees, fitted to 140 real trials, 373 evaluations; fewer than the")
    assert f"left out: {100 * fitted.error:.2f};" in fitted.said


def test_the_best_point_of_a_fit_is_that_of_the_world(fitted):
    assert fitted.best() == pytest.approx(0.85, abs=NOISE)
    predicted = fitted._predicted([(point, STEPS[-1]) for point in fitted.grid()])
    found = fitted.grid()[int(predicted.argmax())]
    assert found["lora.targets"] == ["all-linear"]
    assert 8 <= found["lora.rank"] <= 32
    assert 2e-3 < found["optimizer.lr"] * found["lora.scale"] < 8e-3
    assert fitted.steps == STEPS
    assert fitted.items == 500


def test_the_best_of_an_arm_and_what_its_trials_choose_are_those_of_the_world(fitted):
    arm = {"lora.rank": 4, "lora.targets": ["query", "value"]}
    assert fitted.best(arm) == pytest.approx(0.85 - 0.004 * 4 - 0.02, abs=1.5 * NOISE)
    search = Search(COMPARED["tpe + transfer"], 0, fitted)
    search.run(4 * len(search.arms) * STEPS[-1])
    by_name = {arm.name: arm for arm in search.arms}
    assert len(by_name) == 6
    for arm in search.arms:
        chosen = [search.chosen(arm, trials) for trials in (1, 4)]
        point = arm.values | search._known[arm.name][0].point
        assert chosen[0] == fitted.at(point, STEPS[-1])
        assert max(chosen) <= fitted.best(arm.values) + 1e-3
        seen = search._near(arm, 3)
        assert [len(trials) for trials in seen] == [3] * 5


def test_a_step_costs_what_was_measured_of_its_rank_and_targets(fitted):
    for targets in (["query", "value"], ["all-linear"]):
        for rank in (1, 7, 64):
            expected = seconds(rank, "+".join(targets))
            assert fitted.seconds({"lora.rank": rank, "lora.targets": targets}) == pytest.approx(expected, rel=1e-6)


def test_too_few_trials_are_refused(tmp_path):
    with pytest.raises(ValueError, match="99 trials; a regression on them needs 100"):
        Surrogate(world(99))
    write_rows(world(30), tmp_path / "again.csv")
    assert read_rows(tmp_path / "again.csv") == world(30)


def test_nothing_that_is_predicted_of_the_trials_in_the_repository_is_above_them():
    surrogate = Surrogate(read_rows())
    assert surrogate.trials == 300
    seen = [row.val_accuracy for row in surrogate.rows if row.step == surrogate.steps[-1]]
    assert np.quantile(seen, 0.95) < surrogate.best() < max(seen)
    assert surrogate.error < surrogate.spread / 2
    assert min(surrogate.at(point, surrogate.steps[0]) for point in surrogate.grid()[::997]) >= FLOOR - 0.02
    assert 0.05 < surrogate.seconds({"lora.rank": 4, "lora.targets": ["query", "value"]}) < 1.0


def test_a_table_is_collected_from_every_evaluation_of_the_trials_of_lora(tmp_path):
    lora = {"name": "lora", "rank": 4, "scale": 2.0, "targets": ["query", "value"]}
    kept = {"optimizer": {"lr": 0.002}, "lora": lora, "time": {"step_median_s": 0.25}}
    entries = [
        make(0, reports=[[50, 0.7], [100, 0.8]], **kept),
        make(1, reports=[[50, 0.6]], state="pruned", **kept),
        make(2, reports=[[50, 0.5]], **kept | {"lora": {"name": "full"}}),
        make(3, reports=[[50, 0.5]], state="fail", reason="diverged", **kept),
        make(4, reports=[], reason="same configuration as trial 0", **kept),
        make(10000, reports=[[50, 0.5]], phase="confirm", **kept),
    ]
    for study in ("one", "two"):
        (tmp_path / study).mkdir()
        for entry in reversed(entries):
            record.append(tmp_path / study, entry)
    rows = collect([tmp_path / "one", tmp_path / "two"])
    assert [(row.trial, row.step, row.val_accuracy) for row in rows] == [
        *((0, 50, 0.7), (0, 100, 0.8), (1, 50, 0.6)),
        *((2, 50, 0.7), (2, 100, 0.8), (3, 50, 0.6)),
    ]
    assert rows[0] == Row(0, 0.002, 2.0, 4, "query+value", 50, 0.7, 0.25, 5)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no trial of LoRA with evaluations"):
        collect([tmp_path / "none"])


@pytest.mark.parametrize("name", ["random", "random + synchronous halving", "random + asynchronous halving (ASHA)"])
def test_a_search_spends_the_steps_and_seconds_of_what_it_trains(name, fitted):
    """Every leg counts once: the seconds are those of the steps that each trial has come to."""
    surrogate = fitted
    search = Search(SCHEMES[name], 3, surrogate)
    path = search.run(16 * STEPS[-1])
    (trials,) = search._known.values()
    assert path[-1].steps == sum(max(trial.reports) for trial in trials)
    spent = sum(max(trial.reports) * surrogate.seconds(trial.point) for trial in trials)
    assert path[-1].seconds == pytest.approx(spent)
    whole = [trial for trial in trials if max(trial.reports) == STEPS[-1]]
    if name != "random":
        assert 0 < len(whole) < len(trials)
        assert all(len(trial.halted) == 2 for trial in whole), "steps 50, 100 and 200 have rungs at 50 and 100"
    assert path[-1].value <= surrogate.best()


def test_seconds_to_a_goal_are_those_from_which_on_the_mean_stays_there():
    paths = [
        [Moment(0, 0.0, 0.5), Moment(10, 1.0, 0.8), Moment(20, 3.0, 0.7), Moment(30, 5.0, 0.9)],
        [Moment(0, 0.0, 0.5), Moment(10, 2.0, 0.8), Moment(20, 4.0, 0.8)],
    ]
    regrets = {0: 0.5, 1: 0.35, 2: 0.2, 3: 0.25, 4: 0.25, 5: 0.15}
    for end, expected in regrets.items():
        assert mean_regret(paths, 1.0, lambda moment: moment.seconds, end) == pytest.approx(expected)
    assert [reached(paths, 1.0, goal) for goal in (0.1, 0.15, 0.2, 0.25, 0.4, 0.5)] == [None, 5.0, 5.0, 2.0, 1.0, 0.0]
