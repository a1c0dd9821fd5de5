"""Similarity of the updates of several tasks: their output directions, compared layer by layer.

Shapes: O outputs, R rank, T tasks.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harness.lora.adapted import adapted_layers
from harness.lora.multitask import task_adapters
from harness.lora.multitask_layers import MtlLoraUpdate


@torch.no_grad()
def task_similarity(base: nn.Module) -> list[list[float]]:
    """The share of directions that each pair of tasks has in common (T, T), the mean over layers.

    It is ‖U_i'U_j‖² / min(R_i, R_j), U_t being an orthonormal basis of what B_t A_t writes to (as Hu et al., 2022,
    compare ranks in section 7.2): 1 where one lies in the other, R/O for directions at random. Empty where tasks have
    no updates of their own, or none has learned anything.
    """
    plan = task_adapters(base)
    if plan is None:
        return []
    found = []
    for _, layer in adapted_layers(base):
        ups: dict[str, Tensor] = {}
        for key, update in layer.low_rank():
            if isinstance(update, MtlLoraUpdate):
                ups |= {task: update.factors_of(task)[1] for task in update.tasks}
            elif key in plan.tasks:
                ups[key] = update.factors()[1]
        if set(ups) == set(plan.tasks) and all(bool(up.any()) for up in ups.values()):
            found.append(_shared(ups))
    means: list[list[float]] = torch.stack(found).mean(0).tolist() if found else []
    return means


def _shared(ups: Mapping[str, Tensor]) -> Tensor:
    bases = [torch.linalg.qr(up.double().cpu())[0] for up in ups.values()]
    rows = [[(one.T @ other).square().sum() / min(one.shape[1], other.shape[1]) for other in bases] for one in bases]
    return torch.stack([torch.stack(row) for row in rows])
