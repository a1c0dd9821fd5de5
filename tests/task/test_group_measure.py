"""Rows that are right only together: read, kept in one split, scored as a whole and compared by group."""

import csv
import re

import pandas as pd
import pytest
import torch
from scipy.stats import binomtest

from harness.config import ConfigError
from harness.report.table import arm_results
from harness.task import build_task
from harness.task.metrics import ClassMetrics, GroupMetrics, MixtureMetrics
from harness.task.mixed_batches import joined


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("seed", range(3))
def test_a_group_is_right_where_every_row_of_it_is(seed, size):
    draw = torch.Generator().manual_seed(seed)
    labels, groups = (torch.randint(0, most, (300,), generator=draw) for most in (2, 90))
    logits = torch.randn(300, 2, generator=draw) + torch.nn.functional.one_hot(labels, 2) * 2
    metrics = GroupMetrics(ClassMetrics(2), 120)  # some groups have no row in a split
    for _ in range(2):
        rows = [
            metrics.update(logits[at : at + size], {"labels": labels[at : at + size], "groups": groups[at : at + size]})
            for at in range(0, 300, size)
        ]
        found = metrics.compute_and_reset()
    right = pd.Series((logits.argmax(1) == labels).numpy())
    assert found["group_exact"] == pytest.approx(right.groupby(groups.numpy()).all().mean())
    assert found["accuracy"] == pytest.approx(right.mean())
    told = pd.DataFrame(torch.cat(rows).numpy(), columns=metrics.columns)
    assert (told["label"] == told["predicted"]).groupby(told["group"]).all().mean() == found["group_exact"]


def test_beside_other_tasks_groups_are_scored_and_rows_keep_their_columns():
    metrics = MixtureMetrics({"one": GroupMetrics(ClassMetrics(2), 2), "two": ClassMetrics(2)})
    rows, labels, tasks = torch.eye(2), torch.tensor([0, 0]), torch.tensor([0, 0])
    batch = {"labels": labels, "groups": torch.tensor([0, 1])}
    assert metrics.update(rows, batch | {"tasks": tasks}).shape == (2, len(metrics.columns))
    metrics.update(rows, {"labels": labels, "tasks": tasks + 1})
    assert metrics.compute_and_reset()["one/group_exact"] == 0.5
    both = joined([batch, {"labels": labels}], {})
    assert both.keys() == {"labels"}


def write_questions(path, questions=40):
    """Three answers to each question; which words of an answer are right shows in the answer alone."""
    rows = []
    for question in range(questions):
        for answer in range(3):
            good = (question + answer) % 2
            rows.append(
                (
                    f"what of film {question}",
                    f"{'bright' if good else 'dull'} town {answer} {question}",
                    good,
                    f"q{question}",
                )
            )
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("text", "answer", "label", "question"), *rows])
    return [f"task.data={path}", "task.text_pair=answer", "task.score_group=question"]


def test_rows_of_a_group_stay_in_one_split(compose, tmp_path):
    task = build_task(compose(*write_questions(tmp_path / "q.csv")).task)
    questions = [{text.split()[-1] for text in split.texts} for split in task.splits.values()]
    assert sum(map(len, questions)) == 40
    for split, numbers in task.groups.items():
        by_number = pd.Series(task.splits[split].texts).groupby(list(numbers)).nunique()
        assert (by_number == 1).all()
        assert len(by_number) == len(set(task.splits[split].texts))


def test_a_row_without_a_group_is_one_of_its_own(compose, tmp_path):
    words = write_questions(tmp_path / "q.csv")
    text = (tmp_path / "q.csv").read_text()
    (tmp_path / "q.csv").write_text(re.sub(r",q\d+$", ",", text, flags=re.MULTILINE))
    task = build_task(compose(*words).task)
    numbers = [number for mine in task.groups.values() for number in mine]
    assert len(set(numbers)) == len(numbers) == 120


def test_groups_are_of_classes(compose, tmp_path):
    with pytest.raises(ConfigError, match=r"task\.score_group=question: of rows with a class each"):
        compose(*write_questions(tmp_path / "q.csv"), "task.answer=number", "trainer.objective=rmse")
    with pytest.raises(ConfigError, match=r"trainer\.objective=group_exact: task=text_csv has none"):
        compose("trainer.objective=group_exact")


def test_a_trial_is_chosen_and_compared_by_groups(compose, tmp_path, own_cache):
    from harness.trial import TrialContext
    from harness.trial.run import run_trial

    words = [*write_questions(tmp_path / "q.csv"), "trainer.objective=group_exact", "trainer.max_steps=6"]
    folder = tmp_path / "s/trials/0000"
    folder.mkdir(parents=True)
    context = TrialContext("s", 0, "arm", folder, test=True)
    entry = run_trial(compose(*words), context, lambda step, scores: False)
    assert entry.state == "complete", entry.reason
    answers = pd.read_csv(folder / "answers.csv")
    right = (answers["label"] == answers["predicted"]).groupby(answers["item"].str.split(" \\| ").str[0]).all()
    assert entry.scores["test"]["group_exact"] == pytest.approx(right.mean())
    (result,) = arm_results([entry], tmp_path / "s")
    wanted = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
    assert result.interval == pytest.approx((wanted.low, wanted.high))
