"""Trials on bases from folders of the user's own: each kind of task, trained in each kind of way."""

import json

import pytest
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from harness.config import ConfigError
from harness.record import Record
from harness.system import hub_models
from harness.trial import TrialContext
from harness.trial.base_checks import check_base
from harness.trial.run import run_trial
from tests.hub import serving
from tests.model.small import WORDS, save_small
from tests.tiny import DEVICE

SHORT = ["trainer.max_steps=4", "trainer.evaluations=2", "trainer.batch_size=8", "tracking=off", *DEVICE]


@pytest.fixture
def reviews(tmp_path):
    lines = [f"{WORDS[4 + row % 40]} {WORDS[50 + row % 37]} {WORDS[10 + row % 3]},{row % 2}" for row in range(120)]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return [f"task.data={tmp_path}/reviews.csv", "task=text_csv", "task.max_length=12"]


@pytest.fixture
def pairs(tmp_path):
    lines = [f"{WORDS[4 + row % 90]} {WORDS[30 + row % 7]},{WORDS[5 + row % 80]}" for row in range(90)]
    (tmp_path / "pairs.csv").write_text("source,target\n" + "\n".join(lines) + "\n")
    cut = ["task.max_source=12", "task.max_target=12", "task.generate_rows=4", "trainer.objective=loss"]
    return [f"task.data={tmp_path}/pairs.csv", "task=seq2seq", *cut]


def run(config, folder) -> Record:
    folder.mkdir(parents=True)
    record = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert (record.state, record.reason) == ("complete", "")
    return record


def based_on(folder):
    return ["model=hf", f"model.address=path:{folder}"]


WAYS = {
    "lora": ["lora.targets=all-linear", "lora.rank=2"],
    "full": ["lora=full"],
    "head": ["lora=head"],
    "bitfit": ["lora=bitfit"],
    "peft": ["lora=peft", "lora.method=LOHA", "lora.targets=[query]", "lora.arguments={r: 2}"],
    "pissa": ["lora=pissa", "lora.targets=[query,value]", "lora.rank=2"],
}


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
@pytest.mark.parametrize("way", WAYS)
def test_a_classifier_is_trained_in_every_way(model_type, way, compose_plain, reviews, tmp_path, own_cache):
    save_small(AutoModelForSequenceClassification, model_type, tmp_path / "base")
    record = run(compose_plain(*reviews, *based_on(tmp_path / "base"), *SHORT, *WAYS[way]), tmp_path / "trials" / "0")
    assert record.parameters.trainable == record.parameters.adapter + record.parameters.head + record.parameters.other
    assert record.scores["test"]["loss"] > 0
    assert not record.dead


@pytest.mark.parametrize("words", [["model.dtype=bfloat16"], ["trainer.activation_checkpointing=true"]])
def test_memory_can_be_saved(words, compose_plain, reviews, tmp_path, own_cache):
    save_small(AutoModelForCausalLM, "qwen3", tmp_path / "base")
    usual = [*reviews, *based_on(tmp_path / "base"), *SHORT, "lora.targets=all-linear", "lora.rank=2"]
    plain = run(compose_plain(*usual), tmp_path / "trials" / "0")
    saving = run(compose_plain(*usual, *words), tmp_path / "trials" / "1")
    assert saving.scores["test"]["loss"] == pytest.approx(plain.scores["test"]["loss"], rel=0.05)
    assert (saving.fingerprint == plain.fingerprint) == ("activation_checkpointing" in words[0])


def test_a_base_of_16_bits_is_not_trained_itself(compose_plain, tmp_path):
    with pytest.raises(ConfigError, match="model.dtype=bfloat16: lora=full trains the base itself"):
        compose_plain(*based_on(tmp_path), "model.dtype=bfloat16", "lora=full")


def test_a_causal_base_classifies(compose_plain, reviews, tmp_path, own_cache):
    save_small(AutoModelForCausalLM, "qwen3", tmp_path / "base")
    words = [*reviews, *based_on(tmp_path / "base"), *SHORT, "lora.targets=[query,ffn_gate]", "lora.rank=2"]
    record = run(compose_plain(*words), tmp_path / "trials" / "0")
    assert set(record.adapter.ranks) == {
        f"layers.{layer}.{name}" for layer in (0, 1) for name in ("self_attn.q_proj", "mlp.gate_proj")
    }


