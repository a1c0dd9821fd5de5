"""Adapters out and in again: names that end others, ranks and alphas of each layer, and PEFT as the second reader."""

import copy
import json
import random
import re
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from torch import nn
from torchvision.models import resnet18

from harness.lora import (
    VARIANTS,
    LoraSpec,
    SpecError,
    TaskRouter,
    adapt,
    export_adapter,
    import_adapter,
    initialise,
    named_updates,
    pack,
)
from tests.lora.networks import KINDS, Kind
from tests.lora.test_peft_format import PEFT_HAS
from tests.lora.test_variants import disturb, network, refused

NAMES = (
    "conv1",
    "a.conv1",
    "b.a.conv1",
    "layer1.0.conv1",
    "layer1.1.conv1",
    "layer1.1.conv10",
    "base.conv1",
    "x.base.conv1",
)


class Tree(nn.Module):
    """Layers one after another, whose names are nested and end each other."""

    def __init__(self, names: tuple[str, ...], make) -> None:
        super().__init__()
        self.names = names
        for name in names:
            *parents, leaf = name.split(".")
            place: nn.Module = self
            for parent in parents:
                if not hasattr(place, parent):
                    place.add_module(parent, nn.Module())
                place = getattr(place, parent)
            place.add_module(leaf, make())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.names:
            x = torch.tanh(self.get_submodule(name)(x))
        return x


