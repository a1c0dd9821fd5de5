"""Training steps as graphs of a GPU: each trial is what it is without them."""

import csv

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from harness.model.text import TextClassifier
from harness.system.signals import Interrupted, graceful_stop
from harness.trial import TrialContext
from harness.trial.run import run_trial
from tests.model.small import save_small
from tests.tiny import stop_at
from tests.trial.test_hf_trial import SHORT, based_on, reviews  # noqa: F401  a fixture

STEPS = ("trainer.accelerator=gpu", "trainer.max_steps=60", "trainer.epochs=50.0", "trainer.evaluations=3")
FEW_SHAPES = ("trainer.pad_to_multiple_of=8",)


@pytest.fixture
def run(compose, tmp_path, own_cache):
    def go(name, *words, plain=compose, report=lambda step, scores: False):
        folder = tmp_path / "results" / "s" / "trials" / name
        folder.mkdir(parents=True, exist_ok=True)
        entry = run_trial(plain(*words), TrialContext("s", 0, "arm", folder), report)
        assert (entry.state, entry.reason) == ("complete", "")
        with open(folder / "metrics.csv") as file:
            losses = [float(row["train_loss"]) for row in csv.DictReader(file) if row["train_loss"]]
        return entry, losses

    return go


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(
    "words",
    [
        ["lora=lora", "lora.rank=2", "lora.dropout=0.1"],
        ["lora=dora", "lora.rank=2"],
        ["lora=full"],
        ["lora=bitfit"],
        ["lora=head"],
    ],
)
def test_a_trial_of_graphs_is_the_trial_without(run, words, precision):
    words = [*STEPS, *FEW_SHAPES, *words, f"trainer.precision={precision}", "model.dropout=0.1", "optimizer.lr=0.01"]
    with_graphs, losses = run("with", *words)
    without, plain = run("without", *words, "trainer.cuda_graphs=false")
    assert with_graphs.fingerprint == without.fingerprint
    said = with_graphs.provenance.arithmetic["cuda_graphs"]
    assert said.startswith("of ")
    assert int(said.split()[1]) > 0
    assert without.provenance.arithmetic["cuda_graphs"] == "trainer.cuda_graphs=false"
    assert losses == plain
    assert with_graphs.scores == without.scores
    assert with_graphs.memory.train_peak == pytest.approx(without.memory.train_peak, rel=0.1)


def test_a_trial_that_was_stopped_goes_on_bit_for_bit(run):
    words = [*STEPS, *FEW_SHAPES, "lora.rank=2", "lora.dropout=0.1", "model.dropout=0.1", "optimizer.lr=0.01"]
    whole, losses = run("whole", *words)

    with pytest.raises(Interrupted), graceful_stop():
        run("parts", *words, report=stop_at(40))
    resumed, again = run("parts", *words)
    assert resumed.steps.resumed is not None
    assert again == losses
    assert resumed.scores == whole.scores


def test_a_base_of_transformers_is_recorded(compose_plain, run, reviews, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, "llama", tmp_path / "base", num_labels=2)
    words = [*reviews, *based_on(tmp_path / "base"), *SHORT, *STEPS, *FEW_SHAPES, "trainer.precision=32-true"]
    words += ["lora.targets=all-linear", "lora.rank=2"]
    with_graphs, losses = run("with", *words, plain=compose_plain)
    _, plain = run("without", *words, "trainer.cuda_graphs=false", plain=compose_plain)
    assert with_graphs.provenance.arithmetic["cuda_graphs"].startswith("of ")
    assert losses == pytest.approx(plain, abs=1e-4)


def _waits(features, mask):
    return features * float(mask.sum() > 0)


def _draws(features, mask):
    return features + 0 * float(torch.rand([]))


def _draws_of_numpy(features, mask):
    return features + 0 * np.random.random()  # noqa: NPY002


@pytest.mark.parametrize(
    ("what", "why"), [(_waits, ""), (_draws, "random numbers of the processor"), (_draws_of_numpy, "random numbers")]
)
def test_what_cannot_be_recorded_trains_without(run, monkeypatch, what, why):
    """A value that is asked back from the GPU, and draws that a recording would repeat."""
    pool = TextClassifier._pool
    monkeypatch.setattr(TextClassifier, "_pool", lambda self, out, mask: what(pool(self, out, mask), mask))
    words = [*STEPS, *FEW_SHAPES, "lora.rank=2", "lora.dropout=0.1", "model.dropout=0.1", "optimizer.lr=0.01"]
    entry, losses = run("with", *words)
    _, plain = run("without", *words, "trainer.cuda_graphs=false")
    said = entry.provenance.arithmetic["cuda_graphs"]
    assert not said.startswith("of ")
    assert why in said
    assert losses == plain


def test_a_graph_that_computes_something_else_is_not_used(run, monkeypatch):
    """What a step takes from the process and not from its batch stays in a graph as it was."""
    pool, steps = TextClassifier._pool, []

    def counted(self, out, mask):
        steps.append(1)
        return pool(self, out, mask) * (1 + len(steps))

    monkeypatch.setattr(TextClassifier, "_pool", counted)
    entry, _ = run("with", *STEPS, *FEW_SHAPES, "lora.rank=2", "optimizer.lr=0.01")
    assert "computes something else" in entry.provenance.arithmetic["cuda_graphs"]
