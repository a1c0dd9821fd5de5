"""Data that are scored alone may lack classes of the head; measures that have no value on them are named."""

import json

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import wavfile

from harness.config import ConfigError
from harness.record import Data
from harness.task.base import SPLITS
from harness.task.build import read_task
from harness.task.intake.scored import head_classes, read_to_score, scored_alone
from harness.task.measures import without_value
from harness.task.summary import rows_left_out

HEAD = ("cat", "dog", "owl")


def pictures(folder):
    (folder / "cat").mkdir()
    for row in range(20):
        pixels = np.random.default_rng(row).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "cat" / f"{row}.png")
    return folder


def words(folder):
    (folder / "cat").mkdir()
    for row in range(20):
        samples = np.random.default_rng(row).normal(0, 3000, 2000 + row).astype(np.int16)
        wavfile.write(folder / "cat" / f"{row}.wav", 8000, samples)
    return folder


def table_of(make, column, suffix):
    def write(folder):
        make(folder)
        rows = "".join(f"cat/{row}.{suffix},cat\n" for row in range(20))
        (folder / "rows.csv").write_text(f"{column},label\n{rows}")
        return folder / "rows.csv"

    return write


def texts(folder):
    (folder / "rows.csv").write_text(
        "text,label\n" + "".join(f"row number {row} of {row * row},cat\n" for row in range(20))
    )
    return folder / "rows.csv"


def tags(folder):
    rows = [{"tokens": [f"t{row}", f"u{row * row}"], "tags": ["cat", "cat"]} for row in range(20)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


TASKS = {
    "image_folder": (pictures, ["model=efficientnet_lite0", "lora.targets=[conv]"]),
    "image_table": (table_of(pictures, "image", "png"), ["model=efficientnet_lite0", "lora.targets=[conv]"]),
    "audio_folder": (words, ["model=lstm_speech", "lora.targets=[lstm]"]),
    "audio_table": (table_of(words, "audio", "wav"), ["model=lstm_speech", "lora.targets=[lstm]"]),
    "text_csv": (texts, []),
    "token_labels": (tags, ["task.scheme=plain", "trainer.objective=accuracy"]),
}


@pytest.mark.parametrize("name", TASKS)
def test_classes_are_the_head_s_where_data_are_scored_alone(name, compose_plain, own_cache, tmp_path):
    make, more = TASKS[name]
    (tmp_path / "own").mkdir()
    config = compose_plain(f"task={name}", f"task.data={make(tmp_path / 'own')}", *more).task
    with pytest.raises(ConfigError, match="2 are needed|nothing to learn"):
        read_task(config)
    with read_to_score(HEAD):
        task = read_task(config)
    assert task.classes == HEAD
    if name.startswith(("image", "audio")):  # which take no tokenizer
        assert all(task.inputs(split, None).batch([0])["labels"].tolist() == [0] for split in SPLITS)
    assert not scored_alone()
    assert head_classes() == ()


def given(folder, make):
    """What `make` makes as the training and the test split of a folder."""
    for split in ("train", "test"):
        (folder / split).mkdir()
        make(folder / split)
    return folder


def saved(folder, make):
    """A table as the datasets library saves one split."""
    path = make(folder)
    frame = pd.read_json(path, lines=True) if path.suffix == ".jsonl" else pd.read_csv(path)
    datasets.Dataset.from_pandas(frame).save_to_disk(folder / "saved")
    return folder / "saved"


def with_times(folder):
    """Times that cannot be told apart are of no account where nothing is cut."""
    path = texts(folder)
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},when", *(f"{row},0{1 + place % 9}/02/2024" for place, row in enumerate(rows))]))
    return path


WHOLE = {
    "image_folder": ("image_folder", pictures, "data"),
    "image_folder, test given": ("image_folder", lambda folder: given(folder, pictures), "data"),
    "audio_folder": ("audio_folder", words, "data"),
    "audio_folder, test given": ("audio_folder", lambda folder: given(folder, words), "data"),
    "image_table": ("image_table", TASKS["image_table"][0], "data"),
    "audio_table": ("audio_table", TASKS["audio_table"][0], "data"),
    "text_csv": ("text_csv", with_times, "data"),
    "text_csv, saved": ("hf", lambda folder: saved(folder, texts), "dataset"),
    "token_labels": ("token_labels", tags, "data"),
    "token_labels, saved": ("token_labels", lambda folder: saved(folder, tags), "dataset"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_where_all_rows_are_scored_none_are_cut(name, compose_plain, own_cache, tmp_path):
    kind, make, key = WHOLE[name]
    (tmp_path / "own").mkdir()
    more = ["task.time=when"] if make is with_times else []
    words = [f"task={kind}", f"task.{key}={make(tmp_path / 'own')}", *TASKS.get(kind, TASKS["text_csv"])[1], *more]
    uncut = compose_plain(*words).task.uncut()
    with read_to_score(HEAD, whole=True) as read:
        task = read_task(uncut)
    rows = Data.of(task.describe()).rows
    there = {"train": 20, "validation": 20, "test": 20}
    assert rows == there
    assert read.uncut == ({"validation"} if "given" in name else {"validation", "test"})
    assert rows_left_out(task) == []


@pytest.mark.parametrize(
    ("labels", "classes", "missing"),
    [
        ([0, 1, 2], "abc", set()),
        ([0, 1], "abc", {"auroc", "average_precision"}),
        ([0, 0], "abc", {"auroc", "average_precision", "balanced_accuracy", "f1_macro", "matthews"}),
        ([0, 0], "ab", {"auroc", "average_precision", "balanced_accuracy", "f1_macro", "matthews", "f1"}),
        ([1, 1], "ab", {"auroc", "average_precision", "balanced_accuracy", "f1_macro", "matthews"}),
        ([2.5, 2.5], "", {"r2", "pearson", "spearman"}),
        ([2.5, 3.5], "", set()),
    ],
)
def test_measures_without_a_value_are_named(labels, classes, missing):
    names = ("accuracy", "auroc", "average_precision", "balanced_accuracy", "f1", "f1_macro", "f1_micro", "matthews")
    asked = names if classes else ("rmse", "mae", "r2", "pearson", "spearman", "loss")
    assert set(without_value(asked, labels, tuple(classes))) == missing
