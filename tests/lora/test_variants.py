"""One battery over every variant and every kind of layer: what each method promises, held against formulas."""

import copy
import json
import math

import pytest
import torch
from torch import nn

from harness.lora import (
    VARIANTS,
    LoraSpec,
    SpecError,
    adapt,
    adapter_parameters,
    effective_ranks,
    export_adapter,
    import_adapter,
    initialise,
    merge,
    updates_of,
)
from tests.lora.networks import KINDS, Kind

RANK = 2
NO_EVA = ("embedding", "conv2d in groups", "depthwise", "conv2d, loralib", "lstm", "gru, each gate")


def refused(variant: str, kind: str) -> str | None:
    """Why a variant has no form on a kind of layer, as the error says it."""
    if variant == "eva" and (kind in NO_EVA or "attention" in kind or "experts" in kind):
        return "EVA"
    if variant == "loftq":
        return "none of the adapted layers is quantised"
    if variant == "lora_fa" and kind == "embedding":
        return "starts at zero"
    if variant == "dora" and kind == "conv2d, loralib":
        return "one magnitude"
    return None


SCALING = "tests.lora.guest_variants:SCALING"
CASES = [(variant, kind) for variant in (*VARIANTS, SCALING) for kind in KINDS if not refused(variant, kind)]
REFUSED = [(variant, kind) for variant in VARIANTS for kind in KINDS if refused(variant, kind)]


def spec_of(variant: str, kind: Kind) -> LoraSpec:
    by_alpha = {"scale": None, "alpha": 3.0} if variant == "rslora" else {"scale": 0.7}
    return LoraSpec(rank=RANK, targets=tuple(kind.names), variant=variant, **by_alpha, **kind.changes)


def network(kind: Kind) -> nn.Module:
    torch.manual_seed(0)
    base = kind.build().double()
    if any(isinstance(module, nn.Linear | nn.MultiheadAttention) for module in base.modules()):
        for name, tensor in base.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(tensor)
    return base


def adapted(variant: str, kind: Kind) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """The network as it was, the network adapted and started, and an input."""
    base = network(kind)
    net, x = copy.deepcopy(base), kind.x()
    adapt(net, spec_of(variant, kind), kind.names)

    def feed(gradients: bool) -> None:
        loss = (net(x) - 1).square().mean()
        if gradients:
            loss.backward()

    initialise(net, spec_of(variant, kind), feed)
    return base, net, x


def disturb(net: nn.Module) -> None:
    torch.manual_seed(1)
    for tensor in adapter_parameters(net):
        tensor.data += 0.3 * torch.randn_like(tensor)


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_the_output_at_the_start_is_that_of_the_base(variant, kind):
    base, net, x = adapted(variant, KINDS[kind])
    torch.testing.assert_close(net(x), base(x), atol=1e-6, rtol=1e-6)
    if variant not in ("pissa", "olora", "lora_ga"):
        kept = {name.replace("base.", ""): tensor for name, tensor in net.named_parameters() if "updates." not in name}
        assert all(torch.equal(kept[name], tensor) for name, tensor in base.named_parameters())


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_training_moves_every_adapter_tensor_and_not_one_bit_of_the_base(variant, kind):
    _, net, x = adapted(variant, KINDS[kind])
    frozen = {name: tensor.clone() for name, tensor in net.named_parameters() if not tensor.requires_grad}
    trained = {name: tensor.clone() for name, tensor in net.named_parameters() if tensor.requires_grad}
    before = net(x).detach()
    optimizer = torch.optim.AdamW([tensor for tensor in net.parameters() if tensor.requires_grad], 0.05, weight_decay=0)
    alive = set()
    for _ in range(3):
        optimizer.zero_grad()
        (net(x) - 1).square().mean().backward()
        alive |= {name for name, tensor in net.named_parameters() if tensor.grad is not None and tensor.grad.any()}
        optimizer.step()
    assert alive == set(trained)
    now = dict(net.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in frozen.items())
    dead = [name for name, tensor in trained.items() if torch.equal(now[name], tensor)]
    assert dead == []
    assert not torch.allclose(net(x), before)
    assert all(value > 0 for value in effective_ranks(net).values())


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_the_count_is_the_formula(variant, kind):
    facts = KINDS[kind]
    _, net, _ = adapted(variant, facts)
    rank = math.ceil(1.5 * RANK) if variant == "adalora" else RANK
    expected = rank * facts.per_rank
    if variant == "lora_fa":
        expected = rank * facts.outputs
    if variant in ("dora", SCALING):
        # In loralib's factorisation of 6 kernels of 3×3 a row is a third of a kernel.
        expected += 18 if kind == "conv2d, loralib" else facts.outputs
    if variant == "adalora":
        expected += sum(update.rank for update in updates_of(net))
    assert sum(tensor.numel() for tensor in net.parameters() if tensor.requires_grad) == expected


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_merged_equals_unmerged_and_unmerging_gives_back_every_bit(variant, kind):
    _, net, x = adapted(variant, KINDS[kind])
    disturb(net)
    modules, weights = list(net.modules()), {name: tensor.clone() for name, tensor in net.named_parameters()}
    apart = net(x)
    undo = merge(net)
    assert not list(adapter_parameters(net))
    torch.testing.assert_close(net(x), apart, atol=1e-9, rtol=1e-9)
    undo()
    assert list(net.modules()) == modules
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.named_parameters())
    assert torch.equal(net(x), apart)


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_saved_and_loaded_on_the_original_base_gives_the_same_output(variant, kind, tmp_path):
    base, net, x = adapted(variant, KINDS[kind])
    disturb(net)
    export_adapter(net, "path:base", tmp_path)
    import_adapter(base, tmp_path)
    torch.testing.assert_close(base(x), net(x), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("variant", "kind"), [(variant, kind) for variant, kind in CASES if variant == SCALING])
def test_outputs_that_a_guest_scales_are_those_of_the_formula_and_never_called_plain_lora(variant, kind, tmp_path):
    _, net, x = adapted(variant, KINDS[kind])
    disturb(net)
    plain = copy.deepcopy(net)
    for update in updates_of(plain):
        update.lora_g.data.zero_()
    assert (net(x) - plain(x)).abs().max() > 0.01
    export_adapter(net, "path:base", tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "lora-harness"


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_gradients_are_those_of_the_formula(variant, kind):
    _, net, x = adapted(variant, KINDS[kind])
    disturb(net)
    if variant == "dora":
        pytest.skip("DoRA's norm is a constant by its definition: its gradient is not that of its value")
    trained = [tensor for tensor in net.parameters() if tensor.requires_grad]

    directions = torch.randn(net(x).numel(), 3, dtype=torch.float64)

    def output(*tensors):
        for own, given in zip(trained, tensors, strict=True):
            assert own is given
        return net(x).flatten() @ directions  # every output counts

    assert torch.autograd.gradcheck(output, tuple(trained), fast_mode=True)


@pytest.mark.parametrize(("variant", "kind"), REFUSED)
def test_what_has_no_form_is_refused_by_name(variant, kind):
    with pytest.raises(SpecError, match=refused(variant, kind)):
        adapted(variant, KINDS[kind])
