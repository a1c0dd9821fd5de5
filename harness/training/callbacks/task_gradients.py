"""Compares the gradients of several tasks over what they share, at each evaluation: which of them pull together.

Shapes: T tasks, P parameters that all of them train.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.training.loop import Callback, Trainer
from harness.training.module import Batch, TrialModule, recurrent_backward, task_losses


class TaskGradientsCallback(Callback):
    """`found` has the steps, and of each the cosines (T, T), norms (T) and losses (T), on the same batches each time.

    A batch is of one task, or its rows have answers of all. The network is in evaluation mode; weights, gradients and
    the random state stay as they are.
    """

    def __init__(self, batches: Sequence[Batch], shared: Sequence[nn.Parameter]) -> None:
        self.batches, self.shared = list(batches), list(shared)
        self.found: dict[str, list[Any]] = {"steps": [], "cosines": [], "norms": [], "losses": []}

    def after_evaluation(self, trainer: Trainer) -> None:
        if not self.shared:
            return
        # An evaluation is in inference mode, where nothing can be differentiated.
        with torch.inference_mode(False), torch.enable_grad(), recurrent_backward(trainer.module):
            gradients_TP, losses = self._gradients(trainer.module, trainer.fabric.device)
        norms = gradients_TP.norm(dim=1)
        unit_TP = gradients_TP / norms.clamp(min=1e-30)[:, None]
        values = (trainer.step, (unit_TP @ unit_TP.T).tolist(), norms.tolist(), losses)
        for name, value in zip(self.found, values, strict=True):
            self.found[name].append(value)

    def state_dict(self) -> dict[str, Any]:
        return self.found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.found = dict(state_dict)

    def _gradients(self, module: TrialModule, device: torch.device) -> tuple[Tensor, list[float]]:
        rows, values = [], []
        for batch in self.batches:
            here = {name: tensor.clone().to(device) for name, tensor in batch.items()}
            for loss in task_losses(module.model, here, module.losses)[0]:
                found = torch.autograd.grad(loss, self.shared, retain_graph=True, allow_unused=True)
                parts = (g if g is not None else torch.zeros_like(t) for g, t in zip(found, self.shared, strict=True))
                rows.append(torch.cat([part.flatten().float() for part in parts]).cpu())
                values.append(float(loss.detach()))
        return torch.stack(rows), values
