"""Several tasks confirmed with fresh seeds: Δm of made-up answers, its influences against the bootstrap, the words."""

import dataclasses

import numpy as np
import pytest

from harness import record
from harness.report import task_plots, write_report
from harness.report.confirmed_tasks import _influences, answer, confirmed_multitask
from harness.report.multitask import gain, items_of, multitask_results
from tests.test_record import make

ITEMS = 240
SEEDS = (1001, 1002, 1003)
LABELS = {"a": np.arange(ITEMS) % 2, "b": np.linspace(-2, 2, ITEMS).round(4), "c": np.arange(90) % 2}


def answers(task, error, draw):
    """Labels with a share `error` of them wrong, or with noise of that size."""
    labels = LABELS[task].astype(float)
    if task == "b":
        return labels + error * draw.standard_normal(len(labels))
    return np.where(draw.permutation(len(labels)) < round(error * len(labels)), 1 - labels, labels)


@pytest.fixture
def add(tmp_path):
    """Puts a trial into the study: its record, and its answers on the disk."""

    def add(number, arm, errors, seed=0, val=0.8):
        draw = np.random.default_rng(number)
        given = {task: answers(task, error, draw) for task, error in errors.items()}
        test = {"score": 0.5, "loss": 1.0}
        for task, guesses in given.items():
            off = guesses - LABELS[task]
            test |= (
                {f"{task}/rmse": np.sqrt((off**2).mean())} if task == "b" else {f"{task}/accuracy": (off == 0).mean()}
            )
        parts = {
            task: {
                "name": "one" if task in "ab" else "two",
                "source": "s",
                "rows": {"train": 9, "test": len(LABELS[task])},
            }
            for task in errors
        }
        entry = make(
            number,
            arm=arm,
            phase="confirm" if seed else "search",
            objective="score",
            lora={"name": "lora"},
            seeds={"trial": seed, "split": 0},
            scores={"val": {"score": val, "loss": 1.0}, "test": test},
            data={"name": "mixture", "tasks": parts},
            parameters={"adapter": 10, "head": 2, "other": 0, "frozen": 1000, "total": 1012},
        )
        record.append(tmp_path, entry)
        path = tmp_path / f"trials/{number:04d}/predictions.csv"
        path.parent.mkdir(parents=True)
        lines = [
            f"{place * ITEMS + row},{place},{LABELS[task][row]},{guess}"
            for place, (task, guesses) in enumerate(given.items())
            for row, guess in enumerate(guesses)
        ]
        path.write_text("\n".join(["row,task,label,predicted", *lines]) + "\n")
        return entry

    return add


ALONE = {"only=a": {"a": 0.20}, "only=b": {"b": 0.50}, "only=c": {"c": 0.30}}
TOGETHER = {"good": {"a": 0.10, "b": 0.30, "c": 0.15}, "same": {"a": 0.20, "b": 0.50, "c": 0.30}}


@pytest.fixture
def folder(add, tmp_path):
    arms = [*ALONE.items(), *TOGETHER.items()]
    for number, (arm, errors) in enumerate(arms):
        add(number, arm, errors)
    for index, seed in enumerate(SEEDS, start=1):
        for place, (arm, errors) in enumerate(arms):
            add(10_000 * index + place, arm, errors, seed)
    return tmp_path


def test_delta_m_is_the_mean_over_seeds_each_against_its_own_runs_alone(folder):
    found = confirmed_multitask(record.read(folder), folder, margin=0.01)
    assert (found.seeds, found.items) == (3, ITEMS + 90)  # a and b are on the same items
    entries = {(entry.arm, entry.seeds.trial): entry.scores["test"] for entry in record.read(folder)}
    for arm in found.arms:
        wanted = np.mean(
            [
                np.mean(
                    [
                        100 * (entries[arm.arm, s]["a/accuracy"] / entries["only=a", s]["a/accuracy"] - 1),
                        100 * (1 - entries[arm.arm, s]["b/rmse"] / entries["only=b", s]["b/rmse"]),
                        100 * (entries[arm.arm, s]["c/accuracy"] / entries["only=c", s]["c/accuracy"] - 1),
                    ]
                )
                for s in SEEDS
            ]
        )
        assert arm.delta.difference == pytest.approx(wanted)
        assert np.mean(list(arm.gains.values())) == pytest.approx(wanted)
        assert arm.delta.low < wanted < arm.delta.high
    assert [arm.verdict for arm in found.arms] == ["better", "not decided"]


def test_an_items_influence_gives_the_spread_that_the_bootstrap_finds(folder):
    """Drawing test items anew moves Δm as much as the influences say, to the few percent that first order leaves."""
    entries = {entry.arm: entry for entry in record.read(folder) if entry.phase == "search"}
    run, alone = entries["good"], {task: entries[f"only={task}"] for task in "abc"}
    values = _influences(run, alone, folder)
    groups = np.split(values, [ITEMS])
    total = len(values)
    linear = sum((len(group) / total) ** 2 * group.var() / len(group) for group in groups)
    draw = np.random.default_rng(0)
    found = []
    weights = {"a": draw.multinomial(ITEMS, np.full(ITEMS, 1 / ITEMS), size=4000).astype(float)}
    weights["b"] = weights["a"]  # the same sentences
    weights["c"] = draw.multinomial(90, np.full(90, 1 / 90), size=4000).astype(float)
    for task in "abc":
        mine, theirs = items_of(run, folder)[task], items_of(alone[task], folder)[task]
        found.append(gain(mine.score(weights[task]), theirs.score(weights[task]), task == "b"))
    assert np.std(np.mean(found, 0)) == pytest.approx(np.sqrt(linear), rel=0.06)


