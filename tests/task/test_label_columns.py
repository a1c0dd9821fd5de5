"""Several labels a row as columns of 0 and 1, one for each label."""

import json

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy.io import wavfile

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


def test_names_of_columns_that_are_listed_are_not_said_to_be_misspelt(compose_plain, tmp_path):
    rows = [
        {"text": f"the assay of row {row}", "NR-AhR": int(row % 40 < 38), "NR-AR": int(row % 40 > 37)}
        for row in range(120)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["task=text_csv", "task.label=[NR-AhR,NR-AR]", *WORDS[2:], f"task.data={tmp_path}/a.jsonl"]
    told = read_task(compose_plain(*words).task).findings().suspicious
    assert not any("a letter away" in line for line in told)


@pytest.mark.parametrize("words", [(-1, 1), ("-1", "1"), ("N", "Y"), ("no", "Yes"), ("F", "T")])
def test_two_words_for_0_and_1_are_read_where_all_columns_have_them_alone(task_of, words):
    """As CelebA's attributes of 1 and -1: a row of -1 alone has none of them."""
    task = task_of([row | {name: words[row[name]] for name in NAMES} for row in ROWS])
    assert labels_by_text(task) == {row["text"]: {name for name in NAMES if row[name]} for row in ROWS}
    assert task.findings().format["train.labels"] == f"{str(words[0]).lower()} as 0"
    rows = changed({5: {"toxic": "perhaps"}})
    with pytest.raises(ConfigError, match="are neither 0 nor 1"):
        task_of(
            [row | {name: words[row[name]] if row[name] in (0, 1) else row[name] for name in NAMES} for row in rows]
        )


def test_other_cells_are_refused_with_row_and_column(task_of):
    rows = changed({3: {"toxic": 2}, 8: {"insult": "yes"}, 9: {"threat": -1}})
    line = r"3 cells are neither 0 nor 1 \(row 4: toxic is '2', row 9: insult is 'yes', row 10: threat is '-1'\)"
    with pytest.raises(ConfigError, match=line):
        task_of(rows)


@pytest.mark.parametrize("odd", [dict.fromkeys(NAMES, -1), {"insult": None}, {"toxic": ""}, dict.fromkeys(NAMES, "-1")])
def test_rows_without_labels_are_gaps(task_of, odd):
    rows = changed({4: odd, 11: odd})
    with pytest.raises(
        ConfigError,
        match=r"2 rows have no text or no toxic, insult, threat \(rows 5, 12\); task.gaps=.*; a row of -1 in",
    ):
        task_of(rows)
    task = task_of(rows, "task.gaps=leave_out")
    assert sum(task.describe()["rows"].values()) == 58


@pytest.mark.parametrize(("uncertain", "of"), [("zero", 0), ("one", 1)])
@pytest.mark.parametrize("form", [int, lambda n: f"{n}.0"])
def test_uncertain_and_empty_cells_are_what_is_said(task_of, uncertain, of, form):
    """As CheXpert's: -1 where a report is not sure, nothing where it does not mention a finding."""
    rows = [row | {name: form(row[name]) for name in NAMES} for row in ROWS]
    for place in range(0, 60, 4):
        rows[place] |= {"toxic": form(-1), "insult": "", "threat": None}
    with pytest.raises(ConfigError, match=r"rows have no text or no .*; task.labels.blank=zero reads empty cells as 0"):
        task_of(rows)
    with pytest.raises(ConfigError, match=r"15 cells are neither 0 nor 1 .*; task.labels.uncertain=zero or one reads"):
        task_of(rows, "task.labels.blank=zero")
    task = task_of(rows, "task.labels.blank=zero", f"task.labels.uncertain={uncertain}")
    sure = {row["text"]: {name for name in NAMES if row[name]} for row in ROWS}
    assert labels_by_text(task) == sure | {rows[n]["text"]: {"toxic"} if of else set() for n in range(0, 60, 4)}
    assert task.findings().format["train.labels"] == f"-1 as {of}, empty cells as 0"


def test_rows_with_an_uncertain_cell_are_left_out_where_that_is_said(task_of):
    rows = changed({3: {"toxic": -1}, 8: {"insult": -1}, 9: dict.fromkeys(NAMES, -1)})
    task = task_of(rows, "task.labels.uncertain=leave_out")
    assert sum(task.describe()["rows"].values()) == 57
    assert task.findings().format["train.labels"] == "3 rows with -1 left out (4, 9, 10)"


@pytest.mark.parametrize("mark", ["x", "X", 1, "\u2713"])
def test_crosses_beside_empty_cells_are_read_where_those_are_0(task_of, mark):
    rows = [row | {name: mark if row[name] else "" for name in NAMES} for row in ROWS]
    task = task_of(rows, "task.labels.blank=zero")
    assert labels_by_text(task) == {row["text"]: {name for name in NAMES if row[name]} for row in ROWS}


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
        (["task.label=toxic", "task.labels.blank=zero"], "task.labels.blank=zero: of a 0 or a 1 in several columns"),
        (["task.label=[toxic]"], r"task.label=\[toxic\]: one column of labels is task.label=toxic"),
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


def picture(path, number):
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)


def recording(path, number):
    wavfile.write(path, 8000, np.random.default_rng(number).normal(0, 3000, 1000 + number).astype(np.int16))


FILES = {
    "image": (picture, "png", ["task=image_table", "model=efficientnet_lite0", "lora.targets=[conv]"]),
    "audio": (recording, "wav", ["task=audio_table", "model=lstm_speech", "lora.targets=[lstm]"]),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("saved", [False, True], ids=["table", "data set"])
def test_files_have_columns_of_labels_too(kind, saved, compose_plain, own_cache, tmp_path):
    write, suffix, words = FILES[kind]
    rows = []
    for number, row in enumerate(ROWS):
        write(tmp_path / f"{number}.{suffix}", number)
        rows.append({kind: f"{tmp_path}/{number}.{suffix}"} | {name: row[name] for name in NAMES})
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    source = f"task.dataset={tmp_path}/saved" if saved else f"task.data={tmp_path}/rows.csv"
    columns = "task.label=[toxic,insult,threat]"
    words = [*words, source, "task.answer=labels", "trainer.objective=f1_micro"]
    task = read_task(compose_plain(*words, columns).task)
    assert task.several
    assert set(task.classes) == set(NAMES)
    found = {
        name: set(held) for of in task.splits for name, held in zip(task.names(of), task.label_sets(of), strict=True)
    }
    assert found == {row[kind]: {name for name in NAMES if row[name]} for row in rows}
    with pytest.raises(
        ConfigError, match=r"task\.label=\[toxic,insult,threat\] task\.answer=class: several columns have"
    ):
        compose_plain(*words[:-2], columns)
    with pytest.raises(ConfigError, match=rf"task\.{kind}=toxic task\.label\[0\]=toxic: one column for both"):
        compose_plain(*words, columns, f"task.{kind}=toxic")
    rows[4]["toxic"] = 2
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    if not saved:
        with pytest.raises(ConfigError, match=r"1 cells are neither 0 nor 1 \(row \d+: toxic is '2'\)"):
            read_task(compose_plain(*words, columns).task)
