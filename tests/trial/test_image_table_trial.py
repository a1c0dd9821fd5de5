"""Trials on tables of images: each kind of answer is trained, scored, named and exported."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageClassification

from harness.report.table import arm_results
from harness.task import build_task
from harness.trial.evaluate import evaluate_saved, evaluate_trial
from harness.trial.export import export_trial
from harness.trial.saved import find_saved
from tests.model.small import save_small
from tests.trial.test_export import trained  # noqa: F401  a fixture
from tests.trial.test_hf_trial import SHORT, based_on

ANSWERS = {
    "class": (["task.label=kind"], {"accuracy", "loss"}),
    "number": (["task.label=size", "task.answer=number", "trainer.objective=loss"], {"rmse", "r2", "loss"}),
    "labels": (
        ["task.label=kinds", "task.answer=labels", "trainer.objective=f1_micro"],
        {"f1_micro", "f1_macro", "exact", "loss"},
    ),
}


@pytest.fixture
def photos(tmp_path):
    draw = np.random.default_rng(0)
    rows = []
    for row in range(90):
        Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{row}.png")
        kinds = [name for place, name in enumerate(("a", "b")) if row >> place & 1]
        rows.append({"image": f"{row}.png", "kind": f"k{row % 3}", "size": 100 + row / 9, "kinds": json.dumps(kinds)})
    pd.DataFrame(rows).to_csv(tmp_path / "photos.csv", index=False)
    return ["task=image_table", f"task.data={tmp_path}/photos.csv", "task.image_size=32"]


def answers_are_named(made, photos):
    """The table of answers has the labels of the file under the names of pictures, and the recorded scores."""
    with open(made.folder / "answers.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    scores, told = made.entry.scores["test"], photos.loc[[line["item"] for line in lines]]
    labels, said = ([line[name] for line in lines] for name in ("label", "predicted"))
    if "rmse" in scores:
        assert list(map(float, labels)) == pytest.approx(told["size"].tolist(), rel=1e-6)
        errors = [(float(one) - float(other)) ** 2 for one, other in zip(labels, said, strict=True)]
        assert np.mean(errors) ** 0.5 == pytest.approx(scores["rmse"], rel=1e-4)
    elif "exact" in scores:
        wanted, found = ([set(json.loads(cell)) for cell in cells] for cells in (labels, said))
        assert wanted == [set(json.loads(cell)) for cell in told["kinds"]]
        for line, answered in zip(lines, found, strict=True):
            assert answered == {name for name in ("a", "b") if float(line[f"p({name})"]) > 0.5}
        right, all_ = (sum(map(len, sets)) for sets in (map(set.intersection, wanted, found), [*wanted, *found]))
        assert scores["f1_micro"] == pytest.approx(2 * right / max(1, all_))
    else:
        assert labels == told["kind"].tolist()
        assert np.mean(np.equal(labels, said)) == pytest.approx(scores["accuracy"])


def test_all_pictures_of_a_folder_are_scored_once(photos, trained, compose_plain, tmp_path):  # noqa: F811
    """Of few files in train and test, of one class there, which could neither be cut nor be learned from."""
    save_small(AutoModelForImageClassification, "resnet", tmp_path / "base", num_labels=3)
    base = based_on(tmp_path / "base")
    made = trained(*photos, "task.label=kind", *base, "lora.targets=[conv]", "lora.rank=1")
    wanted = {f"k{row % 3}/{row}.png": tmp_path / f"{row}.png" for row in (0, 1, 3, 4, 7)}
    for place, (name, path) in enumerate(wanted.items()):
        target = tmp_path / "own" / ("test" if place > 3 else "train") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    words = "task=image_folder", f"task.data={tmp_path}/own", "task.image_size=32", *base
    found, said = evaluate_saved(find_saved(str(made.folder / "adapter")), compose_plain(*SHORT, *words), "all")
    assert said["data"]["rows"] == {"all": 5}
    head, lines = found.table
    assert sorted(line[1].partition("/")[2] for line in lines) == sorted(wanted)
    right = [line[head.index("label")] == line[head.index("predicted")] for line in lines]
    assert found.scores["accuracy"] == pytest.approx(np.mean(right))
    assert [line[head.index("label")] for line in lines] == [line[1].split("/")[-2] for line in lines]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_trial_of_each_kind_of_answer(answer, photos, trained, tmp_path):  # noqa: F811
    save_small(AutoModelForImageClassification, "resnet", tmp_path / "base", num_labels=3)
    words, names = ANSWERS[answer]
    made = trained(*photos, *words, *based_on(tmp_path / "base"), "lora.targets=[conv]", "lora.rank=1")
    assert set(made.entry.scores["test"]) == names
    task = build_task(made.config.task)
    found, _ = evaluate_trial(made, "test")
    assert found.scores == pytest.approx(made.entry.scores["test"], rel=1e-5)
    head, rows = found.table
    with open(made.folder / "answers.csv", newline="") as file:
        kept = list(csv.reader(file))
    assert head == kept[0]
    assert [row[:2] for row in rows] == [row[:2] for row in kept[1:]]
    if answer == "number":
        assert [float(row[2]) for row in rows] == pytest.approx([float(row[2]) for row in kept[1:]], rel=1e-4)
    else:
        assert [row[2] for row in rows] == [row[2] for row in kept[1:]]
    (result,) = arm_results([made.entry], made.folder.parents[1])
    assert (result.interval is None) == (answer == "labels")
    answers_are_named(made, pd.read_csv(tmp_path / "photos.csv").set_index("image"))
    export_trial(made, tmp_path / "out", merged=True)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    images = task.inputs("test", None).batch(range(4))["images"]
    from harness.trial.trained import load_trained

    own = load_trained(made)
    with torch.no_grad():
        ours = own({"images": images})
        said = theirs(pixel_values=(images.float() - own.mean) / own.std).logits
    sd, mean = made.unit or (1.0, 0.0)
    torch.testing.assert_close(said, ours * sd + mean, rtol=1e-3, atol=1e-3)
    assert (80 < said.mean() < 130) == (answer == "number")