class Twice(nn.Module):
    """Two networks of a kind side by side, the name of each layer of the first ending that of one of the second."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.net, self.b = network(kind), nn.ModuleDict({"net": network(kind)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) + self.b["net"](x)


def trained(base: nn.Module, spec: LoraSpec, names: dict[str, str], x: torch.Tensor) -> nn.Module:
    net = copy.deepcopy(base)
    adapt(net, spec, names)

    def feed(gradients: bool) -> None:
        loss = (net(x) - 1).square().mean()
        if gradients:
            loss.backward()

    initialise(net, spec, feed)
    disturb(net)
    return net


ON_FLOATS = [name for name, variant in VARIANTS.items() if not variant.reads_floats]
AS_PARAMETERS = ("experts", "experts, transposed")


def read_by_peft(base: nn.Module, folder: Path) -> nn.Module:
    return PeftModel.from_pretrained(copy.deepcopy(base), str(folder)).eval()


def read_by_us(base: nn.Module, folder: Path) -> nn.Module:
    net = copy.deepcopy(base)
    import_adapter(net, folder)
    return net.eval()


def scales(net: nn.Module) -> dict[str, float]:
    return {name: update.scale for name, update in named_updates(net)}


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([lambda: nn.Linear(6, 6), lambda: nn.Conv2d(6, 6, 1)]),
    ranks=st.lists(st.integers(0, 3), min_size=len(NAMES), max_size=len(NAMES)).filter(any),
    alphas=st.lists(st.sampled_from([0.5, 2.0, 8.0]), min_size=len(NAMES), max_size=len(NAMES)),
    variant=st.sampled_from([*ON_FLOATS, "dora+rslora"]),
)
def test_names_that_end_each_other_keep_their_own_ranks_and_alphas(kind, ranks, alphas, variant):
    torch.manual_seed(0)
    base = Tree(NAMES, kind).double()
    x = torch.randn(5, *([6] if isinstance(base.conv1, nn.Linear) else [6, 2, 2]), dtype=torch.float64)
    by_name = {f"layer {index}": re.escape(name) for index, name in enumerate(NAMES)}
    each_rank = tuple((re.escape(name), rank) for name, rank in zip(NAMES, ranks, strict=True))
    each_alpha = tuple((re.escape(name), alpha) for name, alpha in zip(NAMES, alphas, strict=True))
    spec = LoraSpec(1, None, tuple(by_name), variant=variant, alpha=1.0, ranks=each_rank, alphas=each_alpha)
    net = trained(base, spec, by_name, x)
    with tempfile.TemporaryDirectory() as folder:
        export_adapter(net, "path:base", Path(folder))
        torch.testing.assert_close(read_by_peft(base, Path(folder))(x), net(x), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(read_by_us(base, Path(folder))(x), net(x), atol=1e-6, rtol=1e-6)


def side_by_side(variant: str, kind: Kind) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """The base, and the network adapted at rank 2 and alpha 3, but for its second half: at rank 1 and alpha 5."""
    base, x = Twice(kind).eval(), kind.x()
    names = {key: rf"(b\.)?net\.{pattern}" for key, pattern in kind.names.items()}
    spec = LoraSpec(
        2,
        None,
        tuple(names),
        alpha=3.0,
        variant=variant,
        ranks=((r"b\..*", 1),),
        alphas=((r"b\..*", 5.0),),
        **kind.changes,
    )
    return base, trained(base, spec, names, x), x


# PEFT heeds them for parameters, and says that it does not.
@pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match:RuntimeWarning")
@pytest.mark.parametrize(
    ("variant", "kind"), [(variant, kind) for variant in VARIANTS for kind in KINDS if not refused(variant, kind)]
)
def test_layers_of_every_kind_keep_their_own_rank_and_alpha_under_names_alike(variant, kind, tmp_path):
    base, net, x = side_by_side(variant, KINDS[kind])
    export_adapter(net, "path:base", tmp_path)
    torch.testing.assert_close(read_by_us(base, tmp_path)(x), net(x), atol=1e-6, rtol=1e-6)
    own = variant == "dora" and kind.startswith(("fused", "attention", "experts"))
    if kind in (*PEFT_HAS, *AS_PARAMETERS) and not own:
        torch.testing.assert_close(read_by_peft(base, tmp_path)(x), net(x), atol=1e-6, rtol=1e-6)
    else:
        assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "lora-harness"


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(0)
    base = resnet18(num_classes=8).eval()
    return base, torch.randn(2, 3, 32, 32)


LAYERS = tuple(name for name, layer in resnet18().named_modules() if isinstance(layer, nn.Conv2d | nn.Linear))


def test_one_layer_of_another_rank_leaves_the_scale_of_the_others(images, tmp_path):
    base, x = images
    net = trained(base, LoraSpec(4, 1.0, ("all",), ranks=(("conv1", 2),)), {"all": r".*conv\d"}, x)
    export_adapter(net, "path:base", tmp_path)
    ours = read_by_us(base, tmp_path)
    assert len(scales(ours)) == 17
    assert set(scales(ours).values()) == {1.0}
    torch.testing.assert_close(ours(x), net(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", ["lora", "dora", "adalora"])  # starts by SVD take half a minute each
def test_a_resnet_keeps_the_rank_and_alpha_of_every_layer(images, variant, tmp_path):
    base, x = images
    draw = random.Random(variant)
    ranks = ("conv1", 4), *((re.escape(name), draw.choice((0, 1, 2, 3))) for name in LAYERS[1:])
    alphas = ("conv1", 16.0), *((re.escape(name), draw.choice((0.5, 1.0, 4.0))) for name in LAYERS[1:])
    spec = LoraSpec(1, None, ("all",), variant=variant, alpha=1.0, ranks=ranks, alphas=alphas)
    net = trained(base, spec, {"all": "|".join(map(re.escape, LAYERS))}, x)
    export_adapter(net, "path:base", tmp_path)
    expected = net(x).detach()
    limit = 1e-4 * float(expected.abs().max())
    for read in (read_by_peft, read_by_us):
        torch.testing.assert_close(read(base, tmp_path)(x), expected, atol=limit, rtol=1e-4)


PATTERNS = (
    "conv1",
    "^conv1",
    "a.conv1",
    r"^a\.conv1",
    r"b\.a\.conv1",
    "^a.conv1|layer1.0.conv1",
    "conv1|zzz",
    "^(a|b.a).conv1",
    r"layer1\.\d+\.conv1",
    ".*conv1",
    "layer1.1.conv1.",
    "1.conv1",
    "nv1",
)


def left_by_peft(base: nn.Module, config: LoraConfig, folder: Path) -> nn.Module:
    """PEFT's own network, its adapter anything but its start, and what PEFT saves of it in the folder."""
    torch.manual_seed(2)
    theirs = get_peft_model(copy.deepcopy(base), config).eval()
    for name, tensor in theirs.named_parameters():
        if "lora_" in name:
            nn.init.normal_(tensor, std=0.3)
    theirs.save_pretrained(str(folder))
    return theirs


