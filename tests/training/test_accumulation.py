"""A step of several micro-batches is the step of one batch of all their rows."""

import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.config import ConfigError, check
from harness.model.generator import Generator
from harness.task import Inputs, pieces_of
from harness.training import Plan, Trainer, in_parts, make_fabric
from harness.training.module import TrialModule
from harness.trial import TrialContext
from harness.trial.inputs import loader
from harness.trial.run import run_trial
from tests.tiny import DEVICE
from tests.trial.test_generation import SHAPE, composed

# Plain gradients: Adam would blow up the rounding of elements whose gradient is next to nothing.
SGD = ["optimizer.name=SGD", "optimizer.arguments={momentum: 0.9}", "optimizer.lr=0.05", "optimizer.head_lr=0.05"]
STILL = ["model.dropout=0.0", "lora.dropout=0.0"]


def run(config, folder):
    folder.mkdir(parents=True)
    record = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert (record.state, record.reason) == ("complete", "")
    weights = {}
    for path in sorted(folder.rglob("*.safetensors")):
        weights |= {f"{path.name}/{name}": tensor for name, tensor in load_file(path).items()}
    return record, weights


def assert_same(make, tmp_path, sizes=((12, 1), (3, 4))):
    """Train with each (batch_size, accumulate), and compare steps, scores and all that was learned."""
    found = [
        run(make(f"trainer.batch_size={size}", f"trainer.accumulate={count}"), tmp_path / "trials" / f"{size}_{count}")
        for size, count in sizes
    ]
    (whole, learned), (parts, same) = found
    assert learned.keys() == same.keys() != set()
    for name, tensor in learned.items():
        torch.testing.assert_close(same[name], tensor, atol=1e-6, rtol=1e-6)
    assert parts.steps == whole.steps
    assert parts.optimizer.batch_size == whole.optimizer.batch_size == 12
    assert parts.scores["val"]["loss"] == pytest.approx(whole.scores["val"]["loss"], abs=1e-6)
    assert parts.fingerprint != whole.fingerprint
    return whole


def test_a_classifier_learns_the_same(compose, tmp_path, own_cache):
    """192 training rows or so make a last batch that is short, and a clip of 0.05 every gradient."""
    words = [*SGD, *STILL, "optimizer.clip=0.05", "trainer.epochs=2.0", "trainer.max_steps=20"]
    assert_same(lambda *sizes: compose(*words, *sizes), tmp_path)


def test_a_wrong_weight_of_parts_would_be_seen(compose, tmp_path, own_cache, monkeypatch):
    monkeypatch.setattr("harness.training.accumulation._labels_by_task", lambda batch: {0: 1.0})
    words = [*SGD, *STILL, "trainer.epochs=2.0", "trainer.max_steps=20"]
    with pytest.raises(AssertionError, match="not close"):
        assert_same(lambda *sizes: compose(*words, *sizes), tmp_path, ((12, 1), (5, 3)))


@pytest.mark.parametrize("model", ["small_t5", "small_gpt2"])
def test_label_tokens_count_alike_whatever_part_they_are_in(model, tmp_path, own_cache):
    draw = random.Random(0)
    lines = [f"page {index},{' '.join([f'Seite {index}'] * draw.randint(1, 4))}" for index in range(80)]
    (tmp_path / "pairs.csv").write_text("source,target\n" + "\n".join(lines) + "\n")
    words = [
        *("task=seq2seq", f"task.data={tmp_path}/pairs.csv", "tracking=off", *DEVICE, f"model={model}"),
        *(f"model.shape={SHAPE}", "lora=full", "task.max_source=12", "task.max_target=24", "task.generate_rows=2"),
        *("trainer.max_steps=6", "trainer.evaluations=2", "trainer.objective=loss", "optimizer.clip=0.5"),
        *(*SGD, "model.dropout=0.0"),
    ]
    assert_same(lambda *sizes: composed(*words, *sizes), tmp_path)


