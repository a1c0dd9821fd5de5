"""Real files become fixed splits that share no sentence; files that cannot be learned from are refused by name."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import ConfigError, GlueTaskConfig, TableTaskConfig, check
from harness.task import build_task
from harness.task.published import _cut_whole_sentences

TABLE = TableTaskConfig(
    name="mine",
    reader="table",
    data=None,
    answer="class",
    classes=None,
    train_rows=None,
    validation_share=0.2,
    test_share=0.2,
    split_seed=0,
    max_length=32,
    text="text",
    label="label",
    validation=None,
    test=None,
)


def rows(count, start=0):
    return [(f"sentence number {index}", index % 2) for index in range(start, start + count)]


def write(path, data, columns=("text", "label")):
    frame = pd.DataFrame(data, columns=list(columns))
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
        case ".parquet":
            frame.to_parquet(path)
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_table_format_gives_the_same_splits(tmp_path, suffix):
    task = build_task(dataclasses.replace(TABLE, data=write(tmp_path / f"d{suffix}", rows(50))))
    reference = build_task(dataclasses.replace(TABLE, data=write(tmp_path / "r.csv", rows(50))))
    assert task.splits == reference.splits
    assert task.sha256 == reference.sha256
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 30, "validation": 10, "test": 10}
    everything = [text for split in task.splits.values() for text in split.texts]
    assert sorted(everything) == sorted(text for text, _ in rows(50))


def test_the_split_depends_on_its_own_seed_only(tmp_path):
    data = write(tmp_path / "d.csv", rows(50))
    first = build_task(dataclasses.replace(TABLE, data=data))
    assert build_task(dataclasses.replace(TABLE, data=data)).splits == first.splits
    assert build_task(dataclasses.replace(TABLE, data=data, split_seed=1)).splits != first.splits


def test_given_splits_are_kept_and_only_the_missing_one_is_cut(tmp_path):
    data, test = write(tmp_path / "d.csv", rows(50)), write(tmp_path / "t.csv", rows(7, start=100))
    task = build_task(dataclasses.replace(TABLE, data=data, test=test))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 40, "validation": 10, "test": 7}
    assert list(task.splits) == ["train", "validation", "test"]


def test_words_like_na_and_null_are_text_and_classes_sort_as_numbers(tmp_path):
    data = [(word, label) for label in (2, 10) for word in (f"NA {label}", f"None {label}", f"null {label}")]
    data += [("NA", 2), ("null", 10), ("None", 2), ("nan", 10)]
    task = build_task(dataclasses.replace(TABLE, data=write(tmp_path / "d.csv", data), cut="stratified"))
    assert task.classes == ("2", "10")
    assert {"NA", "null", "None", "nan"} <= {text for split in task.splits.values() for text in split.texts}


BAD_TABLES = [
    ("missing.csv", None, "no such file"),
    ("d.xlsx", b"x", "ends in .csv"),
    ("d.csv", b"", "an empty file"),
    ("d.csv", b"text,label\n", "the train split has no rows"),
    ("d.csv", b"txt,label\na,1\nb,0\n", "no such column; did you mean txt?"),
    ("d.csv", "text,label\nпривет,1\nмир,0\n".encode("cp1251"), "not UTF-8 (line 2), and not Windows-1252"),
    ("d.csv", b"text,label\n" + b"".join(b"s%d,1\n" % i for i in range(20)), "has 1 classes"),
    ("d.jsonl", b'{"text": "a", "label": 1\n', "task.data"),
    ("d.jsonl", b'{"text": null, "label": 1}\n{"text": "b", "label": 0}\n', "1 rows have no text or no label"),
    ("d.parquet", b"not parquet", "task.data"),
    ("d.csv", b"text,label\nHello, world,1\nnice,0\n", "row 2 has 3 fields, the first has 2"),
    ("d.csv", b"text,label\nHello,1\nnice\n", "row 3 has 1 fields"),
    ("d.csv", b"text,label\nHello,\nnice,0\n", "1 rows have no text or no label"),
    ("d.csv", b"text,label\n  ,1\nnice,0\n", "1 rows have no text or no label"),
    ("d.csv", b'text,label\n"never closed,1\n', "row 2 (line 2): a quote is opened in it that is never closed"),
]


@pytest.mark.parametrize(("name", "content", "line"), BAD_TABLES)
def test_a_table_that_cannot_be_read_is_named(tmp_path, name, content, line):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        build_task(dataclasses.replace(TABLE, data=str(tmp_path / name)))
    assert line in str(caught.value)
    assert name in str(caught.value) or "task.text" in str(caught.value)


def test_a_class_absent_from_training_is_named(tmp_path):
    test = write(tmp_path / "t.csv", [("new one", 7), ("another", 1)])
    with pytest.raises(ConfigError, match=r"t\.csv: a label is absent from training: '7' \(1 rows: 2\)"):
        build_task(dataclasses.replace(TABLE, data=write(tmp_path / "d.csv", rows(50)), test=test))


def test_a_number_of_classes_that_is_not_the_datas_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"2 classes in the training split, task\.classes=3"):
        build_task(dataclasses.replace(TABLE, data=write(tmp_path / "d.csv", rows(50)), classes=3))


def test_overlapping_splits_are_refused_and_a_rare_repeat_is_said(tmp_path):
    data = write(tmp_path / "d.csv", rows(50))
    with pytest.raises(ConfigError, match="50 of 50 test sentences stand in train too|stand in train too"):
        build_task(dataclasses.replace(TABLE, data=data, test=data))
    test = write(tmp_path / "t.csv", [*rows(199, start=1000), ("sentence number 0", 0), ("sentence number 1", 1)])
    task = build_task(dataclasses.replace(TABLE, data=data, test=test, validation_share=0.04, cut="stratified"))
    assert sum(task.shared.values()) == 2
    assert task.describe()["shared"] == task.shared


@pytest.fixture
def glue(tree, tmp_path):
    def build(train, dev, test, **changes):
        folder = tmp_path / "glue"
        folder.mkdir()
        for name, text in (("train.tsv", train), ("dev.tsv", dev), ("test.tsv", test)):
            if text is not None:
                (folder / name).write_text(text)
        config = tree()
        config["task"] = {
            "name": "sst2",
            "reader": "glue",
            "data": str(folder),
            "asset": {"address": "hub:x", "sha256": None},
            "stand_in": None,
            "answer": "class",
            "classes": 2,
            "train_rows": None,
            "split_seed": 0,
            "max_length": 32,
        } | changes
        task = check(config).task
        assert isinstance(task, GlueTaskConfig)
        return build_task(task)

    return build


PLAIN = 'a fine film\t1\na poor film\t0\nan odd "quote\t1\n'


def test_plain_tsv_is_read_as_published(glue):
    task = glue(PLAIN, "good\t1\nbad\t0\n", "great\t1\nNA\t0\n")
    assert task.splits["train"].texts == ("a fine film", "a poor film", 'an odd "quote')
    assert task.splits["test"].labels == (1, 0)


def test_glues_own_files_have_a_header_and_no_test_labels(glue):
    whole = [f"sentence {index} is a whole one about thing {index}" for index in range(40)]
    train = "sentence\tlabel\n" + "".join(f"{text} \t{index % 2}\n" for index, text in enumerate(whole))
    train += "".join(f"thing {index} \t{index % 2}\n" for index in range(40))
    task = glue(train, "sentence\tlabel\ngood\t1\nbad\t0\n", "index\tsentence\n0\tgreat\n")
    assert task.splits["test"].texts == ("good", "bad")
    held = task.splits["validation"].texts
    assert len(held) == 2
    for text in task.splits["train"].texts:
        assert not any(text.strip() in sentence for sentence in held)


@pytest.mark.parametrize(
    ("train", "dev", "line"),
    [
        ("a\tb\tc\n", "x\t1\n", "3 columns"),
        ("a\t1\nb\n", "x\t1\n", "row 2 has 1 fields"),
        (PLAIN, None, "no dev.tsv or validation.tsv"),
        ("", "x\t1\n", "the train split has no rows"),
        (PLAIN, "x\t5\n", "validation: absent from training: '5'"),
    ],
)
def test_a_glue_folder_that_is_not_one_is_named(glue, train, dev, line):
    with pytest.raises(ConfigError, match=line):
        glue(train, dev, "y\t1\n")


@settings(max_examples=50, deadline=None)
@given(st.sets(st.text("abcd ", min_size=1, max_size=12), min_size=4, max_size=40), st.integers(1, 6))
def test_no_training_row_is_part_of_a_held_out_sentence(texts, count):
    frame = pd.DataFrame({"text": sorted(texts), "label": "0"})
    train, held = _cut_whole_sentences(frame, count, seed=0)
    assert len(held) <= count
    assert not set(train.index) & set(held.index)
    for text in train["text"]:
        assert not any(text.strip() in sentence for sentence in held["text"].str.strip())


def test_the_packaged_sentences_are_the_real_ones_and_documents_stay_whole(compose):
    task = build_task(compose("task=nyt_snippets", "task.data=null").task)
    assert sum(len(split) for split in task.splits.values()) == 5119
    movie = build_task(compose("task=movie_snippets", "task.data=null").task)
    assert sum(len(split) for split in movie.splits.values()) == 10603
    assert sum(sum(split.labels) for split in movie.splits.values()) == 5242 - 1


def test_smaller_training_sets_are_parts_of_larger_ones_and_the_other_splits_stay(tmp_path):
    data = write(tmp_path / "data.csv", rows(100))
    few, more, whole = (
        build_task(dataclasses.replace(TABLE, data=data, train_rows=count)).splits for count in (10, 30, None)
    )
    assert [len(splits["train"]) for splits in (few, more, whole)] == [10, 30, 60]
    assert set(few["train"].texts) < set(more["train"].texts) < set(whole["train"].texts)
    assert few["test"] == whole["test"]
    with pytest.raises(ConfigError, match="task.train_rows=61: the training split has 60 rows"):
        build_task(dataclasses.replace(TABLE, data=data, train_rows=61))


def test_numbers_are_read_as_they_are_and_their_spread_is_the_training_splits(tmp_path):
    data = write(tmp_path / "data.csv", [(f"sentence {index}", index / 4 - 3) for index in range(50)])
    task = build_task(dataclasses.replace(TABLE, data=data, answer="number"))
    train = np.array(task.splits["train"].labels)
    assert task.outputs == 1
    assert task.spread == pytest.approx((train.mean(), train.std()))
    for split in task.splits.values():
        assert all(label == int(text.split()[1]) / 4 - 3 for text, label in zip(split.texts, split.labels, strict=True))


@pytest.mark.parametrize(
    ("labels", "said"),
    [(["1", "two", "3"], r"label is no number in 20 rows \(3, 6, .*'two'"), (["2", "2.0", "2"], "are the same")],
)
def test_labels_that_no_number_can_be_learned_from_are_refused(tmp_path, labels, said):
    data = write(tmp_path / "data.csv", [(f"sentence {index}", labels[index % 3]) for index in range(60)])
    with pytest.raises(ConfigError, match=said):
        build_task(dataclasses.replace(TABLE, data=data, answer="number"))
