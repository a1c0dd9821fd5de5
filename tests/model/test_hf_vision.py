"""Bases that see: those whose classifier holds a part of a larger network, and bare ones under a head of our own."""

import json
import warnings

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, HGNetV2Config

from harness.config import ConfigError
from harness.lora import LoraSpec
from harness.lora.inject import adapt, find_targets
from harness.model import build_model, model_takes
from harness.model.architectures import BARE_IMAGES
from harness.model.architectures import IMAGES as IMAGE_CONFIGS
from harness.model.roles import targets_of
from tests.model.hf_inputs import named
from tests.model.small import random_network, save_small, three_steps

IMAGES = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2])
ALL = LoraSpec(rank=2, scale=1.0, targets=("all-linear",))


@pytest.mark.parametrize("model_type", ["clip", "siglip"])
def test_the_part_of_a_larger_network_is_the_base_and_its_classifier_the_head(model_type, tmp_path):
    save_small(AutoModelForImageClassification, model_type, tmp_path, num_labels=3)
    own = build_model(named(tmp_path), 3)
    assert [name for name, _ in own.head.named_parameters()] == ["classifier.weight", "classifier.bias"]
    base, head = ({id(tensor) for tensor in part.parameters()} for part in (own.base, own.head))
    assert base
    assert not base & head
    names = {each.module for each in find_targets(own.base, ["all-linear"], own.targets, ALL)}
    assert "encoder.layers.0.self_attn.q_proj" in names
    assert not any("classifier" in name for name in names)
    adapt(own.base, ALL, own.targets)
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    three_steps(own, lambda: own({"images": IMAGES}), LABELS)
    changed = {name for name, tensor in own.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"head.classifier.weight", "head.classifier.bias"} <= changed
    assert all("lora" in name or name.startswith("head.classifier.") for name in changed)


