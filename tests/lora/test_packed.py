"""Networks beside one frozen base: outputs and gradients of each are its own, whatever becomes of the others."""

import copy

import pytest
import torch
from torch import nn

from harness.base_layers.quantized import QuantizedLinear
from harness.lora import LoraSpec, adapt
from harness.lora.joined_rows import JoinedRows, NotByRows
from harness.lora.packed import JoinedBase, frozen_tensors, share_frozen, unpackable_reason

NAMES = {"first": "0", "second": "2", "halves": "0[1/2]"}


def networks(*specs):
    """Networks of one base, each with an update of its own, trained a little."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    found = []
    for rank, targets in specs:
        network = copy.deepcopy(base)
        adapt(network, LoraSpec(rank, rank / 2, targets), NAMES)
        for name, tensor in network.named_parameters():
            if "lora_" in name:
                nn.init.normal_(tensor)
        found.append(network)
    return found


SPECS = [(1, ("first",)), (3, ("first", "second")), (2, ("second",)), (2, ("halves",))]


def joint(members):
    base = JoinedBase(members[0], JoinedRows(torch.default_generator))
    for network in members[1:]:
        assert share_frozen(network, base.frozen) == ""
    base.set_members(members)
    return base


@pytest.mark.parametrize("counts", [[5, 5, 5, 5], [5, 2, 4, 1]])
def test_outputs_and_gradients_are_those_of_each_network_alone(counts):
    members = networks(*SPECS)
    x = torch.randn(sum(counts), 3, 6, dtype=torch.double)
    base = joint(members)
    base.rows.set(counts, [0] * 4, [])
    stacks = base.gather()
    out = base.network(x)
    out.square().sum().backward()
    for place, (network, own) in enumerate(zip(members, x.split(counts), strict=True)):
        for stack in stacks:
            stack.scatter(place)
        tensors = {name: tensor for name, tensor in network.named_parameters() if tensor.requires_grad}
        found = {name: tensor.grad for name, tensor in tensors.items()}
        alone = network(own)
        torch.testing.assert_close(out.split(counts)[place], alone)
        grads = torch.autograd.grad(alone.square().sum(), list(tensors.values()))
        for (name, grad), expected in zip(found.items(), grads, strict=True):
            torch.testing.assert_close(grad, expected, msg=f"{place} {name}")


def test_frozen_weights_are_held_once_and_stay_where_a_network_leaves_them():
    members = networks(*SPECS)
    base = joint(members)
    places = {name: {frozen_tensors(each)[name].data_ptr() for each in members} for name in base.frozen}
    assert all(places[name] == {tensor.data_ptr()} for name, tensor in base.frozen.items())
    members[0].float()  # as a trainer moves a network that has ended
    base.set_members(members[1:])
    base.rows.set([2, 2, 2], [0] * 3, [])
    base.gather()
    assert base.network(torch.randn(6, 6, dtype=torch.double)).dtype == torch.double


def test_a_base_that_is_not_the_others_is_refused():
    one, other = networks(SPECS[0], SPECS[1])
    with torch.no_grad():
        other[0].base.bias[3] += 1e-6
    base = JoinedBase(one, JoinedRows(torch.default_generator))
    assert share_frozen(other, base.frozen) == "its 0.bias is not that of the others"


def test_what_is_more_than_a_and_b_on_linear_layers_is_refused():
    (plain,) = networks(SPECS[1])
    assert unpackable_reason(plain) == ""
    plain[1] = nn.Linear(8, 8)
    assert unpackable_reason(plain) == "1.weight of the base is trained"
    net = nn.Sequential(nn.Conv1d(2, 2, 3))
    adapt(net, LoraSpec(1, 1.0, ("first",)), NAMES)
    assert unpackable_reason(net) == "0 is LoraConv, not a linear layer"
    net = nn.Sequential(nn.Linear(6, 8))
    adapt(net, LoraSpec(1, 1.0, ("first",), variant="dora"), NAMES)
    assert "is more than A and B" in unpackable_reason(net)


@pytest.mark.parametrize("quantized", [False, True])
def test_the_frozen_weight_is_read_as_of_the_layer_of_a_network_alone(quantized):
    net = nn.Sequential(nn.Linear(64, 8))
    if quantized:
        net[0] = QuantizedLinear(net[0], "int8")
    adapt(net, LoraSpec(1, 1.0, ("first",)), NAMES)
    base = joint([net])
    torch.testing.assert_close(base.network[0].weight, net[0].weight)


def test_rows_that_are_folded_into_others_are_refused():
    members = networks(SPECS[0], SPECS[1])
    base = joint(members)
    base.rows.set([5, 5], [0, 0], [])
    base.gather()
    with pytest.raises(NotByRows):
        base.network(torch.randn(20, 6, dtype=torch.double))