WRITERS = {"llama": AutoModelForCausalLM, "t5": AutoModelForSeq2SeqLM, "bart": AutoModelForSeq2SeqLM}


@pytest.mark.parametrize("model_type", WRITERS)
def test_a_base_writes(model_type, compose_plain, pairs, tmp_path, own_cache):
    save_small(WRITERS[model_type], model_type, tmp_path / "base")
    record = run(compose_plain(*pairs, *based_on(tmp_path / "base"), *SHORT, "lora.rank=2"), tmp_path / "trials" / "0")
    assert set(record.scores["test"]) == {"loss", "perplexity", "bleu", "chrf", "exact"}
    assert record.parameters.head == 0


@pytest.mark.parametrize(("model_type", "targets"), [("vit", "all-linear"), ("resnet", "conv")])
def test_a_base_sees(model_type, targets, compose_plain, tmp_path, own_cache):
    save_small(AutoModelForImageClassification, model_type, tmp_path / "base")
    words = ["task=digits", "task.image_size=32", f"lora.targets=[{targets}]", "lora.rank=2"]
    record = run(compose_plain(*words, *based_on(tmp_path / "base"), *SHORT), tmp_path / "trials" / "0")
    assert record.scores["test"]["loss"] > 0


def test_a_base_whose_lower_layers_are_run_once_writes_the_same(compose_plain, pairs, tmp_path, own_cache):
    save_small(AutoModelForCausalLM, "llama", tmp_path / "base")
    words = [*pairs, *based_on(tmp_path / "base"), *SHORT, "model.dropout=0.0", "trainer.measures=[bleu,chrf]"]
    words += ["lora.rank=2", r"lora.targets=['.*layers\.1\..*q_proj']", "optimizer.lr=0.01", "trainer.evaluations=2"]
    plain = run(compose_plain(*words), tmp_path / "plain")
    once = run(compose_plain(*words, "trainer.reuse_features=true"), tmp_path / "once")
    assert once.provenance.arithmetic["features"] == "once, below layer 1"
    for split, scores in plain.scores.items():
        assert once.scores[split] == pytest.approx(scores, abs=1e-5)
    assert (tmp_path / "once/written.csv").read_text() == (tmp_path / "plain/written.csv").read_text()


def test_a_base_of_another_task_is_one_line(compose_plain, reviews, pairs, tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    with pytest.raises(ConfigError, match="model_type=bert, a base for text tasks; task=seq2seq needs a generator"):
        check_base(compose_plain(*pairs, *based_on(tmp_path / "base")))
    save_small(AutoModelForCausalLM, "llama", tmp_path / "writer")
    with pytest.raises(ConfigError, match="lora=head: a base that writes has no fresh head"):
        check_base(compose_plain(*pairs, *based_on(tmp_path / "writer"), "lora=head"))
    check_base(compose_plain(*reviews, *based_on(tmp_path / "base")))


def test_what_full_training_leaves_is_a_base_again(compose_plain, reviews, tmp_path, own_cache):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    run(compose_plain(*reviews, *based_on(tmp_path / "base"), *SHORT, "lora=full"), tmp_path / "trials" / "0")
    kept = tmp_path / "trials" / "0" / "weights"
    assert json.loads((kept / "config.json").read_text())["model_type"] == "bert"
    run(compose_plain(*reviews, *based_on(kept), *SHORT, "lora.rank=2"), tmp_path / "trials" / "1")


def test_a_repository_of_the_hub_is_trained_and_exported_under_its_own_name(
    compose_plain, reviews, tmp_path, own_cache, monkeypatch
):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    monkeypatch.setattr(hub_models, "_pins", hub_models._Pins())
    with serving(tmp_path / "hub", monkeypatch) as hub:
        hub.repositories["lab/bert"] = [tmp_path / "base"]
        words = ["model=hf", "model.address=hub:lab/bert", "lora.rank=2"]
        record = run(compose_plain(*reviews, *words, *SHORT), tmp_path / "trials" / "0")
    commit = record.base.address.partition("@")[2]
    assert record.base.address == f"hub:lab/bert@{commit}"
    assert len(commit) == 40
    said = json.loads((tmp_path / "trials" / "0" / "adapter" / "adapter_config.json").read_text())
    assert (said["base_model_name_or_path"], said["revision"]) == ("lab/bert", commit)
