"""InfLoRA against its equations, restated with the inputs themselves and numpy's SVD in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from harness.lora import (
    InputMoments,
    LoraSpec,
    adapt,
    adapted_layers,
    add_updates,
    design_a,
    named_updates,
    updates_of,
    with_inputs,
)

RANK, SCALE, SHARE = 2, 1.5, 0.9


@pytest.fixture
def net():
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, 3)).double()
    adapt(base, LoraSpec(RANK, SCALE, ("all",)), {"all": "[02]"})
    return base


def task_inputs(seed: int, count: int = 40) -> torch.Tensor:
    """Inputs (B, L, I) of a task: strong in some directions, weak in the others."""
    draw = torch.Generator().manual_seed(seed)
    mix = torch.linalg.qr(torch.randn(12, 12, generator=draw).double())[0]
    strength = torch.tensor([3.0, 2.0, 1.5] + [0.05] * 9).double()
    return (torch.randn(count, 5, 12, generator=draw).double() * strength) @ mix


def seen(net: nn.Module, x: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[dict, dict]:
    """H Hᵀ as the harness adds it up over two batches, and H (I, N) itself of each layer."""
    raw: dict[str, list[np.ndarray]] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: raw.setdefault(name, []).append(inputs[0].numpy()))
        for name, layer in adapted_layers(net)
    ]
    with InputMoments(net) as moments, torch.no_grad():
        for part in (slice(0, 15), slice(15, None)):
            moments.mask = None if mask is None else mask[part]
            net(x[part])
    for hook in hooks:
        hook.remove()
    whole = {name: np.concatenate(parts) for name, parts in raw.items()}
    keep = np.ones(x.shape[:2], dtype=bool) if mask is None else mask.bool().numpy()
    return moments.found, {name: rows[keep].T for name, rows in whole.items()}


def restated_a(inputs: np.ndarray, memory: np.ndarray | None) -> np.ndarray:
    """The first R left singular vectors of H − M Mᵀ H, as rows."""
    left = inputs if memory is None else inputs - memory @ (memory.T @ inputs)
    return np.linalg.svd(left, full_matrices=False)[0][:, :RANK].T


def restated_memory(inputs: np.ndarray, memory: np.ndarray | None, share: float) -> np.ndarray:
    """M with the fewest further singular vectors that bring ‖M Mᵀ H‖² to the share of ‖H‖²."""
    left = inputs if memory is None else inputs - memory @ (memory.T @ inputs)
    vectors, _values, _ = np.linalg.svd(left, full_matrices=False)
    found = np.zeros((len(inputs), 0)) if memory is None else memory
    for column in range(len(inputs) + 1):
        grown = np.concatenate([found, vectors[:, :column]], 1)
        if np.sum((grown @ (grown.T @ inputs)) ** 2) >= share * np.sum(inputs**2):
            return grown
    raise AssertionError("no basis is large enough")


def projector(rows: np.ndarray) -> np.ndarray:
    return rows.T @ rows


@pytest.mark.parametrize("masked", [False, True])
def test_a_and_the_memory_are_those_of_the_equations(net, masked):
    mask = torch.ones(40, 5) if not masked else (torch.arange(5) < torch.randint(1, 6, (40, 1))).long()
    # The second layer of a masked batch sees more than the first task's span: its mask must count as well.
    moments, inputs = seen(net, task_inputs(1), mask)
    design_a(net, moments, {})
    for name, update in named_updates(net):
        expected = restated_a(inputs[name], None)
        assert np.allclose(projector(update.lora_A.detach().numpy()), projector(expected), atol=1e-10)
    memory = with_inputs({}, moments, SHARE)
    restated = {name: restated_memory(each, None, SHARE) for name, each in inputs.items()}
    for name, directions in memory.items():
        assert directions.shape == restated[name].shape
        assert np.allclose(projector(directions.T.numpy()), projector(restated[name].T), atol=1e-10)
    with torch.no_grad():
        for update in updates_of(net):
            update.lora_B.normal_()
    add_updates(net, 1)
    moments, inputs = seen(net, task_inputs(2), mask)
    design_a(net, moments, memory)
    newest = {name.removesuffix(".all_task1"): update for name, update in named_updates(net) if "_task1" in name}
    for name, update in newest.items():
        rows = update.lora_A.detach().numpy()
        assert np.allclose(projector(rows), projector(restated_a(inputs[name], restated[name])), atol=1e-9)
        assert np.abs(rows @ restated[name]).max() < 1e-10
    later = with_inputs(memory, moments, 0.95)
    for name, directions in later.items():
        grown = restated_memory(inputs[name], restated[name], 0.95)
        assert directions.shape == grown.shape
        assert np.allclose(projector(directions.T.numpy()), projector(grown.T), atol=1e-9)
        assert torch.equal(directions[:, : memory[name].shape[1]], memory[name])


def test_a_later_task_changes_nothing_for_inputs_that_were_kept(net):
    first = nn.Sequential(net[0])  # one layer: what it is fed is the same before and after
    moments, _ = seen(first, task_inputs(1))
    design_a(first, moments, {})
    memory = with_inputs({}, moments, 1.0)
    assert memory["0"].shape == (12, 12), "everything is kept, and nothing is left free"
    memory = with_inputs({}, moments, SHARE)
    kept = task_inputs(1) @ memory["0"] @ memory["0"].t()
    add_updates(first, 1)
    moments, _ = seen(first, task_inputs(2))
    design_a(first, moments, memory)
    before, other = first(kept), first(task_inputs(2))
    for update in updates_of(first):
        update.lora_B.data.normal_()
    for name, update in named_updates(first):
        if "_task1" not in name:
            update.lora_B.data.zero_()
    assert torch.allclose(first(kept), before, atol=1e-10)
    assert not torch.allclose(first(task_inputs(2)), other, atol=0.1)


def test_a_step_of_b_is_the_step_of_the_whole_weight_inside_the_span_of_a(net):
    """Proposition 1 of the paper: with orthonormal rows, ΔW = −η s² (∂L/∂W) Aᵀ A."""
    layer = net[0]
    moments, _ = seen(net, task_inputs(1))
    design_a(net, moments, {})
    (_, update), *_ = layer.low_rank()
    x, rate = task_inputs(3), 0.1
    weight = layer.base.weight.requires_grad_()
    net(x).square().mean().backward()
    with torch.no_grad():
        update.lora_B -= rate * update.lora_B.grad
        expected = -rate * SCALE**2 * weight.grad @ update.lora_A.t() @ update.lora_A
    assert torch.allclose(update.delta(), expected, atol=1e-12)


def test_where_nothing_is_left_free_a_is_zero(net):
    moments, _ = seen(net, task_inputs(1))
    memory = with_inputs({}, moments, 1.0)
    memory["0"] = memory["0"][:, :11]  # one direction is left of twelve, and the rank is 2
    design_a(net, moments, memory)
    rows = net[0].low_rank()[0][1].lora_A
    assert rows[0].norm().item() == pytest.approx(1.0)
    assert not rows[1].any()
    assert not net[2].low_rank()[0][1].lora_A.any()
