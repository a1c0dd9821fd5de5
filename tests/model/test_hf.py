"""Bases of transformers: logits, targets, counts and heads are those of transformers and PEFT."""

import json
import warnings

import pytest
import torch
from transformers import (
    ASTConfig,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    DeiTForImageClassificationWithTeacher,
    IBertModel,
    Wav2Vec2BertConfig,
)

from harness.lora import LoraSpec, adapt, named_updates
from harness.lora.errors import SpecError
from harness.lora.inject import find_targets
from harness.model import build_model, model_takes, model_tokens
from harness.model.architectures import DECODERS, ENCODERS, IMAGES, SEQ2SEQ, TEXT, small_config
from harness.model.hf import HfClassifier, HfGenerator
from harness.model.roles import targets_of
from harness.system.assets import AssetError
from tests.model.hf_inputs import BATCH, named, rewritten
from tests.model.small import IDS, MASK, random_network, save_small, three_steps, write_tokenizer

MAMBAS = {
    "mamba": {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "vocab_size": 100},
    "mamba2": {
        "hidden_size": 16,
        "state_size": 4,
        "num_hidden_layers": 2,
        "vocab_size": 100,
        "num_heads": 4,
        "head_dim": 8,
    },
}
SPEC = LoraSpec(rank=1, scale=1.0, targets=())


@pytest.mark.parametrize("model_type", TEXT)
def test_logits_equal_those_of_transformers(model_type, tmp_path):
    save_small(AutoModelForSequenceClassification, model_type, tmp_path, num_labels=3)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    with torch.no_grad():
        expected = theirs(IDS, attention_mask=MASK).logits
        torch.testing.assert_close(own({"ids": IDS, "mask": MASK}), expected, rtol=0, atol=0)


CHOSEN = ("bert", "deberta-v2", "gpt2", "llama", "falcon", "modernbert", "t5", "phi3")


@pytest.mark.parametrize("model_type", TEXT)
def test_all_linear_is_what_peft_finds(model_type):
    from peft import LoraConfig, get_peft_model

    with torch.device("meta"):
        base = AutoModel.from_config(small_config(model_type))
    ours = {each.module for each in find_targets(base, ["all-linear"], targets_of(base), SPEC)}
    with warnings.catch_warnings():  # of layouts that PEFT sets right itself
        warnings.simplefilter("ignore")
        theirs = get_peft_model(base, LoraConfig(target_modules="all-linear", r=1)).targeted_module_names
    assert ours == set(theirs)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", ["llama", "t5"])
def test_all_linear_of_a_writer_leaves_its_output_layer_out_as_peft_does(model_type, tied):
    from peft import LoraConfig, get_peft_model

    kind = AutoModelForCausalLM if model_type == "llama" else AutoModelForSeq2SeqLM
    base = random_network(kind, model_type, tie_word_embeddings=tied)
    names = targets_of(base)
    ours = {each.module for each in find_targets(base, ["all-linear"], names, SPEC)}
    adapt(random_network(kind, model_type, tie_word_embeddings=tied), LoraSpec(1, 1.0, ("all-linear",)), names)
    theirs = get_peft_model(base, LoraConfig(target_modules="all-linear", r=1)).targeted_module_names
    assert ours == set(theirs)
    assert "lm_head" not in ours


@pytest.mark.parametrize("model_type", TEXT)
def test_the_roles_share_out_all_layers(model_type):
    """Each layer has one role; thirds of a fused projection are of that projection."""
    with torch.device("meta"):
        base = AutoModel.from_config(small_config(model_type))
    names = targets_of(base)
    whole = [name for name in names if name != "all-linear" and not names[name].endswith("/3]")]
    targets = [each for name in whole for each in find_targets(base, [name], names, SPEC)]
    found = {each.module for each in targets}
    assert len({each.name for each in targets}) == len(targets)
    kinds = (torch.nn.Linear, torch.nn.Embedding)
    assert {name for name, module in base.named_modules() if isinstance(module, kinds)} <= found


