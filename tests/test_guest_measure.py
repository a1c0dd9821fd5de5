"""A measure of the user's own, written outside the repository as its page in docs/ shows it."""

import csv
import hashlib
import os
import re
import sys
from pathlib import Path

import pytest

from harness.config import ConfigError, check, to_dict
from harness.config.guests import FOLDERS, add_folder
from harness.record import headline_metric
from harness.trial.guests import check_guests
from harness.trial.inputs import input_digests

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how-to" / "own_measure.md").read_text()
NAME = "measures:MacroF1"
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

OWN = """
import math
import torch
from harness.task import GuestMeasure

class Falling(GuestMeasure):
    calls = 0
    def score(self, labels, logits):
        self.calls += 1
        return -self.calls

class Error(GuestMeasure):
    def score(self, labels, logits):
        return -(labels - logits[:, 0]).abs().mean()

class Nan(GuestMeasure):
    def score(self, labels, logits):
        return math.nan

class Raising(GuestMeasure):
    def score(self, labels, logits):
        raise KeyError("no such class")

class NoScore(GuestMeasure):
    pass

class Arguments(GuestMeasure):
    def __init__(self, beta):
        pass
    def score(self, labels, logits):
        return 0.0

class Broken(Falling):
    def __init__(self):
        raise OSError("no licence")
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the page describes, and measures that fail in their ways."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "measures.py").write_text(CODE)
    (folder / "own.py").write_text(OWN)
    monkeypatch.setenv(FOLDERS, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("measures", "own"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    add_folder(str(folder))
    return folder


@pytest.fixture
def run_config(tmp_path, own_cache):
    """Runs one trial in this process; returns its record and what `report` heard."""

    def go(config):
        from harness.trial import TrialContext
        from harness.trial.run import run_trial

        folder = tmp_path / "trials" / "0000"
        folder.mkdir(parents=True)
        heard = []

        def report(step, scores):
            heard.append((step, scores))
            return False

        return run_trial(config, TrialContext("study", 0, "lora", folder), report), heard

    return go


def columns(path: Path) -> dict[str, list[float]]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def test_fifteen_lines_are_enough():
    assert len(CODE.splitlines()) <= 15


def test_the_recorded_scores_are_those_of_scikit_learn(lab, compose, run_config, tmp_path, monkeypatch):
    from sklearn.metrics import accuracy_score, f1_score

    config = compose(f"trainer.objective={NAME}", "trainer.evaluations=4")
    check_guests(config)
    measure, seen = sys.modules["measures"].MacroF1, []
    score = measure.score
    monkeypatch.setattr(measure, "score", lambda *given: seen.append(given[1:]) or score(*given))
    record, heard = run_config(config)
    assert (record.state, record.objective) == ("complete", NAME)
    folder = tmp_path / "trials" / "0000"
    rows = columns(folder / "predictions.csv")
    truth = f1_score(rows["label"], rows["predicted"], average="macro")
    assert record.score("test", NAME) == pytest.approx(truth, abs=1e-6)
    assert set(record.scores["test"]) == {"accuracy", "loss", NAME}
    *validations, _ = seen  # the last is the test split
    sizes = {len(labels) for labels, _ in validations}
    assert sizes == {record.data.rows["validation"]}
    truths = [f1_score(labels, logits.argmax(1), average="macro") for labels, logits in validations]
    assert columns(folder / "metrics.csv")[f"val_{NAME}"] == pytest.approx(truths, abs=1e-6)
    assert [scores[NAME] for _, scores in heard] == pytest.approx(truths, abs=1e-6)
    best = truths.index(max(truths))
    assert record.score("val", NAME) == pytest.approx(truths[best], abs=1e-6)
    labels, logits = validations[best]
    assert record.score("val", "accuracy") == pytest.approx(accuracy_score(labels, logits.argmax(1)), abs=1e-6)
    code = hashlib.sha256((lab / "measures.py").read_bytes()).hexdigest()
    assert record.provenance.inputs["measure_code"] == code


def test_the_weights_of_the_highest_score_are_kept(lab, compose, run_config):
    record, heard = run_config(compose("trainer.objective=own:Falling"))
    assert [(step, scores["own:Falling"]) for step, scores in heard] == [(4, -1.0), (8, -2.0)]
    assert (record.steps.best, record.score("val", "own:Falling")) == (4, -1.0)


def test_numbers_are_measured_in_their_own_unit(lab, tree, tiny_numbers, run_config, tmp_path):
    config = tree(f"task.data={tiny_numbers}", "task.answer=number", "trainer.objective=own:Error")
    record, _ = run_config(check(config))
    rows = columns(tmp_path / "trials" / "0000" / "predictions.csv")
    errors = [abs(label - predicted) for label, predicted in zip(rows["label"], rows["predicted"], strict=True)]
    assert set(rows["label"]) == {2.5, -1.5}
    assert record.score("test", "own:Error") == pytest.approx(-sum(errors) / len(errors))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("own:Nan", "error: MeasureError: trainer.objective=own:Nan: score is nan, and has to be a finite number"),
        ("own:Raising", "error: MeasureError: trainer.objective=own:Raising: KeyError: 'no such class'"),
    ],
)
def test_a_measure_that_fails_fails_the_trial(lab, compose, run_config, name, reason):
    record, _ = run_config(compose(f"trainer.objective={name}"))
    assert (record.state, record.reason) == ("fail", reason)


def test_a_trial_that_diverged_fails_for_that(lab, compose, run_config):
    record, _ = run_config(compose("trainer.objective=own:Raising", "optimizer.lr=1e30", "optimizer.clip=null"))
    assert record.state == "fail"
    assert record.reason.startswith("diverged: ")


def test_the_identity_of_a_trial_has_the_digest_of_the_measure_s_code(lab, compose, own_cache):
    plain, measured = input_digests(compose()), input_digests(compose(f"trainer.objective={NAME}"))
    assert measured == plain | {"measure_code": hashlib.sha256((lab / "measures.py").read_bytes()).hexdigest()}
    (lab / "measures.py").write_text(CODE + "\n# changed\n")
    assert input_digests(compose(f"trainer.objective={NAME}"))["measure_code"] != measured["measure_code"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere_at_all:Name", "importing nowhere_at_all failed, ModuleNotFoundError: No module named"),
        ("measures:MacroF2", "measures has no MacroF2; did you mean MacroF1?"),
        ("pandas:read_pickle", "no subclass of harness.task.guest_measure.GuestMeasure"),
        ("harness.task:GuestMeasure", "no subclass of harness.task.guest_measure.GuestMeasure"),
        ("own:NoScore", "NoScore has no score(labels, logits); higher is better"),
        ("own:Arguments", "Arguments takes other arguments: missing a required argument: 'beta'"),
        ("own:Broken", "Broken() failed, OSError: no licence"),
    ],
)
def test_only_a_measure_s_class_is_used(lab, compose, name, said):
    with pytest.raises(ConfigError) as caught:
        check_guests(compose(f"trainer.objective={name}"))
    assert str(caught.value).startswith(f"trainer.objective={name}: {said}")
    assert len(str(caught.value).splitlines()) == 1


def test_what_a_measure_cannot_be_of_is_refused(lab, compose, compose_mixture, compose_plain, several):
    where = rf"^trainer\.objective={NAME}: task="
    with pytest.raises(ConfigError, match=where + r"mixture is several tasks, .*; trainer\.objective=score$"):
        compose_mixture(f"trainer.objective={NAME}")
    tree = several()
    tree["trainer"]["objective"] = NAME
    with pytest.raises(ConfigError, match=where + r"continual is several tasks, .*; trainer\.objective=score$"):
        check(tree)
    with pytest.raises(ConfigError, match=where + r"seq2seq answers with texts, and a measure is of classes or"):
        compose_plain("task=seq2seq", "task.data=p.csv", "model=t5_small", f"trainer.objective={NAME}")
    with pytest.raises(ConfigError, match=rf"^trainer\.devices=2: trainer\.objective={NAME} needs all rows in one"):
        compose(f"trainer.objective={NAME}", "trainer.devices=2")


def test_a_guest_s_task_of_texts_has_no_measure(lab, compose_plain):
    (lab / "pairs.py").write_text(
        "from harness.task import GuestTask\nclass Pairs(GuestTask):\n    reads = 'generator'\n"
        "    def splits(self):\n"
        "        names = ('train', 'validation', 'test')\n"
        "        return {name: ([f'{name} {i}' for i in range(9)], ['t'] * 9) for name in names}\n"
    )
    sys.modules.pop("pairs", None)
    tree = to_dict(compose_plain("task=seq2seq", "task.data=p.csv", "model=t5_small", "trainer.objective=loss"))
    tree["task"] = {"reader": "pairs:Pairs", "name": "pairs"}
    tree["trainer"]["objective"] = NAME
    with pytest.raises(ConfigError, match=rf"^trainer\.objective={NAME}: task=pairs answers with texts"):
        check_guests(check(tree))


def test_the_command_of_the_page_finds_the_folder(lab, tmp_path, zygote):
    (words,) = [line for line in PAGE.splitlines() if line.startswith("    python -m harness") and "study" not in line]
    words = words.split("-m harness ")[1].replace("MacroF1", "MacroF2")
    environment = {key: value for key, value in os.environ.items() if key != FOLDERS}
    done = zygote.run([*words.split(), "tracking=off", "trainer=cpu"], tmp_path, environment)
    assert done.returncode == 2
    assert "trainer.objective=measures:MacroF2: measures has no MacroF2; did you mean MacroF1?" in done.stderr
    assert list(tmp_path.iterdir()) == [lab]


OWN_METRIC = """
import dataclasses
from harness.task import GuestTask
from harness.task.metrics import ClassMetrics
from harness.task.text import TextTask

