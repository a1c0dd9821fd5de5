"""Any network of timm: the features of the same file in timm itself, each layer with its role."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from harness.config import ConfigError, TimmModelConfig
from harness.lora import LoraSpec, adapt
from harness.model import build_model
from harness.system.assets import AssetError
from harness.trial.base_checks import check_base

NAMES = {
    "resnet10t": {"conv"},
    "vit_tiny_patch16_224": {"query", "key", "value", "output", "qkv", "ffn_up", "ffn_down"},
    "convnext_tiny": {"ffn_up", "ffn_down", "depthwise"},
    "mobilenetv3_small_050": {"conv", "depthwise", "pointwise"},
    "efficientnet_lite0": {"depthwise", "pointwise"},
    "swin_tiny_patch4_window7_224": {"qkv", "output", "ffn_up", "ffn_down"},
}


def named(architecture, address=None, **keys):
    usual = {"sha256": None, "image_size": None}
    return TimmModelConfig(kind="timm", name="timm", architecture=architecture, address=address, **(usual | keys))


@pytest.fixture
def saved(tmp_path):
    def save(name):
        torch.manual_seed(0)
        theirs = timm.create_model(name, pretrained=False).eval()
        save_file({key: tensor.contiguous() for key, tensor in theirs.state_dict().items()}, tmp_path / "w.safetensors")
        return theirs, f"path:{tmp_path}/w.safetensors"

    return save


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_features_equal_those_of_timm(name, saved):
    theirs, address = saved(name)
    own = build_model(named(name, address), 3).eval()
    size = 224 if "224" in name else 64
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    facts = timm.data.resolve_model_data_config(theirs)
    mean, std = (torch.tensor(facts[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        features = theirs.forward_head(theirs.forward_features((images / 255 - mean) / std), pre_logits=True)
        torch.testing.assert_close(own({"images": images}), own.head(features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_layers_have_roles_and_take_updates_without_weights(name):
    network = build_model(named(name), 3, weights=False)
    assert NAMES[name] <= set(network.targets)
    names = sorted(NAMES[name] - {"qkv"}) if "query" in NAMES[name] else sorted(NAMES[name])
    assert adapt(network.base, LoraSpec(rank=1, scale=1.0, targets=tuple(names)), network.targets)


def test_a_table_of_positions_is_resampled(saved):
    _, address = saved("vit_tiny_patch16_224")
    own = build_model(named("vit_tiny_patch16_224", address, image_size=32), 3).eval()
    assert own({"images": torch.zeros(1, 3, 32, 32, dtype=torch.uint8)}).shape == (1, 3)


def test_mistakes_are_one_line(saved):
    with pytest.raises(ConfigError, match="timm has no such network; did you mean resnet18"):
        build_model(named("resnet81"), 3, weights=False)
    with pytest.raises(ConfigError, match="resnet18 takes images of any size; null"):
        build_model(named("resnet18", image_size=32), 3, weights=False)
    _, address = saved("resnet10t")
    with pytest.raises(AssetError, match="not the weights of vit_tiny_patch16_224: no cls_token, pos_embed"):
        build_model(named("vit_tiny_patch16_224", address), 3)
    with pytest.raises(AssetError, match="not the weights of resnet18") as caught:
        build_model(named("resnet18", address), 3)
    assert "\n" not in str(caught.value)


def test_fresh_weights_are_trained_as_a_whole(compose_plain):
    with pytest.raises(ConfigError, match="model.address=null: fresh weights are trained as a whole"):
        compose_plain("model=timm", "task=digits", "lora.targets=conv")
    compose_plain("model=timm", "task=digits", "lora=full")


def test_the_size_of_images_is_checked_early(compose_plain, saved):
    _, address = saved("vit_tiny_patch16_224")
    words = ["model=timm", "model.architecture=vit_tiny_patch16_224", f"model.address={address}", "task=digits"]
    with pytest.raises(ConfigError, match="task.image_size=224, or model.image_size=64 to resample"):
        check_base(compose_plain(*words, "lora.targets=query"))
    check_base(compose_plain(*words, "lora.targets=query", "model.image_size=64"))


def gradients(network, targets):
    """What backward leaves in the adapter of a network whose B is not zero, and how many numbers it kept for that."""
    torch.manual_seed(0)
    adapt(network.base, LoraSpec(rank=2, scale=1.0, targets=targets), network.targets)
    with torch.no_grad():
        for name, tensor in network.base.named_parameters():
            if "lora_B" in name:
                tensor.add_(0.1)
    kept = []
    images = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda kept: kept
    ):
        loss = network({"images": images}).square().mean()
    loss.backward()
    return [tensor.grad for tensor in network.base.parameters() if tensor.grad is not None], sum(kept)


@pytest.mark.parametrize(("name", "targets"), [
    ("test_vit", ("query", "ffn_up")),
    ("test_convnext", ("ffn_up", "ffn_down")),
    ("test_efficientnet", ("pointwise",)),
])  # fmt: skip
def test_activations_that_are_computed_again_give_the_same_gradients(name, targets, saved):
    _, address = saved(name)
    found = []
    for again in (False, True):
        torch.manual_seed(2)
        own = build_model(named(name, address), 3).train()
        if again:
            own.checkpoint_activations()
        found.append(gradients(own, targets))
    (one, kept), (other, kept_again) = found
    assert one
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)
    assert kept_again < 0.7 * kept


def test_batch_norms_that_train_are_not_computed_again(saved):
    _, address = saved("test_efficientnet")
    own = build_model(named("test_efficientnet", address), 3).train()
    own.checkpoint_activations()
    with pytest.raises(ConfigError, match="batch norms that train would take their statistics twice"):
        own({"images": torch.zeros(1, 3, 160, 160, dtype=torch.uint8)})