@pytest.mark.parametrize("model_type", TEXT)
def test_counting_needs_config_json_alone(model_type, tmp_path):
    save_small(AutoModelForSequenceClassification, model_type, tmp_path)
    whole = build_model(named(tmp_path), 3)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "tokenizer.json").unlink()
    shapes = build_model(named(tmp_path), 3, weights=False)
    assert {name: tensor.shape for name, tensor in shapes.named_parameters()} == {
        name: tensor.shape for name, tensor in whole.named_parameters()
    }
    assert shapes.targets == whole.targets


def twice(kind, model_type):
    """Two networks of one architecture that differ in every weight."""
    return [random_network(kind, model_type, seed) for seed in (1, 2)]


@pytest.mark.parametrize("model_type", [*TEXT, *IMAGES])
def test_a_classifier_saved_whole_is_read_back(model_type, tmp_path):
    """Mixtral and others store their weights under other names than they have in the network."""
    kind = AutoModelForImageClassification if model_type in IMAGES else AutoModelForSequenceClassification
    one, other = (HfClassifier(whole) for whole in twice(kind, model_type))
    one.save_whole(None, tmp_path)
    other.load_whole(tmp_path)
    for name, tensor in one.whole.state_dict().items():
        assert torch.equal(tensor, other.whole.state_dict()[name]), name


@pytest.mark.parametrize("model_type", [*DECODERS, *SEQ2SEQ])
def test_a_writer_saved_whole_is_read_back(model_type, tmp_path):
    kind = AutoModelForCausalLM if model_type in DECODERS else AutoModelForSeq2SeqLM
    one, other = (HfGenerator(base, {}, 1) for base in twice(kind, model_type))
    one.base.save_pretrained(tmp_path)
    other.load_whole(tmp_path)
    for name, tensor in one.base.state_dict().items():  # sines of positions are not stored
        assert name in (one.base._keys_to_ignore_on_save or ()) or torch.equal(tensor, other.base.state_dict()[name])


def test_weights_of_another_network_are_not_read_back(tmp_path):
    one, other = (HfClassifier(whole) for whole in twice(AutoModelForSequenceClassification, "bert"))
    one.save_whole(None, tmp_path)
    rewritten(tmp_path, lambda found: {name: found[name] for name in found if "layer.1" not in name})
    with pytest.raises(AssetError, match=r"not the weights of this network: .*layer\.1.* and \d+ more"):
        other.load_whole(tmp_path)


def test_what_config_json_says_is_what_is_built(tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path, hidden_act="relu", layer_norm_eps=1e-3)
    own = build_model(named(tmp_path), 2)
    assert own.base.config.hidden_act == "relu"
    assert {module.eps for module in own.base.modules() if isinstance(module, torch.nn.LayerNorm)} == {1e-3}


