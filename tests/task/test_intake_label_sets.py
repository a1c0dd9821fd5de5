"""Several labels a row, however they are written."""
# ruff: noqa: E741

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from harness.config import ConfigError
from harness.config.tasks.own import LabelsConfig
from harness.task.build import read_task
from tests.task.intake_inputs import config_of, lines_of, sentences, text_of, written

SHORTENED = [
    "['a', 'b', ..., 'y', 'z']",
    "['a' 'b' ... 'y' 'z']",
    "[0.1 0.2 ... 0.8 0.9]",
    "[1, 2, …, 9]",
    "[a, ..., z]",
]


@pytest.mark.parametrize("cell", [*SHORTENED, "['a' b]", "[a, b]", "['a', b]", "[1. 0. 0.]", "{a, b}"])
def test_a_list_that_cannot_be_read_whole_is_no_set_of_labels(make_task, tmp_path, cell):
    rows = [(text, cell if i == 7 else json.dumps([label])) for i, (text, label) in enumerate(sentences())]
    line = r"is shortened \(\.\.\.\)" if cell in SHORTENED else "cannot be read as a list; write it as JSON"
    with pytest.raises(ConfigError, match=rf"label cannot be read in 1 rows \(row 9: .*{line}"):
        read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="labels"))


SETS = {
    "a mapping in JSON": lambda names: {name: int(name in names) for name in "abc"},
    "a mapping of truth values": lambda names: {name: name in names for name in "abc"},
    "a mapping as text": lambda names: str({name: int(name in names) for name in "abc"}),
    "a set as text": lambda names: str(set(names)),
    "a tuple as text": lambda names: str(tuple(names)),
    "a list as text": lambda names: str(list(names)),
    "a list as numpy prints it": lambda names: str(np.array(list(names))),
}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("way", SETS)
def test_several_labels_are_read_however_they_are_written(make_task, tmp_path, way, form):
    rows = [(text, ["", "a", "ab", "abc", "c"][i % 5]) for i, (text, _) in enumerate(sentences())]
    cells = [(text, SETS[way](names)) for text, names in rows]
    data = tmp_path / f"a.{form}"
    if form == "parquet":
        pd.DataFrame(cells, columns=["text", "label"]).to_parquet(data)
    else:
        written(data, lines_of(cells))
    task = read_task(config_of(make_task, data=str(data), answer="labels"))
    found = {t: l for split in task.splits.values() for t, l in zip(split.texts, split.labels, strict=True)}
    assert task.classes == ("a", "b", "c")
    assert found == {text: tuple("abc".index(name) for name in names) for text, names in rows}


NO_SETS = [
    ("a list in a list", [["a"]], r"row 8: \['a'\] in a list of labels is no label"),
    ("a gap in a list", ["a", None], "row 8: a gap stands among the labels"),
    ("NaN in a list", ["a", float("nan")], "row 8: a gap stands among the labels"),
    ("a gap as text", '["a", null]', "row 8: a gap stands among the labels"),
    ("a mapping of shares", {"a": 0.7, "b": 0.3}, "row 8: .* is a mapping, and its values are not all 0 or 1"),
]
TAGGED = [(text, ["<a>", "<a><b>", "<b><c#>"][i % 3]) for i, (text, _) in enumerate(sentences())]
FIELDS = [
    (text, json.dumps([{"id": n, "name": n * "a"} for n in range(1, 2 + i % 2)]))
    for i, (text, _) in enumerate(sentences())
]


@pytest.mark.parametrize(
    ("rows", "labels", "classes"),
    [
        (TAGGED, LabelsConfig(), ("a", "b", "c#")),
        (TAGGED, LabelsConfig(separator="><"), ("a", "b", "c#")),
        (FIELDS, LabelsConfig(field="name"), ("a", "aa")),
        (FIELDS, LabelsConfig(field="id"), ("1", "2")),
    ],
)
def test_tags_in_angles_and_fields_of_labels_are_read(make_task, tmp_path, rows, labels, classes):
    data = written(tmp_path / "a.csv", text_of(rows))
    assert read_task(config_of(make_task, data=data, answer="labels", labels=labels)).classes == classes


