"""run=predict says of images and recordings what the trial itself said of them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import wavfile
from transformers import AutoModelForImageClassification

from harness.commands.predict import _predictor
from harness.config import ConfigError
from tests.model.small import save_small
from tests.model.test_hf_audio import save_small as save_hearing
from tests.trial.test_export import trained  # noqa: F401  a fixture
from tests.trial.test_hf_trial import based_on
from tests.trial.test_image_table_trial import ANSWERS, photos  # noqa: F401  a fixture

KINDS = {"class": "go", "number": "loud", "labels": "kinds"}


@pytest.fixture
def clips(tmp_path):
    (tmp_path / "clips").mkdir()
    rows = []
    for row in range(60):
        name, rate = f"clips/{row:02}.wav", 8000 if row % 2 else 16000
        tone = np.sin(np.arange(rate // 2) * (0.1 + 0.1 * (row % 3)) * 8000 / rate) * 9000
        wavfile.write(tmp_path / name, rate, (tone + np.random.default_rng(row).normal(0, 900, len(tone))).astype("i2"))
        rows.append({"path": name, "go": f"k{row % 3}", "loud": row / 4, "kinds": f'["{"ab"[row % 2]}"]'})
    pd.DataFrame(rows).to_csv(tmp_path / "clips.csv", index=False)
    return ["task=audio_table", f"task.data={tmp_path}/clips.csv", "task.sample_rate=16000", "model.window_s=1"]


def answers(made):
    with open(made.folder / "answers.csv", newline="") as file:
        return {line["item"]: line for line in csv.DictReader(file)}


def predicted(made, source):
    target = source.parent / f"{source.name}.said.csv"
    _predictor(made.config.task, "s")(made, source, target)
    with open(target, newline="") as file:
        return list(csv.DictReader(file))


def said_as_by_the_trial(lines, made):
    known = answers(made)
    for line in lines:
        told = known[line["item"]]
        if made.classes:
            shares = [float(line[f"p({name})"]) for name in made.classes]
            assert shares == pytest.approx([float(told[f"p({name})"]) for name in made.classes], abs=1e-5)
        if made.several_labels:
            assert json.loads(line["predicted"]) == json.loads(told["predicted"])
        elif made.classes:
            assert line["predicted"] == told["predicted"]
        else:
            assert float(line["predicted"]) == pytest.approx(float(told["predicted"]), rel=1e-4)


@pytest.mark.parametrize("answer", ANSWERS)
def test_pictures_are_answered_in_the_order_of_the_table(answer, photos, trained, tmp_path):  # noqa: F811
    save_small(AutoModelForImageClassification, "resnet", tmp_path / "base", num_labels=3)
    made = trained(*photos, *ANSWERS[answer][0], *based_on(tmp_path / "base"), "lora.targets=[conv]", "lora.rank=1")
    names = list(reversed(answers(made)))
    (tmp_path / "ask.csv").write_text("image,n\n" + "".join(f"{name},1\n" for name in [*names, names[0]]))
    lines = predicted(made, tmp_path / "ask.csv")
    assert [line["item"] for line in lines] == [*names, names[0]]
    said_as_by_the_trial(lines, made)


@pytest.mark.parametrize("answer", KINDS)
def test_recordings_are_answered_as_by_the_trial(answer, clips, trained, tmp_path):  # noqa: F811
    save_hearing("wav2vec2", tmp_path / "base")
    objective = {"number": "loss", "labels": "f1_micro"}
    words = [f"task.label={KINDS[answer]}", f"task.answer={answer}", "lora.targets=all-linear", "lora.rank=2"]
    more = [f"trainer.objective={objective[answer]}"] if answer in objective else []
    made = trained(*clips, *words, *more, *based_on(tmp_path / "base"))
    (tmp_path / "ask.txt").write_text("".join(f"{name}\n" for name in answers(made)))
    lines = predicted(made, tmp_path / "ask.txt")
    assert [line["item"] for line in lines] == list(answers(made))
    said_as_by_the_trial(lines, made)


def test_folders_are_answered_in_the_order_of_names(trained, tmp_path, caplog):  # noqa: F811
    draw = np.random.default_rng(0)
    for row in range(60):
        (tmp_path / "all" / "ab"[row % 2]).mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "all" / "ab"[row % 2] / f"{row:02}.png")
    save_small(AutoModelForImageClassification, "resnet", tmp_path / "base", num_labels=2)
    words = ["task=image_folder", f"task.data={tmp_path}/all", "task.image_size=32"]
    made = trained(*words, *based_on(tmp_path / "base"), "lora.targets=[conv]", "lora.rank=1")
    known = answers(made)
    again = predicted(made, tmp_path / "all")
    assert {line["item"]: line["predicted"] for line in again if line["item"] in known} == {
        item: told["predicted"] for item, told in known.items()
    }
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / "notes.txt").write_text("no image")
    (tmp_path / "new" / "._x.png").write_text("no image")
    for place, item in enumerate(known):
        shutil.copy(tmp_path / "all" / item, tmp_path / "new" / ("deep" if place % 2 else "") / Path(item).name)
    lines = predicted(made, tmp_path / "new")
    assert [line["item"] for line in lines] == sorted(line["item"] for line in lines)
    assert len(lines) == len(known)
    by_name = {Path(item).name: told for item, told in known.items()}
    for line in lines:
        told = by_name[Path(line["item"]).name]
        assert line["predicted"] == told["predicted"]
        assert float(line["p(a)"]) == pytest.approx(float(told["p(a)"]), abs=1e-5)
    one = predicted(made, tmp_path / "new" / lines[0]["item"])
    assert [line["predicted"] for line in one] == [lines[0]["predicted"]]
    assert float(one[0]["p(a)"]) == pytest.approx(float(lines[0]["p(a)"]), abs=1e-5)
    deep = draw.integers(0, 4096, (16, 16)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    predicted(made, tmp_path / "deep.png")
    assert "65535 white in all of them, and 17 of 256 levels are left (deep.png)" in caplog.text
    (tmp_path / "new" / "bad.png").write_bytes(b"no image")
    (tmp_path / "new" / "bad.heic").write_bytes(b"unread")
    with pytest.raises(ConfigError, match=r"2 files cannot be read \(bad\.png: is no image.*bad\.heic: a kind of file"):
        predicted(made, tmp_path / "new")
