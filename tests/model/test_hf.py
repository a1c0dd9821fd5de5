"""Any base of transformers from its folder: what it computes there is what is computed here."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, processors
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DeiTForImageClassificationWithTeacher,
)
from transformers.models.auto.image_processing_auto import (
    IMAGE_PROCESSOR_MAPPING_NAMES,
    get_image_processor_class_from_name,
)

from harness.config import ConfigError, HfModelConfig
from harness.lora import LoraSpec, adapt, named_updates
from harness.lora.inject import find_targets
from harness.model import build_model, model_takes, model_tokens
from harness.model.architectures import DECODERS, IMAGES, SEQ2SEQ, TEXT, small_config
from harness.model.hf import HfClassifier, HfGenerator, HfImageClassifier
from harness.model.hf_images import image_input
from harness.model.hf_tokens import copy_tokenizer, tokenizer_of
from harness.model.roles import targets_of
from harness.system.assets import AssetError
from harness.system.hub_models import digest_of_model
from tests.model.small import IDS, MASK, random_network, save_small, three_steps, write_tokenizer

BATCH = {"ids": IDS, "mask": MASK}
SPEC = LoraSpec(rank=1, scale=1.0, targets=())


def named(folder, **keys):
    usual = {"sha256": None, "pooling": "auto", "head": "fresh", "dropout": None, "separator": "w1", "beams": 1}
    usual |= {"dtype": "float32"}
    return HfModelConfig(kind="hf", name="hf", address=f"path:{folder}", **(usual | keys))


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


@pytest.mark.parametrize("model_type", CHOSEN)
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


def test_heads_of_other_tasks_are_dropped_and_named(tmp_path, caplog):
    save_small(AutoModelForMaskedLM, "bert", tmp_path)
    with caplog.at_level("INFO"):
        build_model(named(tmp_path, pooling="mean"), 2)
    assert "weights of other heads are dropped: cls.predictions" in caplog.text


def rewritten(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


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


@pytest.mark.parametrize("model_type", DECODERS)
def test_a_causal_model_writes_what_it_writes_in_transformers(model_type, tmp_path):
    save_small(AutoModelForCausalLM, model_type, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path), 0).eval()
    prompt = torch.tensor([3, 2, 2])
    with torch.no_grad():
        logits = own({"ids": IDS, "mask": MASK})
        torch.testing.assert_close(logits, theirs(IDS, attention_mask=MASK).logits, rtol=0, atol=0)
        written = own.generate({"ids": IDS, "prompt": prompt}, 5)
        expected = theirs.generate(IDS[:1, :3], attention_mask=MASK[:1, :3], max_new_tokens=5, do_sample=False)
    alone = expected[0, 3:].tolist()
    assert written[0].tolist()[: len(alone)] == alone


@pytest.mark.parametrize("model_type", DECODERS)
def test_a_causal_model_computes_its_output_only_where_labels_are(model_type):
    """Whatever an architecture does with its logits after the output layer."""
    network = random_network(AutoModelForCausalLM, model_type)
    own = HfGenerator(network, targets_of(network), 1)
    places = torch.tensor([[2, 3, 4], [1, 2, 0], [0, 0, 0]])
    sizes = []
    head = network.get_output_embeddings()
    head.register_forward_hook(lambda _, states, logits: sizes.append(logits.shape[:2]))
    with torch.no_grad():
        everywhere = own(BATCH)
        chosen = own({**BATCH, "places": places})
        torch.testing.assert_close(own(BATCH), everywhere, rtol=0, atol=0)
    assert sizes[1] == places.shape
    expected = everywhere.gather(1, places.unsqueeze(2).expand(-1, -1, everywhere.shape[2]))
    torch.testing.assert_close(chosen, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model_type", SEQ2SEQ)
def test_an_encoder_with_a_decoder_writes_what_it_writes_in_transformers(model_type, tmp_path):
    save_small(AutoModelForSeq2SeqLM, model_type, tmp_path)
    theirs = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path), 0).eval()
    batch = {"ids": IDS, "mask": MASK, "decoder_ids": IDS[:, :4]}
    with torch.no_grad():
        expected = theirs(IDS, attention_mask=MASK, decoder_input_ids=IDS[:, :4]).logits
        torch.testing.assert_close(own(batch), expected, rtol=0, atol=0)
        written = own.generate(batch, 5)
        row = theirs.generate(IDS[:1], attention_mask=MASK[:1], max_new_tokens=5, do_sample=False, bad_words_ids=None)
    assert model_type == "marian" or written[0].tolist()[: row.shape[1] - 1] == row[0, 1:].tolist()


@pytest.mark.parametrize("model_type", IMAGES)
def test_image_logits_equal_those_of_transformers(model_type, tmp_path):
    save_small(AutoModelForImageClassification, model_type, tmp_path, num_labels=3)
    said = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(said[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = theirs((images / 255 - mean) / std).logits
        torch.testing.assert_close(own({"images": images}), expected, rtol=1e-5, atol=1e-5)
        assert own({"images": images[:, :1, :, :]}).shape == (2, 3)


def test_a_table_of_positions_is_resampled_for_other_sizes(tmp_path):
    save_small(AutoModelForImageClassification, "vit", tmp_path, num_labels=3)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        expected = theirs((images / 255 - 0.5) / 0.5, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(own({"images": images}), expected, rtol=1e-5, atol=1e-5)


PROCESSORS = {
    "without a file": ("vit", {}),
    "of other means without a file": ("resnet", {}),
    "BGR without a file": ("mobilevit", {}),
    "another factor": ("vit", {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}),
    "bytes": ("vit", {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0] * 3}),
    "as they are": ("vit", {"do_normalize": False}),
    "BGR": ("vit", {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": True}),
}


@pytest.mark.parametrize("case", PROCESSORS)
def test_images_are_read_as_transformers_reads_them(case, tmp_path):
    model_type, said = PROCESSORS[case]
    kind = get_image_processor_class_from_name(IMAGE_PROCESSOR_MAPPING_NAMES[model_type]["torchvision"])
    if said:
        kind = get_image_processor_class_from_name(said.get("image_processor_type", "ViTImageProcessor"))
        said = {"image_processor_type": kind.__name__} | said
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    reads = image_input(tmp_path, model_type)
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    plain = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
    expected = kind(**said)(image, **plain)["pixel_values"][0]
    save_small(AutoModelForImageClassification, "vit", tmp_path / "net", num_labels=2)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path / "net").eval()
    own = HfImageClassifier(theirs, reads).eval()
    with torch.no_grad():
        torch.testing.assert_close(own({"images": image[None]}), theirs(expected[None]).logits, rtol=1e-4, atol=1e-5)
    exported = get_image_processor_class_from_name(reads.settings(32)["image_processor_type"])(**reads.settings(32))
    torch.testing.assert_close(exported(image, return_tensors="pt")["pixel_values"][0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "model_type", "message"),
    [
        ({"do_color_quantize": True}, "vit", "do_color_quantize: images are not read so here"),
        ({"rescale_offset": True}, "vit", "rescale_offset: images are not read so here"),
        ({"image_mean": [0.5]}, "vit", "image_mean and image_std are not of three channels"),
        (None, "nonesuch", "no such file, and transformers has no image processor for nonesuch"),
    ],
)
def test_images_that_are_read_otherwise_are_refused(said, model_type, message, tmp_path):
    if said is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(ConfigError, match=message):
        image_input(tmp_path, model_type)


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
    assert (found.end, found.pad, found.start) == (1, 0, 0)


def test_a_model_of_several_parts_writes(tmp_path):
    text = small_config("gemma3_text").to_dict() | {"sliding_window": 8}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    vision |= {"image_size": 16, "patch_size": 8}
    made = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(made).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    own = build_model(named(tmp_path), 0).eval()
    assert own.generate({"ids": IDS, "mask": MASK, "prompt": torch.tensor([3, 2, 2])}, 4).shape[0] == 3


def test_an_encoder_that_cannot_write_is_one_line(tmp_path):
    save_small(AutoModelForSequenceClassification, "bert", tmp_path)
    with pytest.raises(ConfigError, match="a bert writes no text"):
        build_model(named(tmp_path), 0)


@pytest.mark.parametrize(
    ("model_type", "kinds"),
    [
        ("bert", ("text",)),
        ("llama", ("text", "generator")),
        ("t5", ("text", "generator")),
        ("marian", ("text", "generator")),
        ("vit", ("vision",)),
    ],
)
def test_what_a_base_takes_is_told_from_config_json(model_type, kinds, tmp_path):
    small_config(model_type).save_pretrained(tmp_path)
    assert model_takes(named(tmp_path)).kinds == kinds


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "modernbert"])
def test_a_base_of_16_bits_computes_nearly_the_same_and_what_is_trained_has_32(model_type, dtype, tmp_path):
    save_small(AutoModelForSequenceClassification, model_type, tmp_path, num_labels=3)
    whole = build_model(named(tmp_path, head="stored"), 3).eval()
    half = build_model(named(tmp_path, head="stored", dtype=dtype), 3).eval()
    for network in (whole, half):
        torch.manual_seed(3)
        adapt(network.base, LoraSpec(rank=2, scale=1.0, targets=("all-linear",)), network.targets)
    found, expected = half(BATCH), whole(BATCH)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()
    found.sum().backward()
    expected.sum().backward()
    for (name, ours), theirs in zip(half.base.named_parameters(), whole.base.parameters(), strict=True):
        if ours.requires_grad:
            assert (ours.grad - theirs.grad).norm() <= 0.1 * theirs.grad.norm() + 1e-6, name
    trained = {tensor.dtype for tensor in half.parameters() if tensor.requires_grad}
    grads = {tensor.grad.dtype for tensor in half.parameters() if tensor.grad is not None}
    assert trained == grads == {torch.float32}
    assert {tensor.dtype for tensor in half.base.parameters() if not tensor.requires_grad} == {getattr(torch, dtype)}


def loss_and_kept(own):
    """Runs forward and backward; returns the numbers that autograd kept in between."""
    saved = []

    def keep(tensor):
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = own(BATCH).square().mean()
    loss.backward()
    return sum(saved)


@pytest.mark.parametrize("kind", [AutoModelForSequenceClassification, AutoModelForCausalLM])
def test_activations_that_are_computed_again_give_the_same_gradients(kind, tmp_path):
    save_small(kind, "llama", tmp_path)
    gradients = []
    for again in (False, True):
        torch.manual_seed(2)  # of the fresh head
        own = build_model(named(tmp_path), 2 if kind is AutoModelForSequenceClassification else 0)
        if again:
            own.checkpoint_activations()
        torch.manual_seed(0)
        adapt(own.base, LoraSpec(rank=2, scale=1.0, targets=("query", "ffn_up")), own.targets)
        with torch.no_grad():
            for name, tensor in own.base.named_parameters():
                if "lora_B" in name:
                    tensor.add_(0.1)
        kept = loss_and_kept(own)
        gradients.append(([tensor.grad for tensor in own.base.parameters() if tensor.grad is not None], kept))
    (one, kept), (other, kept_again) = gradients
    assert len(one) == len(other) == 8
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)
    assert kept_again < 0.7 * kept


@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2"])
def test_three_steps_of_lora_on_all_linear_layers_are_those_of_peft(model_type, tmp_path):
    from peft import LoraConfig, get_peft_model

    save_small(AutoModelForSequenceClassification, model_type, tmp_path, num_labels=3)
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    adapt(own.base, LoraSpec(rank=2, scale=2.0, targets=("all-linear",)), own.targets)
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with warnings.catch_warnings():  # of GPT-2's transposed weights, which PEFT sets right itself
        warnings.simplefilter("ignore")
        config = LoraConfig(target_modules="all-linear", r=2, lora_alpha=4, task_type="SEQ_CLS")
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