@pytest.mark.parametrize("task", ["seq2seq", "chat"])
def test_a_budget_of_tokens_makes_the_same_steps_in_smaller_passes(task, tmp_path, own_cache, monkeypatch):
    draw = random.Random(0)
    lines = [f"page {index},{' '.join([f'Seite {index}'] * draw.randint(1, 9))}" for index in range(80)]
    (tmp_path / "pairs.csv").write_text("source,target\n" + "\n".join(lines) + "\n")
    lengths = {"seq2seq": ["task.max_source=12", "task.max_target=24"], "chat": ["task.max_length=60"]}[task]
    words = [
        *(f"task={task}", f"task.data={tmp_path}/pairs.csv", "tracking=off", *DEVICE, "model=small_gpt2", *lengths),
        *(f"model.shape={SHAPE}", "lora=full", "task.generate_rows=0", "trainer.batch_size=12", "optimizer.clip=0.5"),
        *("trainer.max_steps=6", "trainer.evaluations=2", "trainer.objective=loss", *SGD, "model.dropout=0.0"),
        *(["task.max_new_tokens=4"] if task == "chat" else []),
    ]
    passes = []
    forward = Generator.forward
    monkeypatch.setattr(
        Generator, "forward", lambda self, batch: passes.append(len(batch["ids"])) or forward(self, batch)
    )
    whole, learned = run(composed(*words), tmp_path / "trials" / "whole")
    before = passes.copy()
    passes.clear()
    parts, same = run(composed(*words, "trainer.batch_tokens=150"), tmp_path / "trials" / "parts")
    torch.testing.assert_close(same, learned, atol=1e-6, rtol=1e-6)
    assert parts.scores["test"]["loss"] == pytest.approx(whole.scores["test"]["loss"], abs=1e-6)
    assert (parts.steps, parts.optimizer) == (whole.steps, whole.optimizer)
    assert parts.fingerprint != whole.fingerprint
    assert len(passes) > len(before)


class Texts(Inputs):
    """Rows of so many tokens."""

    def __init__(self, lengths):
        self._lengths = np.array(lengths)

    @property
    def lengths(self):
        return self._lengths

    def batch(self, rows):
        ids = torch.zeros(len(rows), int(self._lengths[rows].max()))
        return {"ids": ids, "labels": torch.zeros(len(rows), dtype=torch.long), "rows": torch.tensor(rows)}


@pytest.mark.parametrize("training", [True, False])
def test_no_pass_has_more_tokens_than_the_budget(training):
    draw = random.Random(0)
    inputs = Texts([draw.randint(1, 40) for _ in range(101)])
    batches = list(loader(inputs, 16, 0, training=training, tokens=120))
    assert not training or len(batches) == 7
    parts = [part for batch in batches for part in batch.get("parts", [batch])]
    assert max(part["ids"].numel() for part in parts) <= 120
    assert sorted(row for part in parts for row in part["rows"].tolist()) == list(range(101))
    whole = loader(inputs, 16, 0, training=training)
    assert max(batch["ids"].numel() for batch in whole) > 120


def test_pieces_hold_as_many_rows_as_fit_once_they_are_padded():
    lengths = np.array([3, 9, 4, 1, 20, 9, 2])
    assert pieces_of(lengths, 18, range(7)) == [[4], [1, 5], [2, 0, 6, 3]]
    assert pieces_of(lengths, 1000, [6, 1]) == [[1, 6]]
    assert pieces_of(lengths, 4, [0, 2, 3, 6]) == [[2], [0], [6, 3]]


def test_a_budget_of_tokens_is_of_tasks_of_texts_on_devices_of_their_own(compose_plain):
    with pytest.raises(ConfigError, match=r"trainer\.batch_tokens=64: task=digits is not of texts; set it to null"):
        compose_plain("task=digits", "model=vit_b_16", "task.image_size=32", "trainer.batch_tokens=64")
    spread = ["trainer.strategy=fsdp", "trainer.devices=2", "trainer.batch_tokens=64"]
    with pytest.raises(ConfigError, match="all devices have to make as many passes; trainer.batch_tokens=null"):
        compose_plain(*spread)


@pytest.mark.parametrize(("batches", "weighting"), [("mixed", "uncertainty"), ("one_task", "uncertainty")])
def test_tasks_count_as_in_the_whole_batch(batches, weighting, compose_mixture, tmp_path, own_cache):
    words = [*SGD, *STILL, "trainer.max_steps=6"]
    assert_same(lambda *sizes: compose_mixture(*words, *sizes, batches=batches, weighting=weighting), tmp_path)


