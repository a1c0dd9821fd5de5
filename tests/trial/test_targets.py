"""run=targets says of each layer what the adapter would do with it."""

import pytest
from transformers import AutoModelForCausalLM

from harness.config import ConfigError
from harness.trial.adapt import count
from harness.trial.targets import as_text, layer_rows
from tests.model.small import save_small


@pytest.fixture
def base(tmp_path):
    save_small(AutoModelForCausalLM, "gpt2", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    return ["model=hf", f"model.address=path:{tmp_path}", "task=text_csv", "task.max_length=20", "task.classes=2"]


def test_each_layer_has_its_role_and_its_rank(base, compose_plain):
    rows = layer_rows(compose_plain(*base, "lora.targets=[value,ffn_up]", "lora.rank=4"))
    said = {row.module: (row.shape, row.roles, row.ranks, row.layers) for row in rows}
    assert said["h.*.attn.c_attn"] == ((32, 96), ("qkv", "query", "key", "value"), (("value", 4),), 2)
    assert said["h.*.mlp.c_fc"] == ((32, 64), ("ffn_up",), (("", 4),), 2)
    assert said["h.*.mlp.c_proj"] == ((64, 32), ("ffn_down",), (), 2)
    assert said["ln_f"] == ((32,), (), (), 1)


@pytest.mark.parametrize("run", ["count", "targets"])
def test_lengths_are_no_matter_where_shapes_alone_are_looked_at(run, base, compose_plain):
    assert compose_plain(*base, "task.max_length=65", f"run={run}").task.max_length == 65
    with pytest.raises(ConfigError, match="task.max_length=65: model=hf has 64 positions"):
        compose_plain(*base, "task.max_length=65")


def test_layers_of_other_ranks_stand_apart(base, compose_plain):
    words = ["lora.targets=ffn_up", 'lora.ranks=[["h.1.*", 2]]', "lora.rank=4"]
    rows = {row.module: row.ranks for row in layer_rows(compose_plain(*base, *words))}
    assert (rows["h.0.mlp.c_fc"], rows["h.1.mlp.c_fc"]) == ((("", 4),), (("", 2),))


def test_the_ranks_are_those_that_are_counted(base, compose_plain):
    config = compose_plain(*base, "lora.targets=all-linear", "lora.rank=3")
    adapted = sum(row.layers for row in layer_rows(config) if row.ranks)
    assert adapted == len(count(config)["ranks"]) == 8


@pytest.mark.parametrize(("model", "targets"), [("minilm", "query"), ("resnet18", "conv"), ("lstm_speech", "lstm")])
def test_named_models_are_shown_too(model, targets, compose_plain):
    task = {"resnet18": "task=digits", "lstm_speech": "task=spoken_digits"}.get(model, "task=movie_snippets")
    text = as_text(layer_rows(compose_plain(f"model={model}", task, f"lora.targets={targets}")))
    assert text.splitlines()[0].split() == ["module", "kind", "shape", "role", "rank", "layers"]
    assert targets in text
