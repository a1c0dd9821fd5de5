"""Several labels a row as columns of 0 and 1, one for each label."""

import json

import pytest
import yaml

from harness.config import ConfigError, check, read_stored
from harness.config.tree import to_dict
from harness.task.build import read_task

NAMES = ("toxic", "insult", "threat")
ROWS = [{"text": f"the {n} of {n * 7}", "toxic": n % 2, "insult": n % 3 // 2, "threat": n % 5 // 4} for n in range(60)]
WORDS = ["task=text_csv", "task.label=[toxic,insult,threat]", "task.answer=labels", "trainer.objective=f1_micro"]


@pytest.fixture
def task_of(compose_plain, tmp_path):
    def make(rows, *more):
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_task(compose_plain(*WORDS, f"task.data={tmp_path}/a.jsonl", *more).task)

    return make


def changed(changes):
    return [row | changes.get(place, {}) for place, row in enumerate(ROWS)]


def labels_by_text(task):
    return {
        text: {task.classes[number] for number in numbers}
        for split in task.splits.values()
        for text, numbers in zip(split.texts, split.labels, strict=True)
    }


FORMS = [lambda n: n, str, float, bool, lambda n: f"{n}.0", lambda n: ("False", "True")[n]]


@pytest.mark.parametrize("form", FORMS)
def test_columns_of_0_and_1_are_the_labels_of_a_row(task_of, form):
    task = task_of([row | {name: form(row[name]) for name in NAMES} for row in ROWS])
    assert labels_by_text(task) == {row["text"]: {name for name in NAMES if row[name]} for row in ROWS}
    assert task.several
    assert set(task.classes) == set(NAMES)
    assert set(task.label_sets("test")[0]) <= set(NAMES)
    assert task.findings().suspicious == []


def test_other_cells_are_refused_with_row_and_column(task_of):
    rows = changed({3: {"toxic": 2}, 8: {"insult": "yes"}, 9: {"threat": -1}})
    line = r"3 cells are neither 0 nor 1 \(row 4: toxic is '2', row 9: insult is 'yes', row 10: threat is '-1'\)"
    with pytest.raises(ConfigError, match=line):
        task_of(rows)


@pytest.mark.parametrize("odd", [dict.fromkeys(NAMES, -1), {"insult": None}, {"toxic": ""}, dict.fromkeys(NAMES, "-1")])
def test_rows_without_labels_are_gaps(task_of, odd):
    rows = changed({4: odd, 11: odd})
    with pytest.raises(ConfigError, match=r"2 rows have no text or no toxic, insult, threat \(rows 5, 12\)"):
        task_of(rows)
    task = task_of(rows, "task.gaps=leave_out")
    assert sum(task.describe()["rows"].values()) == 58


def test_a_column_without_any_1_is_told(task_of):
    task = task_of([row | {"threat": 0} for row in ROWS])
    assert task.findings().suspicious == ["threat is 0 in every row of training: it is no label"]
    assert set(task.classes) == {"toxic", "insult"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["task.answer=class", "trainer.objective=accuracy"], r"task.label=\[toxic,insult,threat\] task.answer=class"),
        (["task.label=[toxic,thret]"], r"no such column; did you mean threat\?; columns: text, toxic"),
        (["task.text=toxic"], r"task.text=toxic task.label\[0\]=toxic: one column for both"),
        (["task.label=[toxic,toxic]"], r"task.label\[0\]=toxic task.label\[1\]=toxic: one column"),
        (["task.text='{text} {insult}'"], "task.label=insult is read in it, which is the answer"),
    ],
)
def test_columns_that_are_named_wrongly_are_refused(task_of, words, line):
    with pytest.raises(ConfigError, match=line):
        task_of(ROWS, *words)


def test_a_stored_configuration_has_them(compose_plain, tmp_path, task_of):
    task_of(ROWS)
    config = compose_plain(*WORDS, f"task.data={tmp_path}/a.jsonl")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    assert check(read_stored(tmp_path / "config.yaml")).task == config.task