@pytest.mark.parametrize("model_type", CHOSEN)
def test_padding_and_what_stands_beside_a_row_change_nothing(model_type, tmp_path):
    save_small(AutoModelForSequenceClassification, model_type, tmp_path, num_labels=3)
    own = build_model(named(tmp_path), 3).eval()
    with torch.no_grad():
        together = own({"ids": IDS, "mask": MASK})
        alone = own({"ids": IDS[1:2, :4], "mask": MASK[1:2, :4]})
    torch.testing.assert_close(together[1:2], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("said", [None, -1])
@pytest.mark.parametrize("tokenizer", ["tokenizer.json", "older files", "none"])
def test_the_last_token_is_found_by_what_the_tokenizer_pads_with(said, tokenizer, tmp_path):
    """The id of the padding is 7; a row alone is not padded."""
    save_small(AutoModelForSequenceClassification, "llama", tmp_path, num_labels=3, pad_token_id=None)
    facts = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(facts | {"pad_token_id": said}))
    write_tokenizer(tmp_path, pad_token="w3")
    pad = 7
    if tokenizer != "tokenizer.json":
        (tmp_path / "tokenizer.json").unlink()
        pad = facts["eos_token_id"]
    if tokenizer == "older files":
        pad = 2
        (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[PAD]\n[SEP]\n[MASK]\nw\n")
        marks = {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]"}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(marks))
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    assert own.whole.config.pad_token_id == pad
    if tokenizer != "none":
        assert model_tokens(named(tmp_path)).pad == pad
    ids, mask = torch.tensor([[5, 9, 11, pad, pad], [5, 9, 11, 12, 13]]), torch.tensor([[1, 1, 1, 0, 0], [1] * 5])
    with torch.no_grad():
        alone = own({"ids": ids[:1, :3], "mask": mask[:1, :3]})
        torch.testing.assert_close(own({"ids": ids, "mask": mask})[:1], alone)


def test_a_causal_base_without_padding_classifies_batches(tmp_path):
    save_small(AutoModelForCausalLM, "gpt2", tmp_path, pad_token_id=None)
    own = build_model(named(tmp_path), 2).eval()
    assert own({"ids": IDS, "mask": MASK}).shape == (3, 2)


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "pooler"])
def test_pooling_of_the_users_choice(pooling, tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path)
    own = build_model(named(tmp_path, pooling=pooling), 2).eval()
    out = AutoModel.from_pretrained(tmp_path).eval()(IDS, attention_mask=MASK)
    tokens = out.last_hidden_state
    expected = {
        "mean": torch.stack([row[: mask.sum()].mean(0) for row, mask in zip(tokens, MASK, strict=True)]),
        "first": tokens[:, 0],
        "last": torch.stack([tokens[0, 5], tokens[1, 3], tokens[2, 3]]),
        "pooler": out.pooler_output,
    }[pooling]
    torch.testing.assert_close(own({"ids": IDS, "mask": MASK}), own.head(expected))


def test_several_tasks_have_a_head_each(tmp_path):
    save_small(AutoModelForSequenceClassification, "llama", tmp_path)
    own = build_model(named(tmp_path), {"one": 2, "two": 5})
    assert own({"ids": IDS, "mask": MASK, "tasks": torch.ones(3, dtype=torch.long)}).shape == (3, 5)


def test_the_output_layer_is_fresh_and_the_rest_of_the_head_as_stored(tmp_path):
    stored = save_small(AutoModelForSequenceClassification, "modernbert", tmp_path, num_labels=3)
    own = build_model(named(tmp_path), 3)
    assert torch.equal(own.head.head.dense.weight, stored.head.dense.weight)
    assert not torch.equal(own.head.classifier.weight, stored.classifier.weight)
    assert own.head.classifier.weight.std() < 0.05


def test_both_output_layers_of_a_taught_deit_are_fresh(tmp_path):
    stored = DeiTForImageClassificationWithTeacher(small_config("deit"))
    stored.save_pretrained(tmp_path)
    own = build_model(named(tmp_path), 2)
    for name in ("cls_classifier", "distillation_classifier"):
        assert not torch.equal(own.head[name].weight, stored.get_submodule(name).weight)


def test_dropout_is_that_of_config_json_or_the_one_given(tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path, hidden_dropout_prob=0.3)
    shares = [
        {module.p for module in build_model(named(tmp_path, dropout=share), 2).modules() if is_dropout(module)}
        for share in (None, 0.0)
    ]
    assert shares == [{0.3, 0.1}, {0.0}]


def is_dropout(module):
    return isinstance(module, torch.nn.Dropout)


@pytest.mark.parametrize(
    ("model_type", "kinds"),
    [
        ("bert", ("text",)),
        ("llama", ("text", "generator")),
        ("t5", ("text", "generator")),
        ("marian", ("text", "generator")),
        ("vit", ("vision",)),
        ("dinov3_vit", ("vision",)),
    ],
)
def test_what_a_base_takes_is_told_from_config_json(model_type, kinds, tmp_path):
    small_config(model_type).save_pretrained(tmp_path)
    assert model_takes(named(tmp_path)).kinds == kinds


