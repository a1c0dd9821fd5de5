"""Hierarchical networks with a decoder for each task: published counts, published equations on Swin, streams."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harness.config import DenseModelConfig
from harness.config.models.dense import SwinShapeConfig
from harness.lora import LoraSpec, MtloraSpec, TaskRouter, adapt, adapt_tasks, groups_of, merge
from harness.model import build_model
from tests.lora.test_variants import disturb

PASCAL = {"segmentation": 21, "parts": 7, "saliency": 1, "normals": 3}  # the published configurations' tasks
PUBLISHED = ("qkv", "output", "ffn_up", "ffn_down")
SMALL = SwinShapeConfig(patch=2, window=4, width=8, depths=[2, 3], heads=[2, 4])
TASKS = {"depth": 1, "normals": 3, "edges": 1}


def config(architecture="swin", shape=SMALL, image_size=16, decoder=(4, 4)) -> DenseModelConfig:
    return DenseModelConfig(
        kind="dense",
        name="small",
        architecture=architecture,
        weights=None,
        image_size=image_size,
        shape=shape,
        decoder=list(decoder),
    )


SWIN_TINY = config(
    shape=SwinShapeConfig(patch=4, window=7, width=96, depths=[2, 2, 6, 2], heads=[3, 6, 12, 24]),
    image_size=448,
    decoder=(18, 36, 72, 144),
)


@pytest.mark.parametrize(("rank", "trainable"), [(16, 4_953_146), (32, 6_083_642), (64, 8_344_634)])
def test_the_published_counts_of_swin_tiny(rank, trainable):
    """Of scale-lab/MTLoRA's configurations tiny_448_r*_scale4_pertask: decoders, norms and all that is trained."""
    model = build_model(SWIN_TINY, PASCAL, weights=False)
    spec = MtloraSpec(rank, 4, 4.0, 4.0, PUBLISHED)
    adapt_tasks(model.base, spec, model.targets, list(PASCAL), TaskRouter(), stages=model.stages, every=True)
    assert sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad) == trainable
    assert sum(tensor.numel() for tensor in model.head.parameters()) == 1_946_624
    groups = groups_of(model.base)
    assert {groups[task] for task in PASCAL} == {4 * 12 * (96 + 192 + 384 + 768)}
    blocks = 2 * 96 + 2 * 192 + 6 * 384 + 2 * 768
    assert groups["shared"] == rank * (4 + 2 + 5 + 5) * blocks


def test_with_an_update_on_patch_merging_its_weights_are_not_trained():
    """MTLoRA+, configuration mtlora_plus_tiny_448_r16_scale4_pertask."""
    model = build_model(SWIN_TINY, PASCAL, weights=False)
    spec = MtloraSpec(16, 4, 4.0, 4.0, (*PUBLISHED, "merging"))
    adapt_tasks(model.base, spec, model.targets, list(PASCAL), TaskRouter(), stages=model.stages, every=True)
    merging = {96, 192, 384}
    changed = sum(16 * 6 * width - 8 * width**2 for width in merging)
    assert sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad) == 4_953_146 + changed


def small_swin() -> nn.Module:
    torch.manual_seed(0)
    return build_model(config(), TASKS).double().eval()


