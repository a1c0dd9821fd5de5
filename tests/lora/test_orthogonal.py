"""O-LoRA against plain formulas: what is frozen, what is added up, what is penalised, what is saved."""

import copy

import pytest
import torch
from peft import PeftModel
from torch import nn

from harness.lora import LoraSpec, SpecError, adapt, add_updates, export_adapter, merge, named_updates, overlap

RANK, SCALE = 2, 1.5


@pytest.fixture
def base():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def learned(base: nn.Module, tasks: int) -> tuple[nn.Module, list[list[dict[str, torch.Tensor]]]]:
    """A network after some steps on each of the tasks, and each update's tensors as they were after each task."""
    net = copy.deepcopy(base)
    adapt(net, LoraSpec(RANK, SCALE, ("all",)), {"all": "[02]"})
    history = []
    for task in range(tasks):
        if task:
            add_updates(net, task)
        trained = [tensor for tensor in net.parameters() if tensor.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=0.05)
        for _ in range(3):
            loss = net(torch.randn(5, 6).double()).square().mean() + 0.5 * overlap(net)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        history.append([copy.deepcopy(update.state_dict()) for _, update in named_updates(net)])
    return net, history


def test_earlier_pairs_stay_bit_for_bit_and_only_the_newest_learns(base):
    net, history = learned(base, 3)
    names = [name for name, _ in named_updates(net)]
    assert names == [f"{layer}{task}" for layer in "02" for task in ("", ".all_task1", ".all_task2")]
    for layer in range(2):
        for task in range(3):
            now = dict(list(named_updates(net))[3 * layer + task][1].named_parameters())
            then = history[task][layer * (task + 1) + task]
            assert all(torch.equal(now[key], then[key]) for key in ("lora_A", "lora_B"))
            assert now["lora_B"].any()
            assert now["lora_A"].requires_grad == (task == 2)
    assert all(not tensor.requires_grad for tensor in (net[0].base.weight, net[0].base.bias))


def test_the_output_is_the_base_with_every_change_added(base):
    net, _ = learned(base, 3)
    updates = dict(named_updates(net))
    dense = copy.deepcopy(base)
    with torch.no_grad():
        for layer in "02":
            for ending in ("", ".all_task1", ".all_task2"):
                update = updates[layer + ending]
                dense.get_submodule(layer).weight += SCALE * update.lora_B @ update.lora_A
        x = torch.randn(7, 6).double()
        assert torch.allclose(net(x), dense(x), atol=1e-12)
        merge(net)
        assert torch.allclose(net(x), dense(x), atol=1e-12)
        assert torch.allclose(net[0].weight, dense[0].weight, atol=1e-12)


def test_a_fresh_pair_changes_nothing(base):
    net, _ = learned(base, 1)
    x = torch.randn(7, 6).double()
    before = net(x)
    add_updates(net, 1)
    assert torch.equal(net(x), before)


def test_the_penalty_is_the_sum_of_squares_over_earlier_tasks(base):
    net, _ = learned(base, 3)
    updates = dict(named_updates(net))
    expected = 0.0
    for layer in "02":
        newest = updates[f"{layer}.all_task2"].lora_A.detach()
        for ending in ("", ".all_task1"):
            for row in updates[layer + ending].lora_A.detach():
                expected += sum(float((row * other).sum()) ** 2 for other in newest)
    penalty = overlap(net)
    assert penalty.item() == pytest.approx(expected)
    penalty.backward()
    assert updates["0.all_task2"].lora_A.grad.any()
    assert updates["0"].lora_A.grad is None


def test_the_penalty_of_orthogonal_subspaces_is_zero(base):
    net, _ = learned(base, 1)
    assert overlap(net).item() == 0.0
    add_updates(net, 1)
    with torch.no_grad():
        for layer, width in (("0", 6), ("2", 8)):
            updates = dict(named_updates(net))
            rows = torch.linalg.qr(torch.randn(width, 2 * RANK).double())[0].t()
            updates[layer].lora_A.copy_(rows[:RANK])
            updates[f"{layer}.all_task1"].lora_A.copy_(rows[RANK:])
    assert overlap(net).item() == pytest.approx(0.0, abs=1e-28)


def test_the_whole_is_saved_as_one_adapter_of_the_original_base(base, tmp_path):
    net, _ = learned(base, 3)
    export_adapter(net, "", tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval()
    assert loaded.peft_config["default"].r == 3 * RANK
    x = torch.randn(7, 6).double()
    assert torch.allclose(loaded(x), net(x), atol=1e-7)  # PEFT makes its adapters in float32


@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_what_is_no_sum_of_plain_pairs_is_refused(base, variant):
    net = copy.deepcopy(base)
    adapt(net, LoraSpec(RANK, SCALE, ("all",), variant=variant), {"all": "[02]"})
    if variant == "pissa":
        from harness.lora import initialise

        initialise(net, LoraSpec(RANK, SCALE, ("all",), variant=variant), lambda gradients: None)
    with pytest.raises(SpecError, match="plain updates of linear layers"):
        add_updates(net, 1)
