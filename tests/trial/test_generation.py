"""A base trained from fresh weights on a user's pairs, then adapted: one path from configuration to record."""

import csv
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from harness.config import ConfigError, check, composition
from harness.trial import TrialContext
from harness.trial.adapt import count
from harness.trial.run import run_trial
from tests.tiny import DEVICE

SHAPE = "{hidden: 16, layers: 1, decoder_layers: 1, heads: 2, head_size: 8, ffn: 32, vocabulary: 300, positions: 64}"


def composed(*words):
    composition.register_sweeps()
    with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
        return check(OmegaConf.to_container(hydra.compose("config", overrides=list(words)), resolve=True))


@pytest.fixture
def words(tmp_path, own_cache):
    lines = [
        {"source": f"page {index} of {index * 7}", "target": f"Seite {index} von {index * 7}"} for index in range(80)
    ]
    path = tmp_path / "mine.csv"
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, ["source", "target"])
        table.writeheader()
        table.writerows(lines)
    small = ["trainer.max_steps=6", "trainer.evaluations=2", "trainer.batch_size=8", "trainer.objective=loss"]
    cut = ["task.max_source=12", "task.max_target=12", "task.generate_rows=4"]
    return ["task=seq2seq", f"task.data={path}", "tracking=off", *DEVICE, f"model.shape={SHAPE}", *small, *cut]


def run(config, folder: Path):
    folder.mkdir(parents=True)
    return run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)


@pytest.mark.parametrize("model", ["small_t5", "small_gpt2"])
def test_a_fresh_base_is_trained_saved_and_adapted(words, tmp_path, model):
    base = run(composed(*words, f"model={model}", "lora=full"), tmp_path / "trials" / "0000")
    assert (base.state, base.reason) == ("complete", "")
    assert base.base.sha256 == "fresh"
    assert set(base.scores["test"]) == {"loss", "perplexity", "bleu", "chrf", "exact"}
    assert base.data.cut["train"] == {"source": 0, "target": 0} or base.data.cut["train"]["target"] > 0
    assert base.parameters.other == base.parameters.total
    folder = tmp_path / "trials" / "0000"
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    nats = sum(float(row["loss"]) * float(row["tokens"]) for row in rows)
    assert base.scores["test"]["loss"] == pytest.approx(nats / sum(float(row["tokens"]) for row in rows), rel=1e-6)
    with open(folder / "written.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4

    weights = f"model.weights={{address: 'path:{folder}/adapter', sha256: null}}"
    adapted = run(composed(*words, f"model={model}", weights, "lora.rank=2"), tmp_path / "trials" / "0001")
    assert (adapted.state, adapted.reason) == ("complete", "")
    assert adapted.parameters.adapter == adapted.parameters.total - adapted.parameters.frozen > 0
    assert adapted.parameters.frozen == base.parameters.total
    assert adapted.base.sha256 == base.adapter.sha256["model.safetensors"]
    assert (tmp_path / "trials" / "0001" / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["trainer.objective=accuracy", "lora=full"],
            "trainer.objective=accuracy: task=.* has none; trainer.objective=loss",
        ),
        (["lora=head"], "lora=head: model=small_gpt2 has no fresh head"),
        (["lora.rank=2"], "model.weights=null: fresh weights are trained as a whole"),
        (["task.max_source=60", "lora=full"], "model=small_gpt2 has 64 positions"),
        (
            ["model=minilm"],
            "a text model, for tasks read by extractive_qa, glue, rated, code_docs, code_facts, table, hf, "
            "token_labels, code_names; task=seq2seq needs a generator model",
        ),
    ],
)
def test_settings_at_odds_are_named(words, more, message):
    given = [word for word in words if more != ["model=minilm"] or not word.startswith("model.shape")]
    with pytest.raises(ConfigError, match=message):
        composed(*given, "model=small_gpt2", *more)


@pytest.mark.parametrize("command", ["data", "show"])
def test_fresh_weights_stop_no_command_that_trains_nothing(words, command):
    assert composed(*words, "model=small_gpt2", "lora.rank=2", f"run={command}").run == command


@pytest.mark.parametrize("name", ["catalogue_base", "translation_rank", "qa", "code_understanding"])
def test_every_experiment_composes_and_counts(name):
    config = composed(f"+experiment={name}")
    counted = count(config)
    assert counted["params"]["trainable"] > 0
    assert config.trainer.objective == "loss"


@pytest.mark.parametrize(
    ("model", "base"), [("gpt2", 124_439_808), ("t5_small", 60_506_624), ("opus_mt", 73_886_208 + 2 * 512 * 512)]
)
def test_published_models_count_without_weights_or_data(model, base):
    counted = count(composed("task=seq2seq", f"model={model}", "trainer.objective=loss", "lora.rank=1"))
    assert counted["params"]["base"] == base
