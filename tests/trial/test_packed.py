"""Trials that share the passes over their base: each is the trial that it is alone."""

import csv

import pytest
import torch
from safetensors.torch import load_file

from harness.lora import packed
from harness.system import signals
from harness.system.signals import Interrupted
from harness.training import Pack, TrialModule
from harness.trial import TrialContext
from harness.trial.run import run_trial

CPU = ("trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.threads=1")
COMMON = (*CPU, "trainer.max_steps=50", "trainer.epochs=20.0", "trainer.evaluations=5")
MIXED = (
    ("lora.rank=1", "optimizer.lr=0.02", "optimizer.clip=0.05"),
    (
        "lora.rank=4",
        "lora.scale=0.5",
        "lora.variant=lora_plus",
        "lora.lr_ratio=2.0",
        "optimizer.lr=0.003",
        "seed=3",
        "optimizer.schedule=cosine",
    ),
    (
        "lora.rank=2",
        "lora.targets=[query,ffn_up]",
        "optimizer.lr=0.01",
        "lora.variant=lora_fa",
        "optimizer.weight_decay=0.1",
        "seed=5",
    ),
)


class Trials:
    """Trials of some configurations, each alone or all in one pack, in folders of their own."""

    def __init__(self, compose, place):
        self.compose, self.place = compose, place

    def run(self, name, words, report=lambda step, scores: False, pack=None):
        folder = self.folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        context = TrialContext("s", 0, "arm", folder, compares=False, pack=pack)
        return run_trial(self.compose(*COMMON, *words), context, report)

    def together(self, pack, **works):
        """What each of these functions returns, or the error that it raises, by name."""
        found = {}

        def caught(name, work):
            try:
                found[name] = work(pack)
            except Interrupted as stop:
                found[name] = stop

        pack.run([lambda name=name, work=work: caught(name, work) for name, work in works.items()])
        return found

    def packed(self, *configurations, pack=None, **reports):
        pack = pack or Pack()
        works = {
            f"packed{place}": lambda pack, place=place, words=words: self.run(
                f"packed{place}", words, **reports.get(f"of{place}", {}), pack=pack
            )
            for place, words in enumerate(configurations)
        }
        found = self.together(pack, **works)
        return [found[name] for name in works]

    def folder(self, name):
        return self.place / name / "s" / "trials" / "0000"

    def curve(self, name):
        with open(self.folder(name) / "metrics.csv", newline="") as file:
            return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]

    def weights(self, name):
        files = (self.folder(name) / "adapter").glob("*.safetensors")
        return {f"{file.name} {key}": tensor for file in files for key, tensor in load_file(file).items()}

    def same(self, one, other):
        for mine, theirs in zip(self.curve(one), self.curve(other), strict=True):
            assert mine == pytest.approx(theirs, abs=1e-6), f"{one}, step {mine['step']}"
        mine, theirs = self.weights(one), self.weights(other)
        assert mine.keys() == theirs.keys()
        for name, tensor in mine.items():
            assert torch.allclose(tensor, theirs[name], rtol=0, atol=1e-6), name


@pytest.fixture
def trials(compose, tmp_path, own_cache):
    return Trials(compose, tmp_path)


@pytest.fixture
def passes(monkeypatch):
    """How many trials each joint pass had."""
    counts, forward = [], Pack._forward

    def counted(self, group):
        counts.append(len(group))
        return forward(self, group)

    monkeypatch.setattr(Pack, "_forward", counted)
    return counts


@pytest.mark.parametrize(
    "more", [["model.dropout=0.1", "lora.dropout=0.1"], ["model.dropout=0", "model.quantization=int8"]]
)
def test_trials_of_a_pack_are_the_trials_that_they_are_alone(trials, passes, more):
    words = [(*each, *more) for each in MIXED]
    alone = [trials.run(f"alone{place}", each) for place, each in enumerate(words)]
    together = trials.packed(*words)
    assert passes == [3] * 50
    for place, (one, other) in enumerate(zip(alone, together, strict=True)):
        trials.same(f"alone{place}", f"packed{place}")
        assert one.scores["test"] == pytest.approx(other.scores["test"], abs=1e-6)
        assert one.fingerprint == other.fingerprint


