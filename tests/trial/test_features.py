"""trainer.reuse_features: the same scores with the base run once, and in each step where it is not always the same."""

import functools
from collections import Counter

import pytest
import torch

from harness.config import ConfigError, read_stored, to_dict, to_yaml
from harness.config.preflight import check_same_config
from harness.model import build_model
from harness.model.frozen_prefix import frozen_prefix
from harness.system.signals import Interrupted, graceful_stop
from harness.task import Inputs
from harness.trial import TrialContext, features
from harness.trial.adapt import prepare
from harness.trial.fingerprints import fingerprint_of
from harness.trial.run import run_trial
from tests.tiny import ON_GPU, stop_at

HEAD = ("lora=head", "model.dropout=0.0", "optimizer.head_lr=0.05", "trainer.max_steps=60", "trainer.epochs=9.0")
HEAD += ("trainer.cuda_graphs=false",) * ON_GPU  # a graph runs the base without its forward being called
UPPER = ("lora=lora", "lora.rank=2", r"lora.targets=['encoder\.layer\.1\..*query']")
EACH = "in each step"


@pytest.fixture(autouse=True)
def nothing_kept():
    features._kept.clear()


@pytest.fixture
def run(compose, tmp_path, own_cache):
    def go(name, *words, report=lambda step, scores: False):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        entry = run_trial(compose(*words), TrialContext("s", 0, "arm", folder), report)
        assert (entry.state, entry.reason) == ("complete", "")
        return entry

    return go


@pytest.fixture
def rows_run(monkeypatch):
    """The rows that the base is run on."""
    from harness.model.text import TextClassifier

    counted: list[int] = []
    forward = TextClassifier.forward

    @functools.wraps(forward)
    def counting(self, batch):
        counted.append(len(batch["rows"]))
        return forward(self, batch)

    monkeypatch.setattr(TextClassifier, "forward", counting)
    return counted


def scores_of(entry):
    return {f"{split}/{name}": value for split, scores in entry.scores.items() for name, value in scores.items()}


def test_a_head_s_scores_are_those_of_running_the_base_in_each_step(run, rows_run):
    plain = run("plain", *HEAD, "trainer.evaluations=4")
    without = sum(rows_run)
    rows_run.clear()
    reused = run("reused", *HEAD, "trainer.evaluations=4", "trainer.reuse_features=true")
    assert scores_of(reused) == pytest.approx(scores_of(plain), abs=1e-5)
    assert plain.scores["test"]["accuracy"] > 0.6, "it learned something"
    assert reused.provenance.arithmetic["features"] == "once"
    assert "features" not in plain.provenance.arithmetic
    assert reused.fingerprint == plain.fingerprint
    assert (reused.flops, reused.parameters) == (plain.flops, plain.parameters)
    assert sum(rows_run) < without / 2
    rows_run.clear()
    other = run("other", *HEAD, "trainer.evaluations=4", "trainer.reuse_features=true", "optimizer.head_lr=0.01")
    assert other.scores != reused.scores
    assert sum(rows_run) < 50, "the splits of the trial before are still there"


@pytest.fixture
def layers_run(monkeypatch):
    """The layers of the base that are run, by number."""
    from transformers.models.bert.modeling_bert import BertEncoder, BertLayer

    counted: Counter[int] = Counter()
    made, forward = BertEncoder.__init__, BertLayer.forward

    def numbering(self, config):
        made(self, config)
        for number, layer in enumerate(self.layer):
            layer.number = number

    def counting(self, *args, **kwargs):
        counted[self.number] += 1
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(BertEncoder, "__init__", numbering)
    monkeypatch.setattr(BertLayer, "forward", counting)
    return counted


def test_scores_of_upper_layers_are_those_of_running_the_lower_ones_in_each_step(run, layers_run):
    words = (*UPPER, *HEAD[1:], "lora.dropout=0.1", "optimizer.lr=0.01", "trainer.evaluations=4")
    plain = run("plain", *words)
    without = layers_run.copy()
    layers_run.clear()
    reused = run("reused", *words, "trainer.reuse_features=true")
    assert scores_of(reused) == pytest.approx(scores_of(plain), abs=1e-5)
    assert plain.scores["test"]["accuracy"] > 0.6, "it learned something"
    assert reused.provenance.arithmetic["features"] == "once, below layer 1"
    assert (reused.fingerprint, reused.flops) == (plain.fingerprint, plain.flops)
    assert layers_run[1] == pytest.approx(without[1], abs=4), "the upper layer in each step"
    assert layers_run[0] < without[0] / 3
    assert reused.merge.max_logit_difference < 1e-4, "it can be merged as any other"


def test_gradients_of_upper_layers_are_those_of_running_the_lower_ones(compose, own_cache):
    config = compose(*UPPER, "model.dropout=0.0")
    model = build_model(config.model, 2)
    prepare(model, config)
    batch = {"ids": torch.randint(4, 20, (3, 5)), "mask": torch.tensor([[1] * 5, [1] * 3 + [0] * 2, [1] * 4 + [0]])}
    prefix = frozen_prefix(model)
    assert prefix is not None
    with torch.no_grad():
        states = prefix.states(batch)

    def gradients(given):
        model.zero_grad()
        model(given).square().sum().backward()
        return {name: tensor.grad.clone() for name, tensor in model.named_parameters() if tensor.grad is not None}

    wanted = gradients(batch)
    prefix.open()
    found = gradients({"ids": torch.zeros_like(batch["ids"]), "mask": batch["mask"], "prefix": states})
    prefix.close()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted), "whatever the ids are"
    assert gradients(batch).keys() == wanted.keys()