@pytest.mark.parametrize(
    ("rows", "keys", "line"),
    [
        (TAGGED, {}, "classes of label are written as <a><b>, in which tags are joined; task.answer=labels reads"),
        (
            [*TAGGED, ("so", "a")],
            {"answer": "labels", "labels": LabelsConfig(separator="><")},
            "leaves < or > in labels",
        ),
        (FIELDS, {"answer": "labels"}, r"fields \(id, name\) in 60 rows .*; task.labels.field=name takes"),
        (
            FIELDS,
            {"answer": "labels", "labels": LabelsConfig(field="title")},
            "task.labels.field=name takes that of each",
        ),
    ],
)
def test_tags_and_fields_that_are_in_doubt_name_what_reads_them(make_task, tmp_path, rows, keys, line):
    with pytest.raises(ConfigError, match=line):
        read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), **keys))


def test_lists_of_one_label_each_name_the_template_that_takes_it(make_task, tmp_path):
    rows = [(text, [label]) for text, label in sentences()]
    with pytest.raises(ConfigError, match=r"all have one item, which 'task.label=\"\{label\[0\]\}\"' takes"):
        read_task(config_of(make_task, data=written(tmp_path / "a.jsonl", lines_of(rows))))


@pytest.mark.parametrize(("cell", "line"), [row[1:] for row in NO_SETS], ids=[row[0] for row in NO_SETS])
def test_what_is_no_set_of_labels_is_refused_with_its_row(make_task, tmp_path, cell, line):
    rows = [(text, cell if i == 7 else [label]) for i, (text, label) in enumerate(sentences())]
    with pytest.raises(ConfigError, match=f"label cannot be read in 1 rows .{line}"):
        read_task(config_of(make_task, data=written(tmp_path / "a.jsonl", lines_of(rows)), answer="labels"))


@pytest.mark.parametrize("mark", [";", "|", "\n", "\t", "\uff0c", "+", "&", " and ", " ", "_"])
def test_another_separator_of_labels_is_refused_until_it_is_given(make_task, tmp_path, mark):
    rows = [(text, [f"a{mark}b", "a", f"b{mark}c", "b"][i % 4]) for i, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.jsonl", lines_of(rows))
    task = config_of(make_task, data=data, answer="labels", separator=",")
    written_as = mark.replace("\n", "\\n").replace("\t", "\\t")
    rule = re.escape(f'task.labels.separator="{written_as}"\' parts them')
    with pytest.raises(ConfigError, match=rf"in 30 rows \(1, 3, .*{rule}"):
        read_task(task)
    for parting, classes in ((written_as, ("a", "b", "c")), ("/", ("a", f"a{mark}b", "b", f"b{mark}c"))):
        settled = dataclasses.replace(task, labels=dataclasses.replace(task.labels, separator=parting))
        assert read_task(settled).classes == classes


def test_odd_names_of_several_labels_are_told(make_task, tmp_path):
    cells = [["all", "not ok"], ["all", "not_ok"], ["all", "-1"], ["all", "nan"]]
    rows = [(text, cells[i % 4]) for i, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.jsonl", lines_of(rows))
    task = config_of(make_task, data=data, answer="labels", unlabelled="keep")
    assert set(read_task(task).describe()["suspicious"]) == {
        "'all' is a label of every row of training: there is nothing to tell apart",
        "'not ok' and 'not_ok' differ in signs alone",
    }


@pytest.mark.parametrize("cell", ["[OOS]", "[a]; [b]", "x [1, 2]", '["...", "a…b"]', "and so on ..."])
def test_brackets_and_dots_that_are_names_stay_names(make_task, tmp_path, cell):
    rows = [(text, cell if i % 3 else "pos") for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="labels")
    names = {"[a]; [b]": ("[a]", "[b]"), '["...", "a…b"]': ("...", "a…b")}.get(cell, (cell,))
    task = dataclasses.replace(task, labels=dataclasses.replace(task.labels, separator=";"))
    assert set(read_task(task).classes) == {*names, "pos"}


def test_an_empty_cell_is_a_gap_and_an_empty_list_none_of_the_labels(make_task, tmp_path):
    rows = [(text, "" if i == 7 else "[]" if i % 3 == 0 else "a,b") for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="labels")
    with pytest.raises(ConfigError, match=r"\(rows 9\); task\.gaps=leave_out .*; of none of the labels is .* \[\]"):
        read_task(task)
    found = read_task(dataclasses.replace(task, gaps="leave_out"))
    assert sum(label == () for split in found.splits.values() for label in split.labels) == 20