def test_the_page_names_the_unit_and_the_power(folder):
    text = write_report(folder)
    assert "## Confirmed with 3 fresh seeds" in text
    assert "Against runs of each task alone, better: good; not decided: same. With 3 seeds and 330 test items" in text
    assert "The unit that is repeated is the seed." in text
    assert text.count("| good ") == 3  # confirmed, and the two tables of the search
    assert "confirmed.png" in text


def test_the_picture_of_the_confirmation_shows_its_gains_and_not_those_of_the_search(folder, monkeypatch):
    drawn = {}
    monkeypatch.setattr(task_plots, "_draw", lambda arms, title, path: drawn.update({path.name: (title, arms)}))
    write_report(folder)
    found = confirmed_multitask(record.read(folder), folder, margin=0.01)
    title, arms = drawn["confirmed.png"]
    assert "confirmed with 3 fresh seeds" in title
    assert {each.arm: each.delta for each in arms} == {arm.arm: arm.delta.difference for arm in found.arms}
    title, arms = drawn["multitask.png"]
    assert "the search, one seed" in title
    assert {each.arm: each.delta for each in arms} == {
        way.arm: way.delta for way in multitask_results([e for e in record.read(folder) if e.phase == "search"], folder)
    }


def test_of_two_arms_alone_the_one_counts_that_keeps_its_score_with_fresh_seeds(folder, add):
    """The best of the search owed that to its seed, as a rate at which training fails now and then."""
    before = confirmed_multitask(record.read(folder), folder, 0.01)
    add(50, "full_b", {"b": 0.1}, val=0.9)
    for index, seed in enumerate(SEEDS, start=1):
        add(10_000 * index + 50, "full_b", {"b": 3.0}, seed, val=0.1)
    found = confirmed_multitask(record.read(folder), folder, 0.01)
    assert {task: runs[0].arm for task, runs in found.alone.items()} == {task: f"only={task}" for task in "abc"}
    assert [arm.delta for arm in found.arms] == [arm.delta for arm in before.arms]


def test_a_task_that_some_runs_alone_did_not_learn_is_told(folder):
    entries = record.read(folder)
    scores = [entry.scores["test"]["a/accuracy"] for entry in entries if entry.arm == "only=a" and entry.seeds.trial]
    told = {"always answering the same to a task": {"test": {"a/accuracy": sorted(scores)[1], "b/rmse": 99.0}}}
    kept = [
        dataclasses.replace(entry, data=dataclasses.replace(entry.data, details={"constants": told}))
        for entry in entries
    ]
    lost = sum(score <= sorted(scores)[1] for score in scores)
    text = answer(confirmed_multitask(kept, folder, 0.01))
    assert f"Alone, a was not learned in {lost} of 3 seeds" in text
    assert "Alone, b" not in text


def test_a_task_alone_that_was_not_trained_again_is_named(add, tmp_path):
    for index, seed in enumerate((0, *SEEDS)):
        for place, (arm, errors) in enumerate([*ALONE.items(), *TOGETHER.items()]):
            if not seed or arm != "only=b":
                add(10_000 * index + place, arm, errors, seed)
    text = write_report(tmp_path)
    assert "no run alone of b was trained again; run=confirm study=s with a larger top." in text
    assert "Confirmed with" not in text


def test_two_seeds_decide_nothing_and_one_is_no_confirmation(add, tmp_path):
    arms = [*ALONE.items(), ("good", TOGETHER["good"])]
    for index, seed in enumerate((0, *SEEDS[:2])):
        if index == 2:
            assert confirmed_multitask(record.read(tmp_path), tmp_path, 0.01) is None
        for place, (arm, errors) in enumerate(arms):
            add(10_000 * index + place, arm, errors, seed)
    (arm,) = confirmed_multitask(record.read(tmp_path), tmp_path, 0.01).arms
    assert arm.verdict == "not decided"
    assert "With fewer than 3 seeds nothing is decided." in write_report(tmp_path)


@pytest.mark.parametrize("arm", ["good", "only=b"])
def test_a_seed_that_failed_is_said_and_counts_in_no_comparison(arm, folder, add):
    more = 1004
    for place, (name, errors) in enumerate([*ALONE.items(), *TOGETHER.items()]):
        if name != arm:
            add(40_000 + place, name, errors, more)
    first = next(entry for entry in record.read(folder) if entry.arm == arm)
    reason = "diverged: train_loss is nan"
    seeds, scores = dataclasses.replace(first.seeds, trial=more), {}
    lost = dataclasses.replace(
        first,
        trial=40_009,
        phase="confirm",
        seeds=seeds,
        state="fail",
        reason=reason,
        scores=scores,
        notes=["it ended"],
    )
    record.append(folder, lost)
    found = confirmed_multitask(record.read(folder), folder, margin=0.01)
    assert found.seeds == 3
    assert found.failed == {arm: f"1 of 4 trials (trial 40009: {reason})"}
    text = write_report(folder)
    assert f"Failed: {arm} in 1 of 4 trials (trial 40009: {reason}). What is said holds for trials that end." in text
    assert "Ways are compared over the seeds that ended in all trials." in text
    assert f"- trial 40009 ({arm}): {reason}" in text
