"""An update for each task, added up; and O-LoRA, which keeps them orthogonal (Wang et al., 2023).

The earlier updates are frozen and still count: y = Wx + b + Σ_i s·B_i A_i x. Only the newest update and the head learn.
"""

import torch
from torch import Tensor, nn

from harness.lora.adapted import adapted_layers
from harness.lora.errors import SpecError
from harness.lora.layers import Adapted, LoraLinear
from harness.lora.update import LowRankUpdate, WeightSlice, frozen_weight


def check_plain(network: nn.Module) -> None:
    """Raise SpecError where an update is no plain one of a linear layer: only of those is the sum one update again."""
    for name, layer in adapted_layers(network):
        for _, update in layer.low_rank():
            plain = type(update) is LowRankUpdate and update.start_A is None and not update.swapped
            if not isinstance(layer, LoraLinear) or not plain:
                raise SpecError(f"{name}: it adds up plain updates of linear layers")


def add_updates(network: nn.Module, task: int) -> None:
    """Freeze every update and put a fresh one of the same rank and scale beside each of the first task's.

    `task` counts from 1 for the second one. Raises SpecError where an update is no plain one of a linear layer.
    """
    check_plain(network)
    for _, layer in adapted_layers(network):
        firsts = {key: update for key, update in layer.low_rank() if "_task" not in key}
        for key, update in firsts.items():
            layer.updates[f"{key}_task{task}"] = _fresh(layer, update)
        for key, update in layer.low_rank():
            update.requires_grad_(key.endswith(f"_task{task}"))
            update.zero_grad()  # frozen, it needs the room no more


def _fresh(layer: Adapted, update: LowRankUpdate) -> LowRankUpdate:
    weight = frozen_weight(layer.base, update.where.weight)
    made = LowRankUpdate(weight, update.where, update.rank, update.whole_scale)
    return made.to(update.lora_A.device).train(update.training)


def overlap(network: nn.Module) -> Tensor:
    """Σ over layers and earlier tasks i of ‖A_i A_tᵀ‖²_F, the squared entries summed, t being the newest task.

    Wang et al. (2023), equations 7 and 8, whose A is our A transposed. The published code sums absolute values in
    place of squares; the equation is what is computed here. Zero where there is one task only.
    """
    total: Tensor | None = None
    for _, layer in adapted_layers(network):
        for updates in _stacks(layer.low_rank()).values():
            *earlier, newest = updates
            for update in earlier:
                term = (update.lora_A @ newest.lora_A.t()).square().sum()
                total = term if total is None else total + term
    return torch.zeros(()) if total is None else total


def _stacks(updates: list[tuple[str, LowRankUpdate]]) -> dict[WeightSlice, list[LowRankUpdate]]:
    """The updates of each matrix, in the order they were added."""
    found: dict[WeightSlice, list[LowRankUpdate]] = {}
    for _, update in updates:
        found.setdefault(update.where, []).append(update)
    return found
