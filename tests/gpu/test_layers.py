"""Every variant on every kind of layer computes on a GPU what it computes on a CPU, in float64."""

import copy

import pytest
import torch

from tests.lora.test_variants import CASES, KINDS, adapted, disturb

# A recurrent layer's adapted weights are computed, not stored contiguously.
pytestmark = pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk")


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_outputs_and_gradients_are_those_of_the_cpu(variant, kind):
    _, net, x = adapted(variant, KINDS[kind])
    disturb(net)
    there = copy.deepcopy(net).cuda()
    out, out_there = net(x), there(x.cuda())
    torch.testing.assert_close(out_there.cpu(), out, atol=1e-9, rtol=1e-9)
    out.square().mean().backward()
    out_there.square().mean().backward()
    for (name, here), tensor in zip(net.named_parameters(), there.parameters(), strict=True):
        if here.requires_grad:
            assert here.grad is not None, name
            assert tensor.grad is not None, name
            torch.testing.assert_close(tensor.grad.cpu(), here.grad, atol=1e-9, rtol=1e-9)