@settings(max_examples=60, deadline=None)
@given(
    ranks=st.dictionaries(st.sampled_from(PATTERNS), st.integers(1, 4), max_size=3),
    alphas=st.dictionaries(st.sampled_from(PATTERNS), st.integers(1, 32), max_size=3),
    rslora=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match:RuntimeWarning")
def test_patterns_of_peft_mean_what_they_mean_in_peft(ranks, alphas, rslora):
    torch.manual_seed(0)
    base, x = Tree(NAMES, lambda: nn.Linear(4, 4)).double(), torch.randn(5, 4, dtype=torch.float64)
    # In the order in which PEFT saves them: it sorts, and then reads the first that matches.
    ranks, alphas = dict(sorted(ranks.items())), dict(sorted(alphas.items()))
    config = LoraConfig(
        r=2, lora_alpha=4, target_modules=r".*conv\d+", rank_pattern=ranks, alpha_pattern=alphas, use_rslora=rslora
    )
    with tempfile.TemporaryDirectory() as folder:
        theirs = left_by_peft(base, config, Path(folder))
        torch.testing.assert_close(read_by_peft(base, Path(folder))(x), theirs(x), atol=1e-6, rtol=1e-6)
        ours, route = read_by_us(base, Path(folder)), TaskRouter()
        pack(base, [Path(folder)], route)
    layers = theirs.base_model.model.named_modules()
    wanted = {name: layer.scaling["default"] for name, layer in layers if hasattr(layer, "scaling")}
    assert scales(ours) == pytest.approx(wanted)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-6)
    route.set(0)
    torch.testing.assert_close(base(x), theirs(x), atol=1e-6, rtol=1e-6)


def test_ranks_whose_patterns_peft_sorted_as_it_saved_them_are_those_of_the_tensors(tmp_path):
    base, x = Tree(NAMES, lambda: nn.Linear(4, 4)).double(), torch.randn(5, 4, dtype=torch.float64)
    config = LoraConfig(r=2, target_modules=["conv1"], rank_pattern={r"a\.conv1": 3, r"^b\.a\.conv1": 1})
    theirs = left_by_peft(base, config, tmp_path)
    assert list(json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"]) != list(config.rank_pattern)
    assert import_adapter(base, tmp_path)["b.a.conv1"] == 3
    torch.testing.assert_close(base(x), theirs(x), atol=1e-6, rtol=1e-6)


def test_a_pattern_that_is_none_is_refused_by_name(tmp_path):
    base = Tree(("a", "b"), lambda: nn.Linear(4, 4))
    left_by_peft(base, LoraConfig(r=2, target_modules=["a"]), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha_pattern": {"(a": 3}}))
    with pytest.raises(SpecError, match=r"pattern .*\(a.*: missing \)"):
        import_adapter(base, tmp_path)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"r": 3}, "a: adapter_config.json gives it rank 3, its tensors have rank 2"),
        ({"rank_pattern": {"^a": 5}}, "a: adapter_config.json gives it rank 5"),
        ({"use_dora": True}, "use_dora=True, but a has no magnitude"),
    ],
)
def test_a_configuration_that_is_not_that_of_the_tensors_is_refused(changes, line, tmp_path):
    base = Tree(("a", "b"), lambda: nn.Linear(4, 4))
    left_by_peft(base, LoraConfig(r=2, target_modules=["a"]), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SpecError) as caught:
        import_adapter(base, tmp_path)
    assert line in str(caught.value)


@pytest.mark.parametrize("padding", [{"padding_mode": "reflect", "padding": 1}, {"dilation": 2, "padding": "same"}])
def test_a_branch_that_peft_pads_otherwise_than_the_layer_is_refused(padding, tmp_path):
    base = nn.Sequential(nn.Conv2d(3, 4, 3, **padding))
    left_by_peft(base, LoraConfig(r=2, target_modules=["0"]), tmp_path)
    with pytest.raises(SpecError, match="0: PEFT's branch has other padding"):
        import_adapter(base, tmp_path)


@pytest.mark.filterwarnings("ignore:Adapter 'default'.* have invalid shape")
def test_a_layer_that_adalora_left_no_rank_is_left_alone(tmp_path):
    torch.manual_seed(0)
    base, x = Tree(("a", "b.a"), lambda: nn.Linear(4, 4)), torch.randn(5, 4)
    config = AdaLoraConfig(init_r=3, lora_alpha=6, target_modules=["a", "b.a"], total_step=9, tinit=1, tfinal=1)
    theirs = get_peft_model(copy.deepcopy(base), config).eval()
    kept = {"a.lora_E.default": [True, False, True], "b.a.lora_E.default": [False] * 3}
    theirs.peft_config["default"].rank_pattern = kept
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            if "lora_" in name:
                tensor.normal_()
            if "lora_E" in name:
                tensor *= torch.tensor(kept[name.removeprefix("base_model.model.")])[:, None]
    theirs.save_pretrained(str(tmp_path))
    assert import_adapter(base, tmp_path) == {"a": 2}
    torch.testing.assert_close(base(x), theirs(x), atol=1e-6, rtol=1e-6)
