"""Folders that are no base, or hold what does not fit: refused by name, and nothing is unpickled."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, processors
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from harness.config import ConfigError
from harness.model import build_model, model_tokens
from harness.model.architectures import small_config
from harness.model.hf_tokens import copy_tokenizer, tokenizer_of
from harness.system.assets import AssetError
from harness.system.hub_models import digest_of_model
from tests.model.hf_inputs import named, rewritten
from tests.model.small import IDS, MASK, save_small


def test_heads_of_other_tasks_are_dropped_and_named(tmp_path, caplog):
    save_small(AutoModelForMaskedLM, "bert", tmp_path)
    with caplog.at_level("INFO"):
        build_model(named(tmp_path, pooling="mean"), 2)
    assert "weights of other heads are dropped: cls.predictions" in caplog.text


MISTAKES = {
    "lacking": (
        lambda found: {key: value for key, value in found.items() if "layer.1.output.dense.weight" not in key},
        "no weights for bert.encoder.layer.1.output.dense.weight",
    ),
    "left over": (
        lambda found: found | {"bert.encoder.layer.2.output.dense.weight": torch.zeros(2)},
        "no place for encoder.layer.2.output.dense.weight; config.json describes another network",
    ),
    "of another shape": (
        lambda found: found | {"bert.encoder.layer.1.output.dense.bias": torch.zeros(3)},
        "weights of another shape for bert.encoder.layer.1.output.dense.bias (3,) for (32,)",
    ),
    "without the pooler": (
        lambda found: {key: value for key, value in found.items() if "pooler" not in key},
        "model.pooling=mean or first reads no pooler",
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_weights_that_do_not_fit_are_named(kind, tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path)
    change, message = MISTAKES[kind]
    rewritten(tmp_path, change)
    with pytest.raises(AssetError) as caught:
        build_model(named(tmp_path), 2)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickles_are_read_as_tensors_only(tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path, num_labels=2)
    state = load_file(tmp_path / "model.safetensors")
    expected = build_model(named(tmp_path, head="stored"), 2).eval()({"ids": IDS, "mask": MASK})
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    own = build_model(named(tmp_path, head="stored"), 2).eval()
    assert torch.equal(own({"ids": IDS, "mask": MASK}), expected)
    torch.save({"bert": Unpickled()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(AssetError, match="holds more than tensors"):
        build_model(named(tmp_path), 2)
    assert not Unpickled.ran


class Unpickled:
    ran = False

    def __reduce__(self):
        return (setattr, (Unpickled, "ran", True))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"model_type": "nonesuch"}, "says model_type=nonesuch, which transformers does not have"),
        ({"model_type": "nonesuch", "auto_map": {"AutoConfig": "code.Config"}}, "code beside weights is never run"),
        ({"hidden_size": 8}, "config.json has no model_type"),
        (["bert"], "config.json has no model_type"),
        (None, "no config.json in it"),
    ],
)
def test_folders_that_are_no_model_are_one_line(facts, message, tmp_path):
    if facts is not None:
        (tmp_path / "config.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError) as caught:
        build_model(named(tmp_path), 2, weights=False)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_adapter_is_no_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert named(tmp_path).missing_files() == [
        f"model.address=path:{tmp_path}: an adapter, not a base; name the base that its adapter_config.json names"
    ]


def test_a_base_without_tokenizer_is_one_line(tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"no tokenizer\.json in it"):
        model_tokens(named(tmp_path))


def test_the_length_is_that_of_config_json(tmp_path):
    lengths = {}
    for model_type in ("bert", "roberta", "t5", "gpt2", "llama"):
        small_config(model_type).save_pretrained(tmp_path / model_type)
        lengths[model_type] = named(tmp_path / model_type).longest
    assert lengths == {"bert": 64, "roberta": 63, "t5": None, "gpt2": 64, "llama": 64}


def test_the_fingerprint_is_of_the_files_not_of_the_place(tmp_path):
    for place in ("one", "two"):
        save_small(AutoModelForSequenceClassification, "bert", tmp_path / place)
    assert named(tmp_path / "one").hashed() == named(tmp_path / "two").hashed()
    digests = [digest_of_model(tmp_path / place) for place in ("one", "two")]
    (tmp_path / "two" / "README.md").write_text("of no matter")
    digests.append(digest_of_model(tmp_path / "two"))
    facts = json.loads((tmp_path / "two" / "config.json").read_text())
    (tmp_path / "two" / "config.json").write_text(json.dumps(facts | {"hidden_act": "relu"}))
    digests.append(digest_of_model(tmp_path / "two"))
    digests.append(digest_of_model(tmp_path / "one"))
    (tmp_path / "one" / "preprocessor_config.json").write_text('{"rescale_factor": 0.5}')
    digests.append(digest_of_model(tmp_path / "one"))
    assert [digest == digests[0] for digest in digests] == [True, True, True, False, True, False]


def test_the_tokenizer_of_older_files_follows_all_of_them(tmp_path, own_cache):
    """do_lower_case stands in tokenizer_config.json alone."""
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[PAD]\n[SEP]\n[MASK]\na\nA\n")
    for lower in (True, False):
        said = {"tokenizer_class": "BertTokenizer", "do_lower_case": lower}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
        file = tokenizer_of(tmp_path, "here")
        copied = tmp_path / f"copied-{lower}"
        copied.mkdir()
        copy_tokenizer(file, copied)
        (copied / "config.json").write_text('{"model_type": "bert"}')
        wanted = AutoTokenizer.from_pretrained(tmp_path)("A a")["input_ids"]
        assert Tokenizer.from_file(str(file)).encode("A a").ids == wanted
        assert AutoTokenizer.from_pretrained(copied)("A a")["input_ids"] == wanted
        assert wanted[1] == (5 if lower else 6)


def rewrite_config(folder, **keys):
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(facts | keys))


def test_configurations_that_transformers_fails_on_are_one_line(tmp_path):
    for name, model_type, keys, outputs, message in (
        ("end", "llama", {"eos_token_id": None}, 0, "has an eos_token_id"),
        ("bits", "llama", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, 2, "has quantization_config: "),
        ("heads", "bert", {"num_attention_heads": 5}, 2, "config.json: The hidden size .* is not a multiple of"),
    ):
        small_config(model_type).save_pretrained(tmp_path / name)
        rewrite_config(tmp_path / name, **keys)
        with pytest.raises(ConfigError, match=message) as caught:
            build_model(named(tmp_path / name), outputs, weights=False)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_a_tokenizer_that_ends_no_text_is_one_line(model_type, tmp_path):
    save_small(AutoModelForSequenceClassification, model_type, tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 2)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ConfigError, match="its tokenizer ends no text, .*; model.pooling=mean"):
        build_model(named(tmp_path), 2)
    build_model(named(tmp_path, pooling="mean"), 2)


def test_ids_that_config_json_leaves_to_the_architecture_are_known(tmp_path):
    save_small(AutoModelForSeq2SeqLM, "t5", tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    for key in ("eos_token_id", "pad_token_id"):
        facts.pop(key)
    (tmp_path / "config.json").write_text(json.dumps(facts))
    (tmp_path / "generation_config.json").unlink()
    found = model_tokens(named(tmp_path))
    assert (found.end, found.pad, found.decoder_start) == (1, 0, 0)
