"""AdaLoRA against PEFT's own allocator, DyLoRA's prefixes, effective ranks against the definition."""

import copy
import math
import re

import pytest
import torch
from peft import AdaLoraConfig, get_peft_model
from peft.tuners.adalora.layer import RankAllocator
from torch import nn

from harness.lora import (
    AdaLoraSchedule,
    LoraSpec,
    adapt,
    effective_ranks,
    final_budget,
    kept_ranks,
    set_active,
    updates_of,
)
from tests.lora.test_variants import disturb


def two_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 5)).double()


def test_scores_and_outputs_are_pefts():
    base, spec = two_layers(), LoraSpec(2, 1.5, ("0", "1"), variant="adalora", settings={"initial_rank": 4})
    config = AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=6, target_modules=["0", "1"], total_step=20, tinit=1, tfinal=1
    )
    theirs = get_peft_model(copy.deepcopy(base), config)
    adapt(base, spec, {})
    disturb(base)
    for index, update in enumerate(updates_of(base)):
        layer = theirs.base_model.model[index]
        layer.lora_A["default"].data.copy_(update.lora_A)
        layer.lora_B["default"].data.copy_(update.lora_B)
        layer.lora_E["default"].data.copy_(update.lora_E[:, None])
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(base(x), theirs(x), atol=1e-4, rtol=1e-4)  # PEFT divides by rank + 1e-5
    ours, allocator = AdaLoraSchedule(base, 4, 20), RankAllocator(theirs.base_model.model, config, "default")
    for _ in range(3):
        for model in (base, theirs):
            model.zero_grad()
            (model(x) - 1).square().mean().backward()
        ours._look()
        allocator.update_ipt(theirs.base_model.model)
    score = allocator._element_score
    for index, mine in enumerate(ours.scores()):
        expected = (
            score(f"{index}.lora_E.default").flatten()
            + score(f"{index}.lora_A.default").mean(1)
            + score(f"{index}.lora_B.default").mean(0)
        )
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-3)


def test_the_budget_falls_on_the_cubic_and_ends_where_it_should():
    base, spec = two_layers(), LoraSpec(2, 1.0, ("0", "1"), variant="adalora", settings={"initial_rank": 4})
    adapt(base, spec, {})
    assert final_budget(base, spec.final_rank_at) == 4
    budget = AdaLoraSchedule(base, final_budget(base, spec.final_rank_at), 40)
    assert [budget.budget(step) for step in (1, 4, 28, 40)] == [8, 8, 4, 4]
    assert budget.budget(16) == int(4 + 4 * 0.5**3)
    x = torch.randn(16, 6, dtype=torch.float64)
    optimizer = torch.optim.AdamW([tensor for tensor in base.parameters() if tensor.requires_grad], lr=0.05)
    for step in range(1, 41):
        optimizer.zero_grad()
        (base(x) - 1).square().mean().backward()
        optimizer.step()
        budget.after_step(step)
    kept = kept_ranks(base)
    assert sum(kept.values()) == 4
    assert kept.keys() == {"0", "1"}


def test_an_allocation_can_be_given_as_ranks():
    base = two_layers()
    spec = LoraSpec(2, 1.0, ("0", "1"), ranks=(("0", 3), ("1", 1)))
    assert adapt(base, spec, {}) == {"0": 3, "1": 1}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_prefix_is_the_adapter_cut_to_that_rank(rank):
    base, spec = two_layers(), LoraSpec(3, 0.8, ("0", "1"), variant="dylora")
    adapt(base, spec, {})
    disturb(base)
    cut = two_layers()
    adapt(cut, LoraSpec(rank, 0.8, ("0", "1")), {})
    for mine, theirs in zip(updates_of(base), updates_of(cut), strict=True):
        theirs.lora_A.data.copy_(mine.lora_A[:rank])
        theirs.lora_B.data.copy_(mine.lora_B[:, :rank])
    set_active(base, rank)
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(base(x), cut(x))
    base(x).sum().backward()
    assert all((update.lora_A.grad[rank:] == 0).all() for update in updates_of(base))


def test_the_effective_rank_is_e_to_the_entropy_of_the_singular_values():
    base = two_layers()
    adapt(base, LoraSpec(2, 1.0, ("0", "1")), {})
    assert effective_ranks(base) == {"0": 0.0, "1": 0.0}
    disturb(base)
    for (name, found), update in zip(effective_ranks(base).items(), updates_of(base), strict=True):
        values = torch.linalg.svdvals(update.delta())[:2]
        shares = (values / values.sum()).tolist()
        assert found == pytest.approx(math.exp(-sum(share * math.log(share) for share in shares))), name
        assert 1 <= found <= 2


def test_a_prefix_has_alpha_over_its_own_rank():
    base = two_layers()
    adapt(base, LoraSpec(4, None, ("0", "1"), variant="dylora", alpha=8.0), {})
    for rank in (1, 2, 4):
        set_active(base, rank)
        assert [update.scale for update in updates_of(base)] == [8.0 / rank] * 2


def test_a_step_without_numbers_leaves_the_importance_alone():
    base = two_layers()
    adapt(base, LoraSpec(2, 1.0, ("0", "1"), variant="adalora"), {})
    budget = AdaLoraSchedule(base, 4, 20)
    for value in (1.0, math.inf):
        for update in budget.updates:
            for tensor in (update.lora_A, update.lora_B, update.lora_E):
                tensor.grad = torch.full_like(tensor, value)
        budget._look()
    assert all(torch.isfinite(score).all() for score in budget.scores())


def test_every_matrix_of_a_recurrent_layer_has_its_own_allocation():
    base = nn.Sequential(nn.LSTM(6, 5, 2)).double()
    adapt(base, LoraSpec(2, 1.0, ("0",), variant="adalora"), {})
    disturb(base)
    budget = AdaLoraSchedule(base, 8, 20)
    (base(torch.randn(3, 2, 6, dtype=torch.float64))[0] - 1).square().mean().backward()
    budget._look()
    budget.kept = budget._choose(8)
    budget._mask()
    kept = kept_ranks(base)
    assert kept.keys() == {f"0.weight_{kind}_l{layer}" for kind in ("ih", "hh") for layer in (0, 1)}
    assert sum(kept.values()) == 8
    other = nn.Sequential(nn.LSTM(6, 5, 2))
    ranks = tuple((re.escape(name), rank) for name, rank in kept.items())
    assert adapt(other, LoraSpec(2, 1.0, ("0",), ranks=ranks), {}) == {
        name: rank for name, rank in kept.items() if rank
    }