def test_a_trial_that_is_pruned_or_fails_leaves_the_others_as_they_are(trials, passes, monkeypatch):
    trials.run("alone1", MIXED[1])
    at_20 = {"report": lambda step, scores: step == 20}

    def breaks(step, scores):
        raise OSError("a fault of its own")

    diverges = (*MIXED[2], "optimizer.lr=1e20", "optimizer.clip=null")
    found = trials.packed(MIXED[0], MIXED[1], diverges, MIXED[2], of0=at_20, of3={"report": breaks})
    assert [entry.state for entry in found] == ["pruned", "complete", "fail", "fail"]
    assert "diverged" in found[2].reason
    assert "a fault of its own" in found[3].reason
    assert passes[0] == 4
    assert passes[-1] == 1
    trials.same("alone1", "packed1")


def test_a_head_that_fails_in_the_middle_of_a_step_leaves_the_others_as_they_are(trials, passes, monkeypatch):
    for place in (0, 2):
        trials.run(f"alone{place}", MIXED[place])
    step, made = TrialModule.forward, []

    def breaks(self, *given):
        made.append(self)
        if len(made) == 3 * 10 + 2:  # the second trial, at its eleventh step
            raise OSError("a fault of its own")
        return step(self, *given)

    monkeypatch.setattr(TrialModule, "forward", breaks)
    found = trials.packed(*MIXED)
    assert [entry.state for entry in found] == ["complete", "fail", "complete"]
    assert passes == [3] * 11 + [2] * 39
    trials.same("alone0", "packed0")
    trials.same("alone2", "packed2")


def test_the_next_trial_takes_the_place_of_one_that_ended(trials, passes):
    words = [(*each, "model.dropout=0.1") for each in MIXED]
    trials.run("alone0", words[0])
    trials.run("alone2", words[2])

    def one_after_another(pack):
        first = trials.run("packed1", words[1], report=lambda step, scores: step == 10, pack=pack)
        return first, trials.run("packed2", words[2], pack=pack)

    trials.together(Pack(), long=lambda pack: trials.run("packed0", words[0], pack=pack), two=one_after_another)
    assert passes == [2] * 50 + [1] * 10
    trials.same("alone0", "packed0")
    trials.same("alone2", "packed2")


def test_a_trial_that_is_stopped_in_a_pack_goes_on_alone_and_the_other_way_round(trials, monkeypatch):
    words = [(*each, "model.dropout=0.1") for each in MIXED]
    for place in (0, 1):
        trials.run(f"alone{place}", words[place])
    seen = []

    def stop(step, scores):
        seen.append(step)
        if len(seen) == 2:
            signals.request_stop()
        return False

    with signals.graceful_stop():
        found = trials.packed(words[0], words[1], of0={"report": stop})
        assert all(isinstance(entry, Interrupted) for entry in found)
    assert trials.run("packed0", words[0]).steps.resumed
    trials.same("alone0", "packed0")
    assert trials.packed(words[2], words[1])[1].steps.resumed
    trials.same("alone1", "packed1")


@pytest.mark.parametrize("where", ["gather", "scatter"])
def test_a_pass_that_runs_out_of_memory_is_made_in_halves(trials, passes, monkeypatch, where):
    words = [(*each, "model.dropout=0.1") for each in MIXED]
    for place, each in enumerate(words):
        trials.run(f"alone{place}", each)
    owner = packed.JoinedBase if where == "gather" else packed.Stack
    plain = getattr(owner, where)

    def scarce(self, *place):
        if len(self._members if where == "gather" else self.updates) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, *place)

    monkeypatch.setattr(owner, where, scarce)
    pack = Pack()
    assert [entry.state for entry in trials.packed(*words, pack=pack)] == ["complete"] * 3
    assert pack.most == 1
    for place in range(3):
        trials.same(f"alone{place}", f"packed{place}")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("lora=full",), "lora=full: what it trains of the base is not A and B of fixed ranks"),
        (("lora=head",), "lora=head: what it trains"),
        (("lora.variant=dora",), "is more than A and B"),
        (("lora.variant=pissa",), "its start was taken out of the base"),
        (("lora.variant=adalora", "lora.rank=4"), "not A and B of fixed ranks"),
        (("trainer.accumulate=2",), "trainer.accumulate=2"),
        (("lora.targets=[query,embeddings.word_embeddings]",), "LoraEmbedding"),
    ],
)
def test_what_cannot_share_a_pass_trains_by_itself_and_says_why(trials, passes, caplog, words, reason):
    few = ("trainer.max_steps=4", "trainer.evaluations=1")
    with caplog.at_level("INFO"):
        found = trials.packed((*words, *few), MIXED[0] + few)
    assert [entry.state for entry in found] == ["complete"] * 2
    assert passes == [1] * 4
    (said,) = [line for line in caplog.messages if "by itself" in line]
    assert reason in said
