"""Whole trials on packed examples beside trials whose steps are of the same examples, padded."""

import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from harness.config import ConfigError
from harness.model.generator import Generator
from harness.system.signals import Interrupted, graceful_stop
from harness.task import Inputs, LengthBatches
from harness.trial import TrialContext
from harness.trial.run import run_trial
from tests.model.small import save_small
from tests.task.chat_fixtures import CHATML, save_base
from tests.tiny import stop_at
from tests.trial.test_hf_trial import based_on, pairs  # noqa: F401  a fixture

PACKED = "trainer.pack_sequences=true"
SGD = ["optimizer.name=SGD", "optimizer.arguments={momentum: 0.9}", "optimizer.lr=0.05", "optimizer.clip=0.5"]
STEPS = ["trainer.max_steps=6", "trainer.evaluations=2", "trainer.batch_size=12", "trainer.objective=loss"]


@pytest.fixture
def chats(tmp_path, own_cache):
    draw = random.Random(0)
    rows = []
    for number in range(80):
        turns = [("user", f"page {number}"), ("assistant", " ".join(["Seite"] * draw.randint(1, 14)))]
        rows.append(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}))
    (tmp_path / "chats.jsonl").write_text("\n".join(rows) + "\n")
    few = ["task.max_length=120", "task.max_new_tokens=4", "task.generate_rows=0"]
    return ["task=chat", f"task.data={tmp_path}/chats.jsonl", *few, *STEPS]


@pytest.fixture
def llama(tmp_path):
    save_base(tmp_path / "base", CHATML)
    return [*based_on(tmp_path / "base"), "lora.targets=all-linear", "lora.rank=2", "lora.dropout=0.0"]


@pytest.fixture
def run(tmp_path, compose_plain):
    def go(name, *words, report=lambda step, scores: False):
        folder = tmp_path / "trials" / name
        folder.mkdir(parents=True, exist_ok=True)
        record = run_trial(compose_plain(*words), TrialContext("s", 0, "arm", folder), report)
        assert (record.state, record.reason) == ("complete", "")
        weights = {}
        for path in sorted(folder.rglob("*.safetensors")):
            weights |= {f"{path.name}/{name}": tensor for name, tensor in load_file(path).items()}
        assert weights
        return record, weights

    return go


@pytest.fixture
def passes(monkeypatch):
    """Rows, tokens of a row and examples of each pass that learns."""
    seen = []
    forward = Generator.forward

    def looking(self, batch):
        if self.training and torch.is_grad_enabled():
            seen.append((*batch["ids"].shape, len(batch["rows"])))
        return forward(self, batch)

    monkeypatch.setattr(Generator, "forward", looking)
    return seen


@pytest.fixture
def at_random(monkeypatch):
    """Padded training batches in the order of packed ones."""

    def batches(self, size, seed, *, shuffle, process_index, world, rows):
        lengths = np.ones_like(self.lengths[:rows]) if shuffle else self.lengths[:rows]
        return LengthBatches(lengths, size, seed, shuffle=shuffle, process_index=process_index, world=world)

    monkeypatch.setattr(Inputs, "batches", batches)


@pytest.mark.parametrize("way", ["adapter", "full", "nf4"])
def test_a_packed_trial_learns_what_the_padded_one_learns(way, chats, llama, run, passes, at_random):
    words = [*chats, *llama[:2], "lora=full", *SGD] if way == "full" else [*chats, *llama, *SGD]
    words += ["model.quantization=nf4"] if way == "nf4" else []
    padded, learned = run("padded", *words)
    before = passes.copy()
    passes.clear()
    packed, same = run("packed", *words, PACKED)
    assert same.keys() == learned.keys()
    for name, tensor in learned.items():
        torch.testing.assert_close(same[name], tensor, atol=2e-6, rtol=2e-6)
    assert packed.scores["val"]["loss"] == pytest.approx(padded.scores["val"]["loss"], rel=1e-6)
    assert packed.scores["test"]["loss"] == pytest.approx(padded.scores["test"]["loss"], rel=1e-6)
    assert (packed.steps, packed.optimizer, packed.data.cut) == (padded.steps, padded.optimizer, padded.data.cut)
    assert packed.fingerprint != padded.fingerprint
    assert [examples for *_, examples in passes] == [examples for *_, examples in before]
    tokens = [sum(rows * width for rows, width, _ in found) for found in (passes, before)]
    assert tokens[0] < 0.75 * tokens[1]
    assert packed.flops.step < padded.flops.step


