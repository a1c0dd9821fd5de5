"""A column that says of which split each row is: of every table task it is taken or refused, never passed over."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.config import ConfigError
from harness.config.former import _is_former
from harness.task.build import read_task

PLACES = ["train"] * 24 + ["dev"] * 8 + ["test"] * 8
NAMES = ("harbour", "lantern", "meadow", "copper", "violin", "thunder", "biscuit", "granite", "orchid", "saddle")


def rows_of(kind, folder):
    """So many rows of a task as there are places, and its words."""
    texts = [f"the {NAMES[i % 10]} of {NAMES[i // 10]} at {i}" for i in range(len(PLACES))]
    if kind == "text_csv":
        return [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    if kind == "seq2seq":
        return [{"source": text, "target": text.upper()} for text in texts]
    if kind == "chat":
        return [{"prompt": text, "completion": text.upper()} for text in texts]
    if kind == "choice":
        return [{"question": text, "choices": ["yes", "no"], "answerKey": i % 2} for i, text in enumerate(texts)]
    if kind == "token_labels":
        return [{"tokens": text.split(), "tags": ["O", "B-X", *"OOOO"]} for text in texts]
    if kind == "extractive_qa":
        answers = [{"text": [text.split()[1]], "answer_start": [4]} for text in texts]
        return [{"question": f"{t}?", "context": t, "answers": a} for t, a in zip(texts, answers, strict=True)]
    for i in range(len(PLACES)):
        drawn = np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(drawn).save(folder / f"{i}.png")
    return [{"image": f"{i}.png", "label": "ab"[i % 2]} for i in range(len(PLACES))]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "kind", ["text_csv", "seq2seq", "chat", "choice", "token_labels", "extractive_qa", "image_table"]
)
def test_every_table_task_takes_it_or_refuses(make_task, tmp_path, kind, suffix):
    rows = [{**row, "partition": place} for row, place in zip(rows_of(kind, tmp_path), PLACES, strict=True)]
    data = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pd.DataFrame(rows).to_parquet(data)
    else:
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = make_task(f"task={kind}", "task.data=x")
    with pytest.raises(ConfigError, match=r"\(partition: train in 24 rows, .*\); task.split=partition takes"):
        read_task(dataclasses.replace(config, data=str(data)))
    task = read_task(dataclasses.replace(config, data=str(data), split="partition"))
    assert {split: len(task.names(split)) for split in ("train", "validation", "test")} == {
        "train": 24,
        "validation": 8,
        "test": 8,
    }
    assert task.findings().format["test.split"] == "in column partition"
    assert len(read_task(dataclasses.replace(config, data=str(data), split="none")).names("train")) != 24


@pytest.mark.parametrize(
    "names", [("TRAIN", "TRIAL", "TEST"), ("Training", "PublicTest", "PrivateTest"), ("trn", "eval", "holdout")]
)
def test_names_that_contests_have_are_read_and_said(make_task, tmp_path, names):
    places = dict(zip(("train", "dev", "test"), names, strict=True))
    rows = [{**row, "set": places[at]} for row, at in zip(rows_of("text_csv", tmp_path), PLACES, strict=True)]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    config = dataclasses.replace(make_task("task=text_csv", "task.data=x"), data=str(tmp_path / "a.csv"), split="set")
    task = read_task(config)
    assert [len(task.names(split)) for split in ("train", "validation", "test")] == [24, 8, 8]
    assert task.findings().format["validation.split"] == f"in column set, as {names[1]}"


@pytest.mark.parametrize("kind", ["text_csv", "seq2seq", "chat"])
def test_times_are_said_to_be_passed_over_where_no_split_is_cut(make_task, tmp_path, kind):
    every = enumerate(zip(rows_of(kind, tmp_path), PLACES, strict=True))
    rows = [{**row, "set": at, "year": 1900 + number} for number, (row, at) in every]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = dataclasses.replace(make_task(f"task={kind}", "task.data=x"), data=str(tmp_path / "a.jsonl"), time="year")
    said = "task.time=year is passed over: all splits are given, and none is cut"
    assert said in read_task(dataclasses.replace(config, split="set")).findings().suspicious
    assert said not in read_task(dataclasses.replace(config, split="none")).findings().suspicious


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("name", "of"), [("train", "train"), ("Test", "test")])
@pytest.mark.parametrize("words", [(True, False), (1, 0), ("yes", "no")])
def test_a_column_of_yes_and_no_that_is_called_train_is_told_and_taken(make_task, tmp_path, suffix, name, of, words):
    places = [at if at == "train" else "test" for at in PLACES]
    rows = [{**r, name: words[at != of]} for r, at in zip(rows_of("text_csv", tmp_path), places, strict=True)]
    data = str(tmp_path / f"a.{suffix}")
    pd.DataFrame(rows).to_csv(data, index=False) if suffix == "csv" else pd.DataFrame(rows).to_parquet(data)
    config = dataclasses.replace(make_task("task=text_csv", "task.data=x"), data=data)
    assert any(f"and is not read: task.split={name} takes them" in said for said in read_task(config).facts.suspicious)
    taken = read_task(dataclasses.replace(config, split=name))
    assert len(taken.names("test")) == 16
    assert not any("may say" in said for said in taken.facts.suspicious)
    assert len(read_task(dataclasses.replace(config, split="none")).names("test")) != 16


@pytest.mark.parametrize("kind", ["text_csv", "seq2seq", "chat", "choice", "token_labels", "extractive_qa"])
def test_rows_of_no_split_are_refused_or_left_out(make_task, tmp_path, kind):
    places = [["extra", None][i % 2] if i < 4 else at for i, at in enumerate(PLACES)]
    rows = [{**row, "part": at} for row, at in zip(rows_of(kind, tmp_path), places, strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = dataclasses.replace(make_task(f"task={kind}", "task.data=x"), data=str(tmp_path / "a.jsonl"))
    with pytest.raises(ConfigError, match=r"task.gaps=leave_out, .* that name none \('extra', empty\) takes these"):
        read_task(config)
    config = dataclasses.replace(config, split="part")
    with pytest.raises(ConfigError, match=r"4 rows are of no split \(row 1: 'extra', row 2: empty, .*gaps=leave_out"):
        read_task(config)
    task = read_task(dataclasses.replace(config, gaps="leave_out"))
    assert [len(task.names(split)) for split in ("train", "validation", "test")] == [20, 8, 8]
    assert (
        task.findings().format["test.split"].startswith("in column part, 4 rows of no split left out: row 1: 'extra'")
    )


def test_a_file_of_a_split_that_the_column_has_too_is_refused(make_task, tmp_path):
    rows = [{**row, "split": place} for row, place in zip(rows_of("text_csv", tmp_path), PLACES, strict=True)]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame(rows[32:]).to_csv(tmp_path / "b.csv", index=False)
    config = make_task("task=text_csv", "task.data=x")
    given = dataclasses.replace(config, data=str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv"), split="split")
    with pytest.raises(ConfigError, match=r"rows of test, which task.test=.*b.csv gives, too"):
        read_task(given)


def test_two_columns_of_yes_and_no_are_not_read_by_half(make_task, tmp_path):
    rows = [
        {**row, "is_val": place == "dev", "is_test": place == "test"}
        for row, place in zip(rows_of("text_csv", tmp_path), PLACES, strict=True)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    config = dataclasses.replace(make_task("task=text_csv", "task.data=x"), data=str(tmp_path / "a.csv"))
    with pytest.raises(ConfigError, match=r"columns say .*\(is_val: .*; is_test: "):
        read_task(config)
    with pytest.raises(ConfigError, match="task.split=is_val: is_test decides about splits, too"):
        read_task(dataclasses.replace(config, split="is_val"))


def test_a_study_begun_before_there_was_the_key_goes_on_without_it(make_task):
    assert type(make_task("task=text_csv", "task.data=x")).split == "none"
    assert _is_former("task.split")
    assert _is_former("task.tasks.a.split")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "kind", ["text_csv", "seq2seq", "chat", "choice", "token_labels", "extractive_qa", "image_table"]
)
def test_numbers_that_may_be_splits_are_told(make_task, tmp_path, kind, suffix):
    numbers = {"train": 0, "dev": 1, "test": 2}
    rows = [{**row, "split": numbers[place]} for row, place in zip(rows_of(kind, tmp_path), PLACES, strict=True)]
    data = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pd.DataFrame(rows).to_parquet(data)
    else:
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = dataclasses.replace(make_task(f"task={kind}", "task.data=x"), data=str(data))
    (line,) = [said for said in read_task(config).findings().suspicious if "may say" in said]
    assert line.startswith("column split may say of which split each row is (0 in 24 rows, 1 in 8 rows, 2 in 8 rows)")
    assert "task.split=split takes them; task.split=none" in line
    silent = read_task(dataclasses.replace(config, split="none")).findings().suspicious
    assert not any("column split" in said for said in silent)


@pytest.mark.parametrize(
    ("name", "cells", "told"),
    [
        ("fold", [0, 1, 2, 3, 4], True),
        ("satz", [*["Training"] * 3, "Validierung", "Prüfung"], True),
        ("mode", ["train", "bus", "walk"], False),
        ("mode", ["train", "train", "bus", "walk", "car"], False),
        ("train", [0, 1, 2], False),
        ("kfold", ["1.0", "2.0"], True),
        ("Set", ["A", "B"], True),
        ("subset", ["part1", "part2"], True),
        ("data_split", ["labelled", "gold"], True),
        ("subset", ["news", "fiction"], False),
        ("essay_set", [1, 2, 3], False),
        ("fold", list(range(40)), False),
        ("split", [0], False),
        ("settlement", [0, 1], False),
    ],
)
def test_columns_that_are_called_so_are_told_where_few_cells_repeat(make_task, tmp_path, name, cells, told):
    rows = [{**row, name: cells[i % len(cells)]} for i, row in enumerate(rows_of("text_csv", tmp_path))]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    config = dataclasses.replace(make_task("task=text_csv", "task.data=x"), data=str(tmp_path / "a.csv"))
    assert any(f"column {name} may" in said for said in read_task(config).findings().suspicious) is told
    grouped = dataclasses.replace(config, group=name)
    if told and len(cells) > 2:
        assert not any(f"column {name} may" in said for said in read_task(grouped).findings().suspicious)


def test_a_held_out_file_without_rows_is_refused_with_its_key(make_task, tmp_path):
    pd.DataFrame(rows_of("text_csv", tmp_path)).to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.csv").write_text("text,label\n")
    config = dataclasses.replace(make_task("task=text_csv", "task.data=x"), data=str(tmp_path / "a.csv"))
    with pytest.raises(ConfigError, match=r"task.test=.*b.csv: no rows in it; null has the split cut"):
        read_task(dataclasses.replace(config, test=str(tmp_path / "b.csv")))


@pytest.mark.parametrize("gap", ["", "NaT", "nan"])
def test_rows_without_a_time_are_refused_without_a_key(make_task, tmp_path, gap):
    rows = [{**row, "day": gap if i == 7 else f"2024-05-{i % 28 + 1}"} for i, row in enumerate(rows_of("text_csv", ""))]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    config = dataclasses.replace(make_task("task=text_csv", "task.data=x"), data=str(tmp_path / "a.csv"), time="day")
    with pytest.raises(ConfigError, match=r"none in rows 9, as .*; no key reads a row without a time"):
        read_task(config)


def test_columns_that_differ_in_case_and_items_of_a_column_are_named(make_task, tmp_path):
    rows = rows_of("text_csv", "")
    rows[3] = {"text": rows[3]["text"], "Label": "a"}
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = dataclasses.replace(make_task("task=text_csv", "task.data=x"), data=str(tmp_path / "a.jsonl"))
    with pytest.raises(ConfigError, match="rows 4.*; columns label, Label differ in case alone"):
        read_task(config)
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"both": row}) + "\n" for row in rows_of("seq2seq", "")))
    config = dataclasses.replace(make_task("task=seq2seq", "task.data=x"), data=str(tmp_path / "b.jsonl"))
    with pytest.raises(ConfigError, match=r"'task.source=\"\{both\[source\]\}\"' takes one of the items of both"):
        read_task(config)