IMAGES = torch.randint(256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


@pytest.mark.parametrize("mode", ["task", "both"])
@pytest.mark.parametrize("targets", [PUBLISHED, ("output", "ffn_up"), ("query", "ffn_up", "ffn_down"), ("output",)])
def test_swin_computes_the_published_equations(targets, mode):
    net, plain = small_swin(), small_swin()
    names = list(TASKS)
    spec = MtloraSpec(2, 3, 0.7, 1.3, tuple(targets), mode=mode)
    adapt_tasks(net.base, spec, net.targets, names, TaskRouter(), stages=net.stages, every=True)
    disturb(net.base)
    tensors = dict(net.base.named_parameters())
    one = copy.deepcopy(plain.base)  # the shared stream: every shared update in its weight
    for name, module in one.named_modules():
        for key in ("all", "query", "key", "value"):
            if f"{name}.updates.{key}.lora_A" in tensors:
                down, up = (tensors[f"{name}.updates.{key}.lora_{part}"].detach() for part in "AB")
                start = {"key": 8, "value": 16}.get(key, 0) * module.weight.shape[1] // 8
                module.weight.data[start : start + len(up)] += 0.7 * up @ down

    def fork(name, x, x_task, task):
        layer, base = one.get_submodule(name), plain.base.get_submodule(name)
        place = f"{name}.updates.{task}.lora_"
        if f"{place}A" not in tensors:
            return layer(x), layer(x_task)
        own = 1.3 * (x_task @ tensors[f"{place}A"].T @ tensors[f"{place}B"].T)
        return layer(x), (layer(x) if mode == "both" else base(x)) + own

    def last_block(name, x, task):
        block = one.get_submodule(name)
        through = copy.deepcopy(block)
        through.attn.proj = nn.Identity()  # a projection of each token: it may come behind the windows
        context = through._attn(block.norm1(x))
        shared, own = (x + out for out in fork(f"{name}.attn.proj", context, context, task))
        wide = fork(f"{name}.mlp.fc1", block.norm2(shared), block.norm2(own), task)
        out = fork(f"{name}.mlp.fc2", *map(F.gelu, wide), task)
        return shared + out[0], own + out[1]

    images = (IMAGES.double() - net.mean) / net.std
    found = net.base(images)
    x = one.network.patch_embed(images)
    for stage, last in enumerate(net.stages):
        for block in list(one.network.layers[stage].blocks)[:-1]:
            x = block(x)
        down = one.network.layers[1].downsample if stage == 0 else nn.Identity()
        streams = [last_block(last, x, task) for task in names]
        for number, (_, own) in enumerate(streams):
            mine = found[stage][2 * (1 + number) : 2 * (2 + number)]
            torch.testing.assert_close(mine, down(own).permute(0, 3, 1, 2), atol=1e-9, rtol=1e-9)
        x = down(streams[0][0])


@pytest.mark.parametrize("architecture", ["swin", "efficientnet_lite0", "resnet18"])
def test_a_fresh_adapter_changes_nothing_and_tasks_then_differ_in_their_own_answer(architecture):
    torch.manual_seed(0)
    chosen = config() if architecture == "swin" else config(architecture, None, None, (4, 4, 4, 4))
    size = 16 if architecture == "swin" else 32
    net = build_model(chosen, TASKS).eval()
    images = {"images": torch.randint(256, (2, 3, size, size), dtype=torch.uint8)}
    before = net(images)
    assert before.shape == (2, 5, size, size)
    target = {"swin": "ffn_up", "efficientnet_lite0": "pointwise", "resnet18": "blocks"}[architecture]
    spec = MtloraSpec(2, 2, 1.0, 1.0, (target,))
    adapt_tasks(net.base, spec, net.targets, list(TASKS), TaskRouter(), stages=net.stages, every=True)
    torch.testing.assert_close(net(images), before, atol=1e-4, rtol=1e-4)
    own = {name: tensor for name, tensor in net.base.named_parameters() if ".updates.normals." in name}
    assert {name.split(".updates")[0].startswith(net.stages) for name in own} == {True}
    with torch.no_grad():
        for name, tensor in own.items():
            if name.endswith("lora_B"):
                tensor.normal_()
    moved = (net(images) - before).abs().amax((0, 2, 3)) > 1e-3
    assert moved.tolist() == [False, True, True, True, False]


def test_one_lora_for_all_tasks_merges():
    net = small_swin()
    adapt(net.base, LoraSpec(2, 1.0, ("query", "output", "merging")), net.targets)
    disturb(net.base)
    batch = {"images": IMAGES}
    apart = net(batch)
    undo = merge(net.base)
    torch.testing.assert_close(net(batch), apart, atol=1e-9, rtol=1e-9)
    undo()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"shape": None}, "needs model.shape and model.image_size"),
        ({"architecture": "resnet18"}, "has neither model.shape nor model.image_size"),
        ({"decoder": (4, 4, 4)}, "model.decoder: 3 numbers of channels, the network has 2 stages"),
        ({"shape": SwinShapeConfig(patch=2, window=4, width=8, depths=[1, 1], heads=[3, 4])}, "do not divide"),
        ({"shape": SwinShapeConfig(patch=2, window=4, width=8, depths=[1, 1], heads=[2, 4, 8])}, "3 stages"),
    ],
)
def test_a_network_that_cannot_be_is_refused_before_it_is_built(changes, line):
    assert line in " ".join(config(**changes).mistakes())


def test_images_of_another_size_are_refused():
    assert "model.image_size=16: the images of task=shapes are 32 pixels" in config().image_mistakes("shapes", 32)
    assert "use a multiple of 4" in config(image_size=18).image_mistakes("shapes", 18)[0]
