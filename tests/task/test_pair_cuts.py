"""Conversations, multiple choice and pairs of texts are cut by their shares, and in studies of before as they were."""

import json

import pytest
import yaml

from harness.config import check, read_stored
from harness.config.tree import to_dict
from harness.task.build import read_task
from harness.task.intake.cuts import split_of

MODELS = {"seq2seq": "t5_small", "chat": "gpt2", "choice": "gpt2"}


def row_of(kind, number, of):
    """The row of a number, about one of `of` things."""
    thing = f"thing number {number % of}"
    if kind == "choice":
        return {"question": thing, "choices": [f"a{number}", f"b{number}"], "answerKey": number % 2, "by": number % 7}
    if kind == "chat":
        return {"prompt": thing, "completion": f"answer {number}", "by": number % 7}
    return {"source": thing, "target": f"answer {number}", "by": number % 7}


@pytest.fixture
def task_of(compose_plain, tmp_path):
    def make(kind, count, of, *words):
        rows = [row_of(kind, number, of) for number in range(count)]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return compose_plain(
            f"task={kind}", f"task.data={tmp_path}/a.jsonl", f"model={MODELS[kind]}", "trainer.objective=loss", *words
        ).task

    return make


def rows_in(task):
    return {split: set(map(int, names)) for split, names in task.findings().kept.items()}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("count", "of", "held"), [(60, 60, 6), (200, 200, 20), (12, 12, 1), (60, 30, 6), (6, 3, 2)])
def test_splits_have_their_shares_of_the_rows(kind, count, of, held, task_of):
    found = rows_in(read_task(task_of(kind, count, of)))
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": count - 2 * held,
        "validation": held,
        "test": held,
    }
    things = [{row % of for row in rows} for rows in found.values()]
    assert sum(map(len, things)) == of == len(set().union(*things)), "rows of one source stay together"


@pytest.mark.parametrize("kind", MODELS)
def test_groups_stay_together(kind, task_of):
    found = rows_in(read_task(task_of(kind, 140, 140, "task.group=by")))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 100, "validation": 20, "test": 20}
    by = [{(row - 1) % 7 for row in rows} for rows in found.values()]
    assert sum(map(len, by)) == 7


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("cut", ["drawn", "hashed"])
def test_the_latest_rows_are_held_out(kind, cut, task_of, tmp_path):
    task_of(kind, 60, 60)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    days = [f"{1 + day % 28}.{1 + day // 28}.2020" for day in range(60)]
    made = task_of(kind, 60, 60, "task.time=when", f"task.cut={cut}")
    rows = [row | {"when": days[59 - place]} for place, row in enumerate(lines)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read_task(made)
    assert rows_in(task) == {
        "train": set(range(13, 61)),
        "validation": set(range(7, 13)),
        "test": set(range(1, 7)),
    }
    assert task.findings().format["test.time"] == f"{days[54]} to {days[59]}, read as %d.%m.%Y"
    assert not [line for line in task.findings().suspicious if "not read" in line and "when" in line]


@pytest.mark.parametrize("kind", MODELS)
def test_only_what_is_not_given_is_cut(kind, task_of, tmp_path):
    task_of(kind, 40, 40)
    held = [row_of(kind, number, 1000) for number in range(500, 510)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    found = rows_in(read_task(task_of(kind, 40, 40, f"task.test={tmp_path}/t.jsonl")))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 36, "validation": 4, "test": 10}


@pytest.mark.parametrize("kind", MODELS)
def test_a_study_of_before_is_cut_as_it_was(kind, task_of, compose_plain, tmp_path):
    task_of(kind, 200, 200)
    tree = to_dict(
        compose_plain(
            f"task={kind}", f"task.data={tmp_path}/a.jsonl", f"model={MODELS[kind]}", "trainer.objective=loss"
        )
    )
    del tree["task"]["cut"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    stored = check(read_stored(tmp_path / "config.yaml")).task
    assert stored.cut == "hashed"
    source = {"chat": "user: thing number {}"}.get(kind, "thing number {}")
    wanted = {name: set() for name in ("train", "validation", "test")}
    for number in range(200):
        wanted[split_of(source.format(number), 0, 0.1, 0.1)].add(number + 1)
    assert rows_in(read_task(stored)) == wanted
    assert rows_in(read_task(task_of(kind, 200, 200))) != wanted


@pytest.mark.parametrize("kind", MODELS)
def test_splits_that_are_far_from_their_shares_are_told(kind, task_of):
    told = read_task(task_of(kind, 140, 140, "task.group=by", "task.test_share=0.01")).findings().suspicious
    (line,) = [line for line in told if "task.test_share" in line]
    assert line == (
        "test: 20 of 140 rows, where task.test_share=0.01 is 1: rows that belong together stay in one split"
    )
    assert not [line for line in read_task(task_of(kind, 140, 140)).findings().suspicious if "_share" in line]