@pytest.mark.parametrize("kind", [ASTConfig, Wav2Vec2BertConfig])
def test_recordings_that_are_given_otherwise_are_for_no_task(kind, tmp_path):
    """Both have filter banks of Kaldi's made of what they hear; one of them has a vocabulary, and reads no texts."""
    kind().save_pretrained(tmp_path)
    assert model_takes(named(tmp_path)).kinds == ()


@pytest.mark.parametrize("model_type", MAMBAS)
def test_all_linear_of_mamba_leaves_out_what_peft_refuses(model_type):
    from peft import LoraConfig, get_peft_model

    with torch.device("meta"):
        base = AutoModel.from_config(AutoConfig.for_model(model_type, **MAMBAS[model_type]))
    names = targets_of(base)
    ours = [each.module for each in find_targets(base, ["all-linear"], names, SPEC)]
    linear = {name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)}
    assert set(ours) == {name for name in linear if not name.endswith("out_proj")}
    with pytest.raises(SpecError, match=r"Mamba's kernels take the weight out of layers\.0\.mixer\.out_proj"):
        find_targets(base, [r".*out_proj"], names, SPEC)
    assert set(get_peft_model(base, LoraConfig(target_modules=ours, r=1)).targeted_module_names) == set(ours)
    with torch.device("meta"):
        other = AutoModel.from_config(AutoConfig.for_model(model_type, **MAMBAS[model_type]))
    with pytest.raises(ValueError, match="'out_proj' is incompatible with Mamba-based models"):
        get_peft_model(other, LoraConfig(target_modules="all-linear", r=1))


def test_a_base_without_linear_layers_is_said_to_have_none():
    with torch.device("meta"):
        base = IBertModel(AutoConfig.for_model("ibert", **ENCODERS["roberta"]), add_pooling_layer=False)
    with pytest.raises(SpecError, match="all-linear: the base has no linear layers that can be adapted; lora=full"):
        find_targets(base, ["all-linear"], targets_of(base), SPEC)


@pytest.mark.parametrize("model_type", TEXT)
def test_three_steps_of_lora_on_all_linear_layers_are_those_of_peft(model_type, tmp_path):
    from peft import LoraConfig, get_peft_model

    save_small(AutoModelForSequenceClassification, model_type, tmp_path, num_labels=3)
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    of_one_output = ((r"contact_head\..*", 0),) if model_type == "esm" else ()  # no answer passes through it
    adapt(own.base, LoraSpec(rank=2, scale=2.0, targets=("all-linear",), ranks=of_one_output), own.targets)
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with warnings.catch_warnings():  # of GPT-2's transposed weights, which PEFT sets right itself
        warnings.simplefilter("ignore")
        heads = {name.partition(".")[0] for name, _ in whole.named_parameters()} - {whole.base_model_prefix}
        targets = [f"{whole.base_model_prefix}.{name}" for name, _ in named_updates(own.base)]
        config = LoraConfig(
            target_modules=targets, modules_to_save=sorted(heads), r=2, lora_alpha=4, task_type="SEQ_CLS"
        )
        theirs = get_peft_model(whole, config).eval()
    prefix = f"base_model.model.{whole.base_model_prefix}."
    starts = {name: update.lora_A for name, update in named_updates(own.base)}
    with torch.no_grad():
        for name, start in starts.items():
            theirs.get_parameter(f"{prefix}{name}.lora_A.default.weight").copy_(start)
    labels = torch.tensor([0, 2, 1])
    count, mine = three_steps(own, lambda: own(BATCH), labels)
    their_count, expected = three_steps(theirs, lambda: theirs(IDS, attention_mask=MASK).logits, labels)
    assert count == their_count
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)
