"""A trained tensor that feeds nothing is named."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from harness.training import ClassMetrics, TrialModule, UnusedParameterCheck


class Half(nn.Module):
    """One of its two layers is never used."""

    def __init__(self):
        super().__init__()
        self.used, self.idle, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, batch):
        return self.head(self.used(batch["x"]))


@pytest.mark.filterwarnings("ignore:GPU available but not used")
def test_a_tensor_without_a_gradient_is_dead(tmp_path):
    batches = [{"x": torch.randn(4, 3), "labels": torch.tensor([0, 1, 0, 1]), "rows": torch.arange(4)}] * 3
    check = UnusedParameterCheck()
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[check],
    )
    module = TrialModule(Half(), ClassMetrics(2), lr=1e-3, head_lr=1e-3, weight_decay=0.0, warmup=0.0, steps=3)
    module.validation_step = None
    from harness.training.loop import quiet

    with quiet():
        trainer.fit(module, DataLoader(batches, batch_size=None))
    assert check.unused == ["idle.weight", "idle.bias"]