def test_a_penalty_is_added_once_a_step(compose, tmp_path, own_cache):
    words = [*SGD, *STILL, "lora=adalora", "lora.rank=2", "lora.targets=[query,value]", "trainer.max_steps=12"]
    assert_same(lambda *sizes: compose(*words, *sizes), tmp_path)


def test_fewer_bits_train_too(compose, tmp_path, own_cache):
    words = [*SGD, *STILL, "trainer.precision=bf16-mixed", "optimizer.clip=0.5", "trainer.max_steps=8"]
    sizes = {"whole": ["trainer.batch_size=12"], "parts": ["trainer.batch_size=3", "trainer.accumulate=4"]}
    found = [run(compose(*words, *more), tmp_path / "trials" / name)[0] for name, more in sizes.items()]
    losses = [record.scores["val"]["loss"] for record in found]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


class Rows:
    """Inputs of ten rows of unlike numbers of labelled tokens."""

    def training_batch(self, rows):
        labels = torch.full((len(rows), 11), -100)
        for place, row in enumerate(rows):
            labels[place, : row + 1] = 1
        return {"labels": labels, "rows": torch.tensor(rows)}


def test_parts_are_even_and_their_shares_are_of_labelled_tokens():
    batch = in_parts(Rows(), 4, list(range(10)))
    assert [part["rows"].tolist() for part in batch["parts"]] == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]
    assert [share for (share,) in batch["shares"]] == pytest.approx([6 / 55, 15 / 55, 15 / 55, 19 / 55])
    assert batch["rows"].tolist() == list(range(10))
    assert len(in_parts(Rows(), 4, [7, 1])["parts"]) == 2


def test_losses_over_whole_batches_are_not_taken_apart(compose_plain):
    words = ["task=shapes_dense", "model=dense_lite0", "trainer.objective=score", "lora=mtlora", "trainer.accumulate=2"]
    with pytest.raises(ConfigError, match=r"trainer\.accumulate=2: of task=shapes_dense") as error:
        compose_plain(*words)
    assert len(error.value.args) == 1


def test_none_and_less_is_refused(tree):
    made = tree()
    made["trainer"]["accumulate"] = 0
    with pytest.raises(ConfigError, match=r"trainer\.accumulate=0"):
        check(made)


class Tokens(torch.nn.Module):
    """Logits of tokens, from a number each."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(1, 2)

    def forward(self, batch):
        return self.head(batch["numbers"][..., None])


class Labelled:
    """Four rows of two tokens; of some none is labelled."""

    def __init__(self, *unlabelled):
        self.labels = torch.tensor([[0, 1], [1, 1], [0, 0], [1, 0]])
        self.labels[list(unlabelled)] = -100

    def training_batch(self, rows):
        numbers = torch.arange(8.0).reshape(4, 2)
        return {"numbers": numbers[rows], "labels": self.labels[rows], "rows": torch.tensor(rows)}


@pytest.mark.parametrize("unlabelled", [(0,), (3,), (0, 1, 2, 3)])
def test_parts_without_labels_are_as_in_the_whole_batch(unlabelled):
    keys = {"lr": 0.1, "head_lr": 0.1, "weight_decay": 0.0, "warmup": 0.0, "steps": 1}
    torch.manual_seed(0)
    module = TrialModule(Tokens(), None, **keys, weigh=lambda losses, tasks: losses.sum() * module.scale)
    module.scale = torch.nn.Parameter(torch.tensor(2.0))
    trainer = Trainer(make_fabric(torch.device("cpu"), "32-true"), Plan(1, ()), [])
    trainer._place(module)
    trainer.optimizer = module.new_optimizer()
    found = []
    for batch in (Labelled(*unlabelled).training_batch([0, 1, 2, 3]), in_parts(Labelled(*unlabelled), 4, range(4))):
        module.zero_grad()
        trainer._compute_gradients(batch)
        found.append((trainer.bare, [tensor.grad.clone() for tensor in module.parameters()]))
    torch.testing.assert_close(found[1], found[0], equal_nan=True)
    assert found[0][0].isfinite() == (len(unlabelled) < 4)
