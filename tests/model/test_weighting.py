"""Weights of tasks' losses against their formulas, by automatic differentiation."""

import pytest
import torch
from torch import nn

from harness.model import WEIGHTINGS, GradNorm, Uncertainty


def test_uncertainty_is_kendalls_sum_over_the_tasks_that_are_there():
    weighting = Uncertainty(3)
    with torch.no_grad():
        for number, s in enumerate(weighting.log_variance):
            s.fill_(0.5 * number)
    losses = torch.tensor([2.0, 3.0])
    found = weighting(losses, torch.tensor([0, 2]))
    assert found.item() == pytest.approx(2.0 + 3.0 * torch.exp(torch.tensor(-1.0)).item() + 1.0)
    found.backward()
    assert weighting.log_variance[1].grad is None


def step_by_formula(weights, losses, first, shared, alpha, rate):
    """One step by the published objective Σ |G_i − mean(G)·r_i^α|, its target held fixed, differentiated by torch."""
    w = weights.clone().requires_grad_()
    gradients = [torch.autograd.grad(loss, shared, retain_graph=True)[0] for loss in losses]
    norms = torch.stack([(one * w[i]).norm() for i, one in enumerate(gradients)])
    ratios = (losses / first).detach()
    target = (norms.mean() * (ratios / ratios.mean()) ** alpha).detach()
    (norms - target).abs().sum().backward()
    scale = torch.stack([one.norm() for one in gradients]).mean()
    moved = weights - rate * w.grad / scale
    return moved * len(weights) / moved.sum()


def test_gradnorm_moves_its_weights_by_the_published_objective():
    torch.manual_seed(0)
    shared, bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.zeros(4))
    heads = [torch.randn(4) * scale for scale in (1, 5, 0.2)]
    x = torch.randn(6, 3)

    def losses():
        hidden = torch.tanh(x @ shared.T + bias)
        return torch.stack([((hidden @ head - 1) ** 2).mean() for head in heads])

    weighting = GradNorm(3)
    weighting.watch([shared, bias])  # a bias is no matrix
    first, expected = losses().detach(), torch.ones(3)
    for _ in range(4):
        now = losses()
        expected = step_by_formula(expected, now, first, shared, 1.5, 0.025)
        total = weighting(now, torch.arange(3))
        torch.testing.assert_close(weighting.weights, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(total, (expected * now).sum(), atol=1e-5, rtol=1e-5)
        (gradient,) = torch.autograd.grad(total, shared)
        with torch.no_grad():
            shared -= 0.05 * gradient
    assert float(weighting.weights.sum()) == pytest.approx(3, abs=1e-5)
    weighting.eval()
    before = weighting.weights.clone()
    weighting(losses(), torch.arange(3))
    assert torch.equal(weighting.weights, before)


def test_without_regard_to_pace_gradnorm_levels_the_norms():
    shared = nn.Parameter(torch.ones(2, 2))
    weighting = GradNorm(3, alpha=0.0, rate=0.005)
    weighting.watch([shared])
    scales = torch.tensor([1.0, 2.0, 4.0])
    for _ in range(1500):
        weighting(scales * shared.sum(), torch.arange(3))
    levelled = weighting.weights * scales
    assert float(levelled.max() / levelled.min()) == pytest.approx(1, abs=0.1)


def test_its_state_is_saved_and_the_networks_weights_are_not_its_own():
    weighting = WEIGHTINGS["gradnorm"](2)
    weighting.watch([nn.Parameter(torch.ones(2, 2))])
    assert set(weighting.state_dict()) == {"weights", "first"}
    assert list(weighting.parameters()) == []
