"""run=data says what was read, as the log of a trial and its record do, and trains nothing."""

import csv
import json
import os

import numpy as np
import pytest

from harness.config import ConfigError
from harness.task import build_task, encode
from harness.task.batches import Split
from harness.task.summary import short, summary, write_rows

ROWS = [
    *((f"a {word} film number {i}", "good" if i % 3 else "bad") for i, word in enumerate(["fine"] * 60)),
    ("a fine film number 3", "bad"),  # repeated
    ("A FINE film, number 3!", "bad"),  # alike
    ("", "good"),  # a gap
]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "mine.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([("text", "label"), *ROWS])
    return path


@pytest.fixture
def task(compose, data):
    return build_task(compose(f"task.data={data}", "task.gaps=leave_out", "task.cut=stratified").task)


def test_the_line_of_a_trials_log_has_all_that_is_out_of_the_ordinary(task):
    line = short(task)
    assert line.startswith("43 train, 6 validation, 12 test rows; 2 classes; left out: 1 gaps, 1 repeated; alike up to")
    assert line.endswith("train.separator: semicolon")


def test_the_summary_counts_classes_lengths_and_what_chance_scores(task):
    lines = summary(task, None)
    counts = {line.split()[0]: list(map(int, line.split()[1:])) for line in lines[3:6] if line}
    assert counts["rows"] == [43, 6, 12]
    assert list(map(sum, zip(counts["good"], counts["bad"], strict=True))) == counts["rows"]
    always = counts["good"][2] / 12
    assert (
        f"always answering 'good' is right for {counts['good'][1] / 6:.4f} on validation, {always:.4f} on test" in lines
    )
    assert "left out, gaps: 1 (rows 64)" in lines
    assert "left out, repeated: 1 (rows 62)" in lines


def test_the_rows_of_each_split_are_written_and_make_the_same_splits_again(task, tmp_path):
    write_rows(task, tmp_path / "splits.csv")
    with open(tmp_path / "splits.csv", newline="") as file:
        written = list(csv.DictReader(file))
    for name, split in task.splits.items():
        rows = [int(line["row"]) for line in written if line["split"] == name]
        assert tuple(ROWS[row - 2][0] for row in rows) == split.texts


def test_trials_whose_data_differ_have_a_file_each(task, tmp_path):
    (tmp_path / "trial").mkdir()
    study, own = tmp_path / "splits.csv", tmp_path / "trial/splits.csv"
    write_rows(task, study, own)
    write_rows(task, study, own)
    written = study.read_text()
    assert not own.exists(), "the same rows are written once"
    study.write_text("split,row\ntrain,2\n")
    write_rows(task, study, own)
    assert (study.read_text(), own.read_text()) == ("split,row\ntrain,2\n", written)


def test_rows_that_are_half_written_are_not_seen(task, tmp_path, monkeypatch):
    own = tmp_path / "own" / "splits.csv"
    (tmp_path / "new").mkdir()
    monkeypatch.setattr(csv, "writer", lambda out, **_: _Torn(out))
    with pytest.raises(UnicodeEncodeError):
        write_rows(task, tmp_path / "new" / "splits.csv", own)
    assert list((tmp_path / "new").iterdir()) == []


class _Torn:
    def __init__(self, out):
        out.write("x" * 100_000 + "\ud800")
        self.writerow = self.writerows = lambda *_: None


def test_of_numbers_the_mean_is_what_chance_answers(compose, tiny_numbers):
    task = build_task(compose(f"task.data={tiny_numbers}", "task.answer=number", "trainer.objective=loss").task)
    train, test = (task.splits[name].labels for name in ("train", "test"))
    mean = sum(train) / len(train)
    error = (sum((label - mean) ** 2 for label in test) / len(test)) ** 0.5
    assert task.describe()["mean_predictor"]["test"] == pytest.approx(error)
    assert any(f"{error:.4f} on test" in line for line in summary(task, None))


def test_texts_that_are_cut_are_counted_and_never_to_nothing(tiny_base, own_cache):
    split = Split(("the film is a story", "music", "people in town"), (0, 1, 0))
    encoded = encode(split, tiny_base / "tokenizer.json", 4, 0)
    assert encoded.lengths.tolist() == [4, 3, 4]
    assert encoded.truncated() == {"text": 2}
    assert encode(split, tiny_base / "tokenizer.json", 7, 0).truncated() == {}
    with pytest.raises(ConfigError, match=r"task\.max_length=3: it leaves 2 of 3 texts 1 tokens of their own"):
        encode(split, tiny_base / "tokenizer.json", 3, 0)


def test_the_command_trains_nothing_and_leaves_text_picture_and_rows(data, tmp_path, zygote):
    words = ["task=text_csv", f"task.data={data}", "task.gaps=leave_out", f"results={tmp_path}/r", "study=look"]
    done = zygote.run(["run=data", *words], tmp_path, os.environ | {"HARNESS_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    assert "left out, repeated: 1 (rows 62)" in done.stdout
    assert "not counted as the model minilm reads them" in done.stderr, "no base is downloaded"
    left = {path.name for path in (tmp_path / "r/look").iterdir()}
    assert left == {"data.md", "data.png", "data.svg", "data.pdf", "splits.csv"}
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_the_record_has_what_was_found_out(task):
    told = json.loads(json.dumps(task.describe()))
    assert told["left_out"] == {"gaps": 1, "repeated": 1}
    assert told["near"] == {"train": 1} or sum(told["near"].values()) == 1
    assert told["format"] == {"train.separator": "semicolon"}


class _Lengths:
    def __init__(self, *lengths):
        self.lengths = np.array(lengths)

    def truncated(self):
        return {}


def test_a_split_whose_rows_are_all_of_one_length_is_told_beside_the_others(task):
    inputs = {"train": _Lengths(*range(1, 44)), "validation": _Lengths(*[7] * 6), "test": _Lengths(*range(12))}
    (line,) = [line for line in summary(task, inputs) if line.startswith("tokens")]
    assert "7 / 7 / 7 / 7" in line