def test_two_layers_of_a_head_with_dropout_of_their_own_draw_as_before(run):
    words = (*HEAD, "model.head=dense")
    plain, reused = run("plain", *words), run("reused", *words, "trainer.reuse_features=true")
    assert scores_of(reused) == pytest.approx(scores_of(plain), abs=1e-5)


def test_heads_of_several_tasks_read_the_features_of_their_own_rows(compose_mixture, tmp_path, own_cache):
    found = {}
    for words in ((), ("trainer.reuse_features=true",)):
        folder = tmp_path / str(len(words))
        folder.mkdir()
        config = compose_mixture(*HEAD, *words)
        entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
        assert (entry.state, entry.reason) == ("complete", "")
        found[words] = scores_of(entry)
    assert entry.provenance.arithmetic["features"] == "once"
    assert found[words] == pytest.approx(found[()], abs=1e-4)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("lora=head", "model.dropout=0.1"), f"{EACH}: the base drops activations in training; model.dropout=0"),
        (
            ("lora=lora", "lora.rank=2", "model.dropout=0.0"),
            f"{EACH}: weights of the base, or beside it, are trained from its first layer on",
        ),
        (
            ("lora=bitfit", "model.dropout=0.0"),
            f"{EACH}: weights of the base, or beside it, are trained from its first layer on",
        ),
        ((*UPPER, "model.dropout=0.1"), f"{EACH}: the base drops activations in training; model.dropout=0"),
        (
            (*UPPER, "model.dropout=0.0", "trainer.activation_checkpointing=true"),
            f"{EACH}: trainer.activation_checkpointing=true",
        ),
    ],
)
def test_where_features_change_the_base_is_run_in_each_step_bit_for_bit_as_before(words, why, run):
    plain, asked = run("plain", *words), run("asked", *words, "trainer.reuse_features=true")
    assert asked.scores == plain.scores
    assert asked.provenance.arithmetic["features"] == why


def test_features_of_more_memory_than_there_is_room_for_are_not_kept(run, monkeypatch):
    monkeypatch.setattr(features, "_MOST_BYTES", 2**12)
    asked = run("asked", *HEAD, "trainer.reuse_features=true")
    assert asked.provenance.arithmetic["features"].startswith("in each step: features of a split have more than")
    assert not features._kept


def test_of_rows_that_are_trained_otherwise_than_evaluated_features_are_not_kept(run, monkeypatch):
    def turned(self, rows):
        batch = self.batch(rows)
        return batch | {"ids": batch["ids"].flip(1)}

    monkeypatch.setattr(Inputs, "training_batch", turned)
    asked = run("asked", *HEAD, "trainer.reuse_features=true")
    assert asked.provenance.arithmetic["features"] == "in each step: training reads other than evaluation"


@pytest.mark.parametrize("trained", [HEAD, (*UPPER, *HEAD[1:])], ids=["head", "upper layers"])
def test_a_trial_that_was_stopped_goes_on_bit_for_bit(trained, run, tmp_path):
    words = (*trained, "trainer.evaluations=4", "trainer.reuse_features=true")
    whole = run("whole", *words)
    features._kept.clear()

    with pytest.raises(Interrupted), graceful_stop():
        run("parts", *words, report=stop_at(30))
    features._kept.clear()
    resumed = run("parts", *words)
    assert resumed.steps.resumed is not None
    assert resumed.scores == whole.scores


def test_features_are_what_the_head_reads(compose, own_cache):
    model = build_model(compose("model.dropout=0.0").model, 2)
    batch = {"ids": torch.randint(4, 20, (3, 5)), "mask": torch.ones(3, 5, dtype=torch.long)}
    found = model.head_input(batch)
    assert found is not None
    assert found.shape == (3, 16)
    assert torch.equal(model.head(found), model(batch))
    assert torch.equal(model(batch | {"head_input": found}), model(batch))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trainer.devices=2",), "trainer.reuse_features=true: on one device, and there are 2; set it to false"),
    ],
)
def test_where_it_has_no_effect_it_is_refused(words, message, compose):
    with pytest.raises(ConfigError) as caught:
        compose("trainer.reuse_features=true", *words)
    assert str(caught.value) == message


def test_a_study_may_begin_to_reuse_features_and_one_of_before_goes_on(compose, tmp_path):
    tree = to_dict(compose())
    del tree["trainer"]["reuse_features"], tree["trainer"]["accumulate"]
    (tmp_path / "config.yaml").write_text(to_yaml(tree))
    (tmp_path / "records.jsonl").write_text("{}\n")
    check_same_config(tmp_path, to_dict(compose("trainer.reuse_features=true")))
    assert read_stored(tmp_path / "config.yaml")["trainer"]["reuse_features"] is False


def test_it_is_no_part_of_the_fingerprint(compose, own_cache):
    assert fingerprint_of(compose(*HEAD)) == fingerprint_of(compose(*HEAD, "trainer.reuse_features=true"))
