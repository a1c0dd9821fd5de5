"""Which modules get a branch, and which requests are refused."""

import pytest
import torch
from torch import nn

from harness.lora import LoraLinear, LoraSpec, SpecError, adapt, adapter_parameters


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(4, 8), nn.Linear(8, 4), nn.LayerNorm(4)

    def forward(self, x):
        return self.norm(x + self.down(torch.relu(self.up(x))))


NAMES = {"up": r"\d\.up", "down": r"\d\.down", "first": r"0\.up", "norm": r"\d\.norm", "none": r"9\.up"}


def network():
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block())


def test_targets_match_whole_names_and_the_base_is_frozen():
    net = network()
    assert adapt(net, LoraSpec(2, 1.0, ("up", "down")), NAMES) == {"0.up": 2, "1.up": 2, "0.down": 2, "1.down": 2}
    trained = {name for name, tensor in net.named_parameters() if tensor.requires_grad}
    assert trained == {f"{i}.{layer}.updates.all.lora_{m}" for i in (0, 1) for layer in ("up", "down") for m in "AB"}
    assert sum(tensor.numel() for tensor in adapter_parameters(net)) == 4 * 2 * (4 + 8)
    other = network()
    assert adapt(other, LoraSpec(2, 1.0, ("first",)), NAMES) == {"0.up": 2}
    assert not isinstance(other[1].up, LoraLinear)


def test_training_moves_the_branches_and_not_one_bit_of_the_base():
    net = network()
    x = torch.randn(16, 4)
    before, start = {name: tensor.clone() for name, tensor in net.state_dict().items()}, net(x)
    adapt(net, LoraSpec(2, 1.0, ("up", "down")), NAMES)
    assert torch.equal(net(x), start)
    optimizer = torch.optim.AdamW(adapter_parameters(net), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        assert all(tensor.grad is not None for tensor in adapter_parameters(net))
        optimizer.step()
    after = {name.replace(".base.", "."): tensor for name, tensor in net.state_dict().items() if "updates." not in name}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not torch.equal(net(x), start)


@pytest.mark.parametrize(
    ("targets", "rank", "line"),
    [
        (("up", "dwn"), 1, "target dwn: no such name, and as a pattern it matches no module; did you mean down?"),
        (("up", "none"), 1, "matches no module"),
        (("norm",), 1, "0.norm: LayerNorm has no low-rank form here"),
        (("up",), 5, r"rank 5: above min(inputs, outputs) = 4 of 0.up"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(targets, rank, line):
    with pytest.raises(SpecError) as caught:
        adapt(network(), LoraSpec(rank, 1.0, targets), NAMES)
    assert line in str(caught.value)


@pytest.mark.parametrize(("rank", "scale"), [(0, 1.0), (1, 0.0), (1, -1.0), (1, float("nan"))])
def test_a_specification_has_a_rank_and_a_positive_scale(rank, scale):
    with pytest.raises(SpecError):
        LoraSpec(rank, scale, ("up",))


def test_the_first_pattern_that_matches_decides_a_layers_rank_and_scale():
    net = network()
    ranks = ((r"0\..*", 3), (r".*\.up", 0), (r".*", 1))
    spec = LoraSpec(2, 1.0, ("up", "down"), ranks=ranks, scales=((r"0\.up", 5.0),))
    assert adapt(net, spec, NAMES) == {"0.up": 3, "0.down": 3, "1.down": 1}
    assert isinstance(net[1].up, nn.Linear)
    assert net[0].up.updates["all"].scale == 5.0
    assert net[0].down.updates["all"].scale == 1.0


def test_alpha_is_divided_by_each_layers_own_rank():
    net = network()
    adapt(net, LoraSpec(2, None, ("up",), alpha=8.0, ranks=(("0.up", 4),), alphas=(("1.up", 6.0),)), NAMES)
    assert net[0].up.updates["all"].scale == 2.0
    assert net[1].up.updates["all"].scale == 3.0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"ranks": ((".*up", 1), ("9.up", 2))},
            "ranks 9.up: matches none of the targets' layers; a layer's name: 1.up",
        ),
        ({"scales": (("1.down", 2.0),)}, "scales 1.down: matches none"),
        ({"ranks": ((".*", 0),)}, "every layer has rank 0"),
        ({"ranks": (("0.up", 5),)}, "rank 5: above min(inputs, outputs) = 4 of 0.up"),
    ],
)
def test_a_pattern_without_a_layer_is_an_error(changes, line):
    with pytest.raises(SpecError) as caught:
        adapt(network(), LoraSpec(1, 1.0, ("up",), **changes), NAMES)
    assert line in str(caught.value)


