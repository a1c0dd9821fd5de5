"""A continual trial that is put down anywhere ends as an undisturbed one, bit for bit."""

import dataclasses
import os
import signal

import pytest
import torch

from harness.config import check
from harness.system.signals import Interrupted, graceful_stop
from harness.training import DivergenceCheck, TrialModule, checkpoint
from harness.trial import TrialContext
from harness.trial.run import run_trial

WORDS = ["model.dropout=0.2", "trainer.epochs=20.0", "trainer.max_steps=12", "trainer.batch_size=16"]
WAYS = {
    "continued": ({}, ["lora.dropout=0.2"]),
    "separate": ({"learn": "separate"}, ["optimizer.lr=0.01"]),
    "orthogonal": ({"learn": "orthogonal"}, ["optimizer.lr=0.01"]),
    "inflora": ({"learn": "inflora", "input_share": 0.7}, ["optimizer.lr=0.01"]),
    "replay": ({"learn": "replay", "replay_rows": 20}, ["optimizer.lr=0.01"]),
    "full": ({"heads": "separate"}, ["lora=full"]),
    "head": ({}, ["lora=head", "trainer.patience=1", "optimizer.head_lr=0.3"]),
}
# Steps 1 to 12 are the first task's, and so on; an evaluation has three tasks, of two splits, of one batch each.
STOPS = [("test", 1), ("step", 1), ("step", 5), ("step", 12), ("test", 4), ("step", 18), ("test", 2), ("step", 36)]
FEWER = [stop for stop in STOPS if stop not in (("step", 1), ("test", 2))]
"""In a lesson and in an exam others stop, too; one way of learning stops at them all the same."""


@pytest.fixture
def train(several, tmp_path, monkeypatch):
    """Run a trial; a signal comes in its step so and so, or in the test batch so and so of this run."""

    def go(name: str, words, task, stop=("", 0), heard=None):
        folder = tmp_path / "trials" / name
        folder.mkdir(parents=True, exist_ok=True)
        made = several(*WORDS, *words)
        made["task"] |= task
        counts, steps = {"test": 0}, []
        test_step = TrialModule.test_step

        def on_step(guard, trainer, _):
            steps.append(trainer.step)
            counts["step"] = go.made[name] = go.made.get(name, 0) + 1
            if stop == ("step", counts["step"]):
                os.kill(os.getpid(), signal.SIGTERM)

        def on_test(module, batch):
            counts["test"] += 1
            if stop == ("test", counts["test"]):
                os.kill(os.getpid(), signal.SIGTERM)
            test_step(module, batch)

        def report(step, scores):
            if heard is not None:
                heard.append((step, scores))
            return False

        with monkeypatch.context() as patch:
            patch.setattr(DivergenceCheck, "after_step", on_step)
            patch.setattr(TrialModule, "test_step", on_test)
            try:
                with graceful_stop():
                    return run_trial(check(made), TrialContext("s", 0, "arm", folder), report), steps
            except Interrupted:
                return None, steps

    go.made = {}
    return go


def essence(entry, folder):
    """What must be the same."""
    steps, adapter = dataclasses.replace(entry.steps, resumed=None), dataclasses.replace(entry.adapter, path="")
    files = {path.name: path.read_text() for path in folder.glob("*.csv")}
    assert set(files) == {"predictions.csv", "metrics_first.csv", "metrics_second.csv", "metrics_third.csv"}
    return (
        entry.state,
        entry.scores,
        entry.continual,
        entry.continual_summary,
        adapter,
        steps,
        entry.dead,
        entry.lora,
        files,
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_continual_trial_put_down_in_training_and_evaluation_ends_as_an_undisturbed_one(train, tmp_path, way):
    task, words = WAYS[way]
    heard, again = [], []
    alone, steps = train("alone", words, task, heard=heard)
    assert alone.state == "complete", alone.reason
    taken = []
    for stop in STOPS if way == "continued" else FEWER:
        entry, part = train("again", words, task, stop)
        taken += part
        assert entry is None or (stop[0] == "step" and train.made["again"] < stop[1]), stop  # patience made it shorter
        if entry is not None:
            break
    else:
        entry, part = train("again", words, task, heard=again)
        taken += part
        assert again == heard
    assert taken == steps, "a step was made twice or left out"
    assert essence(entry, tmp_path / "trials/again") == essence(alone, tmp_path / "trials/alone")
    assert entry.steps.resumed > 0
    assert not (tmp_path / "trials/again/checkpoint").exists()


def test_a_continual_trial_goes_on_from_the_minutes_checkpoint_after_a_kill(train, tmp_path, monkeypatch):
    words, task = ["optimizer.lr=0.01"], {"learn": "orthogonal"}
    alone, _ = train("alone", words, task)
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)  # one at each step
    train("again", words, task, ("test", 15))  # in the evaluation after the second task
    monkeypatch.undo()
    paths = sorted((tmp_path / "trials/again/checkpoint").glob("*.pt"))
    assert len(paths) == 2
    paths[-1].write_bytes(paths[-1].read_bytes()[:-9])  # that of the stop: what a kill would not have written
    entry, steps = train("again", words, task)
    assert steps == list(range(1, 13)), "the third task alone was learned"
    assert entry.steps.resumed == 24
    assert essence(entry, tmp_path / "trials/again") == essence(alone, tmp_path / "trials/alone")


def test_a_checkpoint_of_the_version_before_is_taken_up(train, tmp_path):
    """It had the state of the tasks under another key."""
    alone, _ = train("alone", [], {})
    train("again", [], {}, ("step", 18))
    (path,) = (tmp_path / "trials/again/checkpoint").glob("*.pt")
    state = torch.load(path, weights_only=True)
    state["sequence"] = state.pop("continual")
    checkpoint.save(path.parent, state)
    entry, steps = train("again", [], {})
    assert (entry.steps.resumed, steps[0]) == (18, 7), "the second task has made six steps"
    assert essence(entry, tmp_path / "trials/again") == essence(alone, tmp_path / "trials/alone")


def test_another_sequences_checkpoint_is_passed_over(train, tmp_path):
    train("again", [], {}, ("step", 15))
    alone, _ = train("alone", ["seed=1"], {})
    entry, _ = train("again", ["seed=1"], {})
    assert entry.steps.resumed is None
    assert essence(entry, tmp_path / "trials/again") == essence(alone, tmp_path / "trials/alone")