class Halved(ClassMetrics):
    names = ("half", "loss")
    def compute_and_reset(self):
        found = super().compute_and_reset()
        return {"half": found["accuracy"] / 2, "loss": found["loss"]}

class HalvedTask(TextTask):
    def metrics(self):
        return Halved(2)

class Words(GuestTask):
    reads = "text"
    max_length = 40
    def splits(self):
        names = ("train", "validation", "test")
        return {name: ([f"{name} {word} {i}" for i in range(9) for word in ("warm", "cold")], ["a", "b"] * 9)
                for name in names}
    def task(self, name, source):
        made = super().task(name, source)
        return HalvedTask(**{field.name: getattr(made, field.name) for field in dataclasses.fields(made)})
"""


def test_an_own_task_s_own_metric_is_an_objective(lab, compose, run_config):
    (lab / "words.py").write_text(OWN_METRIC)
    sys.modules.pop("words", None)
    tree = to_dict(compose("trainer.evaluations=2"))
    tree["task"] = {"reader": "words:Words", "name": "words"}
    with pytest.raises(ConfigError, match=r"^trainer\.objective=halve: task=words has none; trainer\.objective=half$"):
        check_guests(check(tree | {"trainer": tree["trainer"] | {"objective": "halve"}}))
    tree["trainer"]["objective"] = "half"
    config = check(tree)
    check_guests(config)
    record, heard = run_config(config)
    assert (record.state, record.reason) == ("complete", "")
    assert record.score("val", "half") == max(scores["half"] for _, scores in heard)
    assert headline_metric(record) == "half"