@pytest.mark.parametrize("model_type", ["clip", "siglip"])
def test_positions_are_resampled_by_the_part(model_type, tmp_path):
    save_small(AutoModelForImageClassification, model_type, tmp_path, num_labels=3)
    said = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    own = build_model(named(tmp_path, head="stored"), 3).eval()
    large = torch.nn.functional.interpolate(IMAGES.float(), size=48).byte()
    with torch.no_grad():
        expected = theirs((large / 255 - 0.5) / 0.5, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(own({"images": large}), expected, rtol=1e-5, atol=1e-5)


def test_the_whole_of_two_towers_gives_the_one_that_sees(tmp_path):
    """As the hub holds them: with the tower that reads texts, and without a classifier."""
    theirs = save_small(AutoModel, "siglip", tmp_path)
    own = build_model(named(tmp_path), 3)
    for name, tensor in own.base.state_dict().items():
        assert torch.equal(tensor, theirs.vision_model.state_dict()[name]), name


def test_all_linear_of_siglip_leaves_out_where_pefts_adapter_is_never_called():
    """PEFT names the output projection of its pooling head, a torch.nn.MultiheadAttention, which reads its weight."""
    from peft import LoraConfig, get_peft_model

    whole = random_network(AutoModelForImageClassification, "siglip")
    base = whole.vision_model
    ours = {each.module for each in find_targets(base, ["all-linear"], targets_of(base), ALL)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = get_peft_model(base, LoraConfig(target_modules="all-linear", r=2, init_lora_weights=False))
    idle = "head.attention.out_proj"
    assert ours == set(theirs.targeted_module_names) - {idle}
    before = theirs(torch.ones(1, 3, 32, 32)).pooler_output
    theirs.base_model.model.get_submodule(idle).lora_B["default"].weight.data.add_(1.0)
    assert torch.equal(theirs(torch.ones(1, 3, 32, 32)).pooler_output, before)


def test_a_classifier_that_holds_no_base_apart_is_refused(tmp_path):
    made = HGNetV2Config(embedding_size=8, hidden_sizes=[8, 16, 32, 64], stage_numb_of_layers=[1] * 4)
    made.save_pretrained(tmp_path)
    said = "transformers has no hgnet_v2 for images, whose head is apart from its base; model=timm"
    with pytest.raises(ConfigError, match=said):
        build_model(named(tmp_path), 3, weights=False)


def describe(model_type, keys, folder):
    AutoConfig.for_model(model_type, **keys).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text("{}")


def test_patches_of_any_shape_are_refused(tmp_path):
    describe("siglip2", IMAGE_CONFIGS["siglip"], tmp_path)
    with pytest.raises(ConfigError, match="a siglip2 reads patches that are cut out and laid out beforehand"):
        build_model(named(tmp_path), 3, weights=False)


def bare(model_type, folder):
    theirs = save_small(AutoModel, model_type, folder)
    said = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    mean, std = (torch.tensor(said[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    return theirs, (IMAGES / 255 - mean) / std


def features_of(theirs, images, pooling):
    """By hand, of each kind: a pooler, a class token, the mean of the patches behind it and the registers."""
    kind = theirs.config.model_type
    with torch.no_grad():
        if kind == "vit_mae":
            theirs.config.mask_ratio = 0.0
            out = theirs(images, noise=torch.arange(16).expand(3, 16))
        else:
            out = theirs(images)
    if pooling == "mean":
        beside = {"dinov3_vit": 3, "vit_mae": 1}.get(kind, 0)
        return out.last_hidden_state[:, beside:].mean(1)
    return out.last_hidden_state[:, 0] if kind == "vit_mae" else out.pooler_output


@pytest.mark.parametrize("pooling", ["auto", "mean"])
@pytest.mark.parametrize("model_type", BARE_IMAGES)
def test_features_equal_those_of_transformers(model_type, pooling, tmp_path):
    theirs, images = bare(model_type, tmp_path)
    own = build_model(named(tmp_path, pooling=pooling), 3).eval()
    assert model_takes(named(tmp_path)).kinds == ("vision",)
    expected = features_of(theirs, images, pooling)
    own.head = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(own({"images": IMAGES}), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model_type", BARE_IMAGES)
def test_a_bare_network_is_counted_from_config_json_alone_and_trains(model_type, tmp_path):
    bare(model_type, tmp_path)
    own = build_model(named(tmp_path), 3)
    shapes = build_model(named(tmp_path), 3, weights=False)
    assert {name: tensor.shape for name, tensor in shapes.named_parameters()} == {
        name: tensor.shape for name, tensor in own.named_parameters()
    }
    adapt(own.base, ALL, own.targets)
    before = own({"images": IMAGES})
    _, after = three_steps(own, lambda: own({"images": IMAGES}), LABELS)
    cross_entropy = torch.nn.functional.cross_entropy
    assert cross_entropy(after, LABELS) < cross_entropy(before, LABELS)


def test_several_tasks_have_a_head_each_over_a_bare_network(tmp_path):
    bare("dinov3_vit", tmp_path)
    own = build_model(named(tmp_path), {"one": 3, "two": 2})
    assert own.head_names == ["one", "two"]


def test_what_a_bare_network_lacks_is_one_line(tmp_path):
    bare("vit_mae", tmp_path)
    for keys, said in (
        ({"pooling": "pooler"}, "it has no pooler; model.pooling=mean"),
        ({"pooling": "last"}, "model.pooling=last: of images auto, mean, first"),
        ({"head": "stored"}, "model.head=stored: vit_mae has no classifier here; model.head=fresh"),
    ):
        with pytest.raises(ConfigError, match=said):
            build_model(named(tmp_path, **keys), 3, weights=False)


def test_what_sees_no_single_image_names_the_way_out(tmp_path):
    describe("videomae", IMAGE_CONFIGS["vit"], tmp_path)
    with pytest.raises(ConfigError, match="videomae .*; model=timm has networks of images"):
        build_model(named(tmp_path), 3, weights=False)
