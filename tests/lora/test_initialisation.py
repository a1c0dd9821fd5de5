"""Starts that look at data, against their definitions."""

import copy

import pytest
import torch
from peft import EvaConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights
from torch import nn

from harness.lora import InitialisationError, LoraSpec, adapt, initialise, updates_of
from harness.lora.variants.lora_ga import GAMMA


def subspace(rows: torch.Tensor) -> torch.Tensor:
    return rows.t() @ rows


def test_eva_takes_the_leading_directions_of_all_the_inputs():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6)).double()
    batches = [torch.randn(size, 8, dtype=torch.float64) * torch.arange(1, 9) + size for size in (5, 9, 2, 7)]
    spec = LoraSpec(3, 1.0, ("0",), variant="eva")
    adapt(net, spec, {})
    initialise(net, spec, lambda gradients: [net(batch) for batch in batches])
    rows = torch.cat(batches)
    _, _, vh = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    (update,) = updates_of(net)
    torch.testing.assert_close(subspace(update.lora_A), subspace(vh[:3]), atol=1e-5, rtol=1e-5)


def test_eva_on_a_convolution_is_eva_on_its_patches():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(2, 30, 3, stride=2, padding=1, dilation=2).double(), torch.randn(4, 2, 9, 9).double()
    spec = LoraSpec(4, 1.0, ("0",), variant="eva")
    net = nn.Sequential(conv)
    adapt(net, spec, {})
    initialise(net, spec, lambda gradients: net(x))
    rows = []
    for channel in range(18):  # a kernel that picks one number of a patch gives that column of the patch matrix
        kernel = torch.zeros(1, 18, dtype=torch.float64)
        kernel[0, channel] = 1
        rows.append(nn.functional.conv2d(x, kernel.view(1, 2, 3, 3), None, 2, 1, 2).flatten())
    patches = torch.stack(rows, 1)
    _, _, vh = torch.linalg.svd(patches - patches.mean(0), full_matrices=False)
    (update,) = updates_of(net)
    torch.testing.assert_close(subspace(update.lora_A), subspace(vh[:4]), atol=1e-5, rtol=1e-5)


def test_redistributed_ranks_keep_their_sum_and_go_where_variance_is_concentrated():
    torch.manual_seed(0)
    net = nn.ModuleDict({"flat": nn.Linear(8, 8), "steep": nn.Linear(8, 8)})
    flat, steep = torch.randn(64, 8), torch.randn(64, 2) @ torch.randn(2, 8)
    spec = LoraSpec(2, 1.0, ("flat", "steep"), variant="eva", settings={"redistribute": 2.0})
    before = adapt(net, spec, {})

    def feed(gradients):
        net["flat"](flat)
        net["steep"](steep)

    ranks = initialise(net, spec, feed) or before
    shares = {}
    for name, x in (("flat", flat), ("steep", steep)):
        values = torch.linalg.svdvals(x - x.mean(0)).square()
        shares |= {(name, index): float(value / values.sum()) for index, value in enumerate(values[:4])}
    top = sorted(shares, key=shares.get, reverse=True)[:4]
    assert ranks == {name: sum(place[0] == name for place in top) for name in ("flat", "steep")}
    assert sum(ranks.values()) == 4
    assert ranks["steep"] == 2


def test_a_layer_that_gets_no_rank_is_itself_again():
    torch.manual_seed(0)
    net = nn.ModuleDict({"flat": nn.Linear(16, 16), "steep": nn.Linear(16, 16)})
    spec = LoraSpec(1, 1.0, ("flat", "steep"), variant="eva", settings={"redistribute": 2.0})
    adapt(net, spec, {})

    def feed(gradients):
        net["flat"](torch.randn(256, 16))
        net["steep"](torch.randn(256, 2) @ torch.linalg.qr(torch.randn(16, 2)).Q.t())

    assert initialise(net, spec, feed) == {"steep": 2}
    assert isinstance(net["flat"], nn.Linear)


def test_lora_ga_starts_from_the_singular_vectors_of_the_gradient():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6)).double()
    before, x = net[0].weight.detach().clone(), torch.randn(32, 8, dtype=torch.float64)
    weight = before.clone().requires_grad_()
    loss = (torch.tanh(x @ weight.t() + net[0].bias) - 1).square().mean()
    (gradient,) = torch.autograd.grad(loss, weight)
    spec = LoraSpec(2, 0.5, ("0",), variant="lora_ga")
    adapt(net, spec, {})
    initialise(net, spec, lambda gradients: (torch.tanh(net(x)) - 1).square().mean().backward())
    u, _, vh = torch.linalg.svd(gradient)
    size = 6**0.25 / GAMMA**0.5
    (update,) = updates_of(net)
    torch.testing.assert_close(subspace(update.lora_A), size**2 * subspace(vh[:2]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        update.lora_B @ update.lora_B.t(), size**2 * u[:, 2:4] @ u[:, 2:4].t(), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(net[0].base.weight, before - 0.5 * update.lora_B @ update.lora_A)
    assert net[0].base.weight.grad is None
    assert update.lora_A.grad is None


@pytest.mark.filterwarnings("ignore:lora with eva initialization:UserWarning")
def test_eva_is_pefts():
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 6))
    batches = [torch.randn(16, 8) @ torch.randn(8, 8) + 3 for _ in range(6)]
    config = LoraConfig(
        r=2, lora_alpha=2, target_modules=["0", "1"], init_lora_weights="eva", eva_config=EvaConfig(rho=1.0, tau=0.999)
    )
    theirs = get_peft_model(copy.deepcopy(base), config)
    together = torch.cat(batches)
    initialize_lora_eva_weights(
        theirs,
        [together] * 3,
        forward_fn=lambda model, x: model(x),
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=None,
        show_progress_bar=False,
    )
    spec = LoraSpec(2, 1.0, ("0", "1"), variant="eva")
    adapt(base, spec, {})
    initialise(base, spec, lambda gradients: base(together))
    for index, update in enumerate(updates_of(base)):
        other = theirs.base_model.model[index].lora_A["default"].weight
        cosines = torch.linalg.svdvals(update.lora_A @ torch.linalg.qr(other.t()).Q)
        assert cosines.min() > 0.99  # PEFT stops early; without the means it would be 0.65


def test_a_layer_that_hears_too_little_ends_the_trial_and_not_the_study():
    net = nn.Sequential(nn.Linear(8, 8))
    spec = LoraSpec(4, 1.0, ("0",), variant="eva")
    adapt(net, spec, {})
    with pytest.raises(InitialisationError, match="2 directions in the input of 0, rank 4"):
        initialise(net, spec, lambda gradients: net(torch.randn(2, 8)))