def test_a_pattern_that_comes_too_late_is_told(caplog):
    adapt(network(), LoraSpec(1, 1.0, ("up",), ranks=((".*", 1), ("0.up", 2))), NAMES)
    assert "lora.ranks: 0.up has no effect" in caplog.text


def test_parts_and_wholes_of_one_matrix_do_not_mix():
    with pytest.raises(SpecError, match="adapted already"):
        adapt(network(), LoraSpec(1, 1.0, ("up", "half")), NAMES | {"half": r"0\.up[0/2]"})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"variant": "dorra"}, "no variant dorra; did you mean dora?"),
        ({"variant": "dora+adalora"}, "more than one of them changes the same thing (form)"),
        ({"variant": "rslora"}, "give alpha, not scale"),
        ({"variant": "pissa+dylora"}, "needs a start at zero"),
        ({"settings": {"redistribute": 2.0}}, "only with variant eva"),
        ({"settings": {"initial_rank": 4}}, "only with variant adalora"),
        ({"variant": "adalora", "settings": {"initial_rank": 1}}, "initial_rank 1: an integer, at least rank"),
        ({"variant": "adalora", "settings": {"initial_rank": True}}, "initial_rank True: an integer, at least rank"),
        ({"variant": "eva", "settings": {"redistribute": 0.5}}, "redistribute 0.5: a number, at least 1"),
        ({"alpha": 2.0}, "give one of them"),
        ({"ranks": (("(", 1),)}, "pattern (:"),
    ],
)
def test_a_specification_that_contradicts_itself_is_refused(changes, line):
    with pytest.raises(SpecError) as caught:
        LoraSpec(2, 1.0, ("up",), **changes)
    assert line in str(caught.value)


def test_a_shared_weight_is_refused_with_both_its_names():
    net = nn.ModuleDict({"embed": nn.Embedding(9, 4), "out": nn.Linear(4, 9, bias=False)})
    net["out"].weight = net["embed"].weight
    with pytest.raises(SpecError, match=r"its weight is shared, embed.weight = out.weight"):
        adapt(net, LoraSpec(2, 1.0, ("embed",)), {})


def test_a_part_given_as_a_pattern_has_a_name_of_its_own():
    assert adapt(network(), LoraSpec(2, 1.0, (r"0\.up[1/2]",)), NAMES) == {"0.up.part1of2": 2}
    with pytest.raises(SpecError, match="part 2 of 2"):
        adapt(network(), LoraSpec(2, 1.0, (r"0\.up[2/2]",)), NAMES)


def test_a_scale_for_layers_that_are_left_out_is_told(caplog):
    adapt(network(), LoraSpec(1, 1.0, ("up",), ranks=(("0.up", 0),), scales=(("0.up", 2.0),)), NAMES)
    assert "lora.scales: 0.up has no effect, all its layers have rank 0" in caplog.text


def test_a_row_of_zeros_stays_one_under_dora():
    net = nn.Sequential(nn.Linear(4, 3, bias=False))
    with torch.no_grad():
        net[0].weight[1] = 0
    adapt(net, LoraSpec(2, 1.0, ("0",), variant="dora"), {})
    out = net(torch.randn(5, 4))
    assert torch.isfinite(out).all()
    assert (out[:, 1] == 0).all()


def test_all_linear_is_what_peft_calls_so():
    peft = pytest.importorskip("peft")
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.model.text_parts import TARGETS

    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=9,
    )
    whole = LlamaForCausalLM(config)
    theirs = peft.get_peft_model(whole, peft.LoraConfig(r=3, target_modules="all-linear"))
    counted = sum(tensor.numel() for tensor in theirs.parameters() if tensor.requires_grad)
    base = LlamaForCausalLM(config).model
    ranks = adapt(base, LoraSpec(3, 1.0, ("all-linear",)), TARGETS["llama"])
    assert len(ranks) == 2 * 7
    assert sum(tensor.numel() for tensor in adapter_parameters(base)) == counted


def test_all_linear_leaves_other_layers_out_and_is_refused_where_there_are_none():
    convolutions = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 4))
    assert adapt(convolutions, LoraSpec(2, 1.0, ("all-linear",)), {"conv": "0", "fc": "2"}) == {"2": 2}
    with pytest.raises(SpecError, match="all-linear: the base has no linear layers that can be adapted; valid: conv"):
        adapt(nn.Sequential(nn.Conv2d(3, 4, 3)), LoraSpec(2, 1.0, ("all-linear",)), {"conv": "0"})
