"""Δm and what is said of it, on made-up answers whose scores are known."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from harness import record
from harness.record.sections import TaskGradients
from harness.report import write_report
from harness.report.multitask import Items, gain, multitask_results, verdict, with_gradients
from harness.report.task_plots import gradients_picture
from harness.task.metrics import ClassMetrics, LabelSetMetrics, MixtureMetrics
from tests.test_record import make

ITEMS = 200
LABELS = {"a": np.arange(ITEMS) % 2, "b": np.linspace(-2, 2, ITEMS)}


def answers(task, error):
    """Labels with a share `error` of them wrong, or all off by `error`."""
    labels = LABELS[task].astype(float)
    if task == "b":
        return labels + error
    wrong = np.arange(ITEMS) < round(error * ITEMS)
    return np.where(wrong, 1 - labels, labels)


def entry(number, arm, errors, val, **changes):
    scores = {"score": val, "loss": 1.0}
    test = scores | {f"{t}/{'rmse' if t == 'b' else 'accuracy'}": e if t == "b" else 1 - e for t, e in errors.items()}
    return make(
        number,
        arm=arm,
        objective="score",
        lora={"name": "lora"},
        scores={"val": scores, "test": test},
        data={"name": "mixture", "tasks": {task: {"rows": {"train": 10, "test": ITEMS}} for task in errors}},
        parameters={"adapter": 10, "head": 2, "other": 0, "frozen": 1000, "total": 1012},
        **changes,
    )


RECORDS = [
    (0, "only=a", {"a": 0.2}, 0.8),
    (1, "only=a", {"a": 0.1}, 0.7),  # better on test, and that must not matter
    (2, "only=b", {"b": 0.5}, 0.6),
    (3, "together", {"a": 0.1, "b": 0.25}, 0.9),
    (4, "worse", {"a": 0.4, "b": 0.75}, 0.5),
    (5, "same", {"a": 0.2, "b": 0.5}, 0.6),
]


@pytest.fixture
def folder(tmp_path):
    for number, arm, errors, val in RECORDS:
        record.append(tmp_path, entry(number, arm, errors, val))
        path = tmp_path / f"trials/{number:04d}/predictions.csv"
        path.parent.mkdir(parents=True)
        lines = [
            f"{place * ITEMS + row},{place},{LABELS[task][row]},{guess}"
            for place, (task, error) in enumerate(errors.items())
            for row, guess in enumerate(answers(task, error))
        ]
        path.write_text("\n".join(["row,task,label,predicted", *lines]) + "\n")
    return tmp_path


def test_delta_m_is_the_mean_gain_over_the_runs_alone_that_validation_chose(folder):
    found = {way.arm: way for way in multitask_results(record.read(folder), folder)}
    assert list(found) == ["together", "worse", "same"]
    assert found["together"].gains == pytest.approx({"a": 100 * (0.9 - 0.8) / 0.8, "b": 50.0})
    assert found["together"].delta == pytest.approx((12.5 + 50) / 2)
    assert found["worse"].delta == pytest.approx((-25 - 50) / 2)
    low, high = found["together"].interval
    assert low < found["together"].delta < high
    # All of b's answers are off alike, so that its gain is sure; a's errors are nested, its gain a ratio of shares.
    assert high - low < 10
    assert [verdict(way) for way in found.values()] == ["higher than alone", "lower than alone", "not told apart"]
    assert found["same"].interval == pytest.approx((0, 0))


def test_the_page_shows_both_tables_and_draws(folder):
    text = write_report(folder)
    assert "| together" in text
    assert "0.9000 (+12.5 %)" in text
    assert "Higher than runs alone, with one seed each: together. Lower: worse." in text
    assert (folder / "table.md").read_text().startswith("# ")
    assert (folder / "multitask.png").stat().st_size > 10_000


def test_gradients_of_several_tasks_are_drawn_of_the_trials_that_confirm(folder):
    alike = [[1.0, 0.5], [0.5, 1.0]]
    for number, phase in ((90, "search"), (91, "confirm"), (92, "confirm")):
        compared = TaskGradients(tasks=["a", "b"], steps=[1], cosines=[alike])
        record.append(folder, dataclasses.replace(make(number, phase=phase, arm="together"), task_gradients=compared))
    found = with_gradients(record.read(folder))
    assert {arm: [each.trial for each in runs] for arm, runs in found.items()} == {"together": [91, 92]}
    gradients_picture(found, "title", folder / "task_gradients.png")
    assert (folder / "task_gradients.png").stat().st_size > 5_000


def test_a_task_without_a_run_alone_is_not_compared(tmp_path):
    record.append(tmp_path, entry(0, "together", {"a": 0.1, "b": 0.2}, 0.9))
    (way,) = multitask_results(record.read(tmp_path), tmp_path)
    assert (way.delta, way.interval, verdict(way)) == (None, None, "not compared")
    assert "not compared" in write_report(tmp_path)


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_gain_is_positive_where_the_score_is_better(score, alone):
    assert (gain(score, alone, error=False) > 0) == (score > alone)
    assert (gain(score, alone, error=True) > 0) == (score < alone)


def test_of_several_labels_items_give_scikit_learns_f1_and_what_each_moves_it_by():
    draw = np.random.default_rng(0)
    there = draw.random((ITEMS, 3)) < 0.4
    said = np.where(draw.random((ITEMS, 3)) < 0.8, there, ~there)
    metrics = MixtureMetrics({"a": ClassMetrics(2), "b": LabelSetMetrics(3)})
    batch = {"labels": torch.from_numpy(there.astype(np.float32)), "tasks": torch.ones(ITEMS, dtype=torch.int64)}
    rows = metrics.update(torch.from_numpy(np.where(said, 2.0, -2.0)), batch).numpy()
    assert metrics.columns == ("task", "label", "predicted", "right")
    items = Items(rows[:, 1], rows[:, 2], exact=False, right=rows[:, 3])
    truth = f1_score(there, said, average="micro")
    assert items.score(np.ones((1, ITEMS)))[0] == pytest.approx(truth)
    weights = draw.multinomial(ITEMS, np.full(ITEMS, 1 / ITEMS), size=3_000)
    drawn = [f1_score(np.repeat(there, each, 0), np.repeat(said, each, 0), average="micro") for each in weights[:5]]
    assert items.score(weights.astype(float))[:5] == pytest.approx(drawn)
    influence = items.influence(truth)
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    assert influence.std() / np.sqrt(ITEMS) == pytest.approx(items.score(weights.astype(float)).std(), rel=0.06)


def test_what_the_same_answer_to_each_task_scores_stands_below_the_arms(tmp_path):
    scored = {"a/accuracy": 0.5, "b/rmse": 1.25}
    for number, arm, errors, val in RECORDS:
        made = entry(number, arm, errors, val)
        found = {
            split: {name: scored[name] for name in scored if name[0] in errors} for split in ("validation", "test")
        }
        details = {"constants": {"always answering the same to a task": found}}
        record.append(tmp_path, dataclasses.replace(made, data=dataclasses.replace(made.data, details=details)))
    text = write_report(tmp_path)
    row = next(line for line in text.splitlines() if line.startswith("| (always answering the same to a task)"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["0.5000", "1.2500"]


def test_a_search_that_left_test_unread_is_reported_by_what_it_was_searched_by(tmp_path):
    for number, name in enumerate(("mtlora", "full")):
        made = entry(number, name, {"a": 0.2, "b": 0.5}, 10.0 + number)
        scores = {"val": {"delta_m": 10.0 + number, "loss": 1.0}}
        lora = dataclasses.replace(made.lora, name=name)
        record.append(tmp_path, dataclasses.replace(made, scores=scores, objective="delta_m", lora=lora))
    text = write_report(tmp_path)
    assert "Best on validation: full, validation delta_m 11.0" in text
    assert (tmp_path / "pareto.png").exists()
