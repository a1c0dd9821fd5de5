"""What a base's config.json says is computed, or refused key by key; transformers itself is the truth."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    MarianConfig,
    MarianMTModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from harness.config import AssetConfig, ConfigError, GeneratorModelConfig, TextModelConfig
from harness.model import base_file, build_model
from harness.system.assets import AssetError
from harness.trial.fingerprints import identity
from tests import tiny

WIDE = {"hidden": 16, "layers": 2, "heads": 2, "ffn": 32, "positions": 40}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
BERT |= {"vocab_size": 40, "max_position_embeddings": 40, "type_vocab_size": 2}
MAKE = {
    "bert": (BertConfig, BertModel, BERT),
    "roberta": (RobertaConfig, RobertaModel, BERT | {"layer_norm_eps": 1e-5}),
    "gpt2": (
        GPT2Config,
        GPT2LMHeadModel,
        {"vocab_size": 300, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "n_inner": 32}
        | {"bos_token_id": 299, "eos_token_id": 299},
    ),
    "t5": (
        T5Config,
        T5ForConditionalGeneration,
        {"vocab_size": 300, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        | {"decoder_start_token_id": 0},
    ),
    "marian": (
        MarianConfig,
        MarianMTModel,
        {"vocab_size": 300, "d_model": 16, "max_position_embeddings": 40, "activation_function": "swish"}
        | {
            f"{part}_{key}": value
            for part in ("encoder", "decoder")
            for key, value in {"layers": 2, "attention_heads": 2, "ffn_dim": 32}.items()
        }
        | {"scale_embedding": True, "pad_token_id": 299, "decoder_start_token_id": 299, "eos_token_id": 0},
    ),
}


def written(folder, family, **changes):
    """A random base of transformers, saved; keys of the file are then changed as they are."""
    torch.manual_seed(0)
    config, kind, shape = MAKE[family]
    made = kind(config(**(shape | changes)))
    for name, tensor in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(tensor, std=0.1)
    made.save_pretrained(folder)
    return folder


def edit(folder, removed=(), **changes):
    path = folder / "config.json"
    said = {key: value for key, value in json.loads(path.read_text()).items() if key not in removed}
    path.write_text(json.dumps(said | changes))


def named(folder, family, **changes):
    weights = AssetConfig(address=f"path:{folder}", sha256=None)
    shape = WIDE | changes
    if family in ("bert", "roberta"):
        own = {"kind": "text", "pooling": "mean", "head": "linear"}
        return TextModelConfig(
            name="mine",
            family=family,
            shape=shape | {"vocabulary": 40, "types": 2},
            weights=weights,
            dropout=0.1,
            **own,
        )
    shape |= {"decoder_layers": 2, "head_size": 8, "vocabulary": 300} | changes
    own = {"kind": "generator", "tokenizer": None, "made_by": None, "separator": "", "beams": 1}
    return GeneratorModelConfig(name="mine", family=family, shape=shape, weights=weights, dropout=0.1, **own)


def lines(folder, family, **changes):
    with pytest.raises(ConfigError) as caught:
        build_model(named(folder, family, **changes), 2)
    with pytest.raises(ConfigError, match="config.json"):  # before anything is made of the base
        base_file(named(folder, family, **changes))
    return str(caught.value).splitlines()


IDS = torch.tensor([[2, 10, 11, 12, 3], [2, 13, 14, 15, 3]])


@pytest.mark.parametrize("family", MAKE)
def test_an_unaltered_base_computes_what_transformers_computes(family, tmp_path):
    written(tmp_path, family)
    ours = build_model(named(tmp_path, family), 2).eval()
    if family in ("bert", "roberta"):
        theirs = AutoModel.from_pretrained(tmp_path).eval()(IDS).last_hidden_state
        torch.testing.assert_close(ours.base(IDS).last_hidden_state, theirs)
        return
    kind = AutoModelForCausalLM if family == "gpt2" else AutoModelForSeq2SeqLM
    given = {} if family == "gpt2" else {"decoder_input_ids": IDS}
    theirs = kind.from_pretrained(tmp_path).eval()(input_ids=IDS, **given).logits
    batch = {"ids": IDS, "mask": torch.ones_like(IDS), "decoder_ids": IDS}
    torch.testing.assert_close(ours(batch), theirs)


@pytest.mark.parametrize(
    ("family", "key", "value", "computed"),
    [
        ("bert", "hidden_act", "relu", "gelu"),
        ("bert", "layer_norm_eps", 0.001, "1e-12"),
        ("bert", "is_decoder", True, "false"),
        ("bert", "tie_word_embeddings", False, "true"),
        ("bert", "num_attention_heads", 4, "2"),
        ("roberta", "hidden_act", "silu", "gelu"),
        ("roberta", "layer_norm_eps", 1e-12, "1e-05"),
        ("roberta", "pad_token_id", 5, "1"),
        ("gpt2", "activation_function", "relu", "gelu_new"),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True, "false"),
        ("gpt2", "scale_attn_weights", False, "true"),
        ("gpt2", "layer_norm_epsilon", 0.01, "1e-05"),
        ("gpt2", "eos_token_id", 7, "299"),
        ("t5", "feed_forward_proj", "silu", "relu"),
        ("t5", "layer_norm_epsilon", 0.01, "1e-06"),
        ("t5", "relative_attention_max_distance", 4, "128"),
        ("t5", "tie_word_embeddings", False, "true"),
        ("t5", "decoder_start_token_id", 9, "0"),
        ("marian", "scale_embedding", False, "true"),
        ("marian", "activation_function", "relu", "swish"),
        ("marian", "decoder_start_token_id", 7, "299"),
    ],
)
def test_a_key_that_would_compute_something_else_is_refused(family, key, value, computed, tmp_path):
    written(tmp_path, family)
    edit(tmp_path, **{key: value})
    shown = value if isinstance(value, str) else json.dumps(value)
    start = f"model.weights.address=path:{tmp_path}: config.json says {key}={shown}, model=mine computes {computed}; "
    said = lines(tmp_path, family)
    assert [line for line in said if line.startswith(start)]
    ways = "set model.shape.heads=4" if key == "num_attention_heads" else "give weights that were made so"
    assert any(ways in line for line in said)


def test_what_agreed_is_asked_again_where_the_file_or_the_network_is_another(tmp_path):
    written(tmp_path, "bert")
    base_file(named(tmp_path, "bert"))
    assert "model=mine computes 3" in "".join(lines(tmp_path, "bert", layers=3))
    base_file(named(tmp_path, "bert"))
    edit(tmp_path, hidden_act="relu")
    assert "says hidden_act=relu" in "".join(lines(tmp_path, "bert"))


@pytest.mark.parametrize("field", ["hidden_act", "layer_norm_eps"])
def test_the_refused_base_does_compute_something_else(field, tmp_path):
    """The keys above are no formality: transformers gives other outputs by them."""
    written(tmp_path / "plain", "bert")
    written(tmp_path / "other", "bert", **{field: {"hidden_act": "relu", "layer_norm_eps": 1e-3}[field]})
    one, other = (AutoModel.from_pretrained(tmp_path / name).eval()(IDS)[0] for name in ("plain", "other"))
    assert (one - other).abs().max() > 1e-4


def test_every_key_that_disagrees_has_its_own_line(tmp_path):
    written(tmp_path, "bert", hidden_act="relu", layer_norm_eps=1e-3, num_hidden_layers=3)
    edit(tmp_path, position_embedding_type="relative_key")
    keys = [line.partition("config.json says ")[2].partition("=")[0] for line in lines(tmp_path, "bert")]
    assert sorted(keys) == ["hidden_act", "layer_norm_eps", "num_hidden_layers", "position_embedding_type"]


def test_a_key_that_is_left_out_has_the_value_that_transformers_gives_it(tmp_path):
    written(tmp_path, "roberta")
    edit(tmp_path, removed=["layer_norm_eps"])
    (line,) = lines(tmp_path, "roberta")
    assert "config.json leaves layer_norm_eps at 1e-12, model=mine computes 1e-05" in line
    edit(tmp_path, removed=["hidden_act"], layer_norm_eps=1e-5)
    build_model(named(tmp_path, "roberta"), 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position_embedding_type", "relative_key_query"),
        ("quantization_config", {"bits": 8}),
        ("auto_map", {"AutoModel": "modeling.Own"}),
        ("embedding_size", 8),
        ("pruned_heads", {"0": [1]}),
        ("a_key_of_a_later_release", 3),
    ],
)
def test_a_key_that_nobody_here_knows_is_refused_where_it_is_set(key, value, tmp_path):
    written(tmp_path, "bert")
    edit(tmp_path, **{key: value})
    (line,) = lines(tmp_path, "bert")
    assert f"config.json says {key}=" in line
    assert "remove the key if it changes nothing" in line
    edit(tmp_path, **{key: None})
    build_model(named(tmp_path, "bert"), 2)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("bert", {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.2}),
        ("bert", {"architectures": ["BertForMaskedLM"], "torch_dtype": "float16", "id2label": {"0": "a", "1": "b"}}),
        (
            "bert",
            {"initializer_range": 0.5, "use_cache": False, "pad_token_id": 3, "position_embedding_type": "absolute"},
        ),
        ("bert", {"gradient_checkpointing": False, "pooler_type": "first_token_transform", "directionality": "bidi"}),
        ("bert", {"_name_or_path": "x", "_attn_implementation_autoset": True, "finetuning_task": "sst2"}),
        ("gpt2", {"n_ctx": 24, "pad_token_id": 5, "summary_type": "mean", "task_specific_params": {"a": {"b": 1}}}),
        ("gpt2", {"n_inner": 32, "bos_token_id": 4, "max_length": 50, "do_sample": True}),
        ("t5", {"n_positions": 512, "output_past": True, "classifier_dropout": 0.1, "initializer_factor": 0.5}),
        ("marian", {"bad_words_ids": [[299]], "num_beams": 6, "max_length": 512, "forced_eos_token_id": 0}),
        ("marian", {"static_position_embeddings": True, "normalize_before": False, "bos_token_id": 0}),
    ],
)
def test_keys_that_change_nothing_are_passed_over(family, changes, tmp_path):
    plain = build_model(named(written(tmp_path, family), family), 2)
    edit(tmp_path, **changes)
    noted = build_model(named(tmp_path, family), 2)
    pairs = zip(plain.base.parameters(), noted.base.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_base_of_another_family_is_refused_by_its_type(tmp_path):
    written(tmp_path / "roberta", "roberta")
    (line,) = lines(tmp_path / "roberta", "bert")
    assert "config.json says model_type=roberta, model=mine builds bert" in line
    written(tmp_path / "t5", "t5")
    edit(tmp_path / "t5", model_type="mt5")
    (line,) = lines(tmp_path / "t5", "t5")
    assert "says model_type=mt5, model=mine builds t5" in line


@pytest.mark.parametrize(("text", "said"), [("{", "cannot be read"), ("[]", "must be a JSON object")])
def test_a_file_that_is_no_configuration_is_refused(text, said, tmp_path):
    written(tmp_path, "bert")
    (tmp_path / "config.json").write_text(text)
    (line,) = lines(tmp_path, "bert")
    assert said in line
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": "wide"}')
    (line,) = lines(tmp_path, "bert")
    assert "does not fit a bert: Validation error for field 'hidden_size'" in line


@pytest.mark.parametrize("family", MAKE)
def test_without_the_file_layers_that_have_no_place_are_refused(family, tmp_path):
    deeper = {"bert": "num_hidden_layers", "roberta": "num_hidden_layers", "gpt2": "n_layer"}
    written(
        tmp_path, family, **{deeper.get(family, "decoder_layers" if family == "marian" else "num_decoder_layers"): 3}
    )
    (tmp_path / "config.json").unlink()
    with pytest.raises(AssetError, match=r"its layers \S+\.2 have no place; set model\.shape"):
        build_model(named(tmp_path, family), 2)


# The config.json that lies beside the weights in the package that ships them.
PUBLISHED = json.loads((Path(__file__).parent / "published_configs.json").read_text())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_files_published_beside_our_bases_agree_with_them(name, compose_plain, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name]))
    (tmp_path / "model.safetensors").write_bytes(b"")
    config = compose_plain(f"model={name}", f"model.weights={{address: 'path:{tmp_path}', sha256: null}}")
    assert base_file(config.model) == tmp_path / "model.safetensors"


def test_the_command_refuses_the_base_before_it_makes_anything(tiny_base, tiny_data, tmp_path, compose, zygote):
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    edit(folder, hidden_act="relu")
    with pytest.raises(ConfigError, match="says hidden_act=relu"):  # what a study asks first
        identity(compose(f"model.weights.address=path:{folder}"))
    words = [*tiny.words_of(folder, tiny_data), "tracking=off", "trainer=cpu", f"results={tmp_path / 'results'}"]
    done = zygote.run(words, tmp_path, os.environ)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == [
        f"model.weights.address=path:{folder}: config.json says hidden_act=relu, model=minilm computes gelu; "
        "give weights that were made so, or correct the file if it is wrong about them"
    ]
    assert not (tmp_path / "results").exists()
