"""A trained tensor that feeds nothing is named."""

import torch
from torch import nn
from torch.utils.data import DataLoader

from harness.training import ClassMetrics, Plan, Trainer, TrialModule, UnusedParameterCheck, make_fabric


class Half(nn.Module):
    """One of its two layers is never used."""

    def __init__(self):
        super().__init__()
        self.used, self.idle, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, batch):
        return self.head(self.used(batch["x"]))


def test_a_tensor_without_a_gradient_is_dead():
    batches = [{"x": torch.randn(4, 3), "labels": torch.tensor([0, 1, 0, 1]), "rows": torch.arange(4)}] * 3
    check = UnusedParameterCheck()
    trainer = Trainer(make_fabric(torch.device("cpu"), "32-true"), Plan(3, ()), [check])
    module = TrialModule(Half(), ClassMetrics(2), lr=1e-3, head_lr=1e-3, weight_decay=0.0, warmup=0.0, steps=3)
    loader = DataLoader(batches, batch_size=None)
    trainer.fit(module, loader, loader)
    assert check.unused == ["idle.weight", "idle.bias"]
