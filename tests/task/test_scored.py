"""Data that are scored alone may lack classes of the head; measures that have no value on them are named."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from harness.config import ConfigError
from harness.task.base import SPLITS
from harness.task.build import read_task
from harness.task.intake.scored import head_classes, read_to_score, scored_alone
from harness.task.measures import without_value

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