@pytest.mark.parametrize("parted", ["trainer.batch_tokens=400", "trainer.accumulate=4"])
def test_a_step_in_parts_is_the_same_step(parted, chats, llama, run, passes):
    whole, learned = run("whole", *chats, *llama, *SGD, PACKED)
    before = len(passes)
    passes.clear()
    size = ["trainer.batch_size=3"] if "accumulate" in parted else []
    parts, same = run("parts", *chats, *llama, *SGD, PACKED, parted, *size)
    for name, tensor in learned.items():
        torch.testing.assert_close(same[name], tensor, atol=2e-6, rtol=2e-6)
    assert (parts.steps, parts.optimizer) == (whole.steps, whole.optimizer)
    assert len(passes) > before


def test_source_and_target_are_packed_too(tmp_path, own_cache, run, passes, at_random):
    save_small(AutoModelForCausalLM, "gpt2", tmp_path)
    draw = random.Random(0)
    lines = [f"w1 w{number},{' '.join(['w7'] * draw.randint(1, 9))}" for number in range(80)]
    (tmp_path / "pairs.csv").write_text("source,target\n" + "\n".join(lines) + "\n")
    words = ["task=seq2seq", f"task.data={tmp_path}/pairs.csv", "task.max_source=12", "task.max_target=12"]
    words += [*based_on(tmp_path), "task.generate_rows=2", "lora=full", "model.dropout=0.0", *STEPS, *SGD]
    padded, learned = run("padded", *words)
    packed, same = run("packed", *words, PACKED)
    for name, tensor in learned.items():
        torch.testing.assert_close(same[name], tensor, atol=2e-6, rtol=2e-6)
    assert packed.scores["test"] == pytest.approx(padded.scores["test"], rel=1e-6)


def test_a_trial_that_was_stopped_goes_on_bit_for_bit(chats, llama, run):
    words = [*chats, *llama, PACKED, "lora.dropout=0.1", "trainer.max_steps=12", "trainer.evaluations=4"]
    whole, learned = run("whole", *words)

    with pytest.raises(Interrupted), graceful_stop():
        run("parts", *words, report=stop_at(6))
    resumed, same = run("parts", *words)
    assert resumed.steps.resumed is not None
    assert resumed.scores == whole.scores
    assert same.keys() == learned.keys()
    assert all(torch.equal(same[name], tensor) for name, tensor in learned.items())


def test_a_base_that_reads_on_is_refused_before_it_is_trained(pairs, tmp_path, own_cache, run):  # noqa: F811
    save_small(AutoModelForCausalLM, "opt", tmp_path)
    with pytest.raises(
        ConfigError, match=r"trainer\.pack_sequences=true: model=hf: a \w*OPT\w* .*=false, which pads them"
    ):
        run("refused", *pairs, *based_on(tmp_path), "lora.targets=all-linear", *STEPS, PACKED)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=sst2"], "of causal language models that learn to write, as with task=chat or task=seq2seq; task=sst2"),
        (
            ["task=seq2seq", "task.data=p.csv", "model=t5_small", "trainer.objective=loss"],
            "model=t5_small has an encoder",
        ),
        (
            ["task=chat", "task.data=c.jsonl", "model=gpt2", "trainer.objective=loss", "trainer.reuse_features=true"],
            "trainer.reuse_features=true keeps what is computed",
        ),
    ],
)
def test_what_has_no_one_sequence_is_refused_from_the_configuration(words, message, compose_plain):
    with pytest.raises(ConfigError, match=f"^trainer.pack_sequences=true: .*{message}"):
        compose_plain(*words, PACKED)
