"""The comparison of tasks' gradients against the angle between them, written out."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from harness.training import Callback, ClassMetrics, Plan, TaskGradientsCallback, Trainer, TrialModule, make_fabric


class Two(nn.Module):
    """Two answers of a shared vector: losses (w·a − y)² and (w·b − y)²."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.head, self.weighting = nn.Linear(3, 1, bias=False), nn.Linear(1, 1), None

    def forward(self, batch):
        return self.base(batch["x"])


def losses(outputs, batch):
    both = torch.stack([(outputs[:, 0] - batch["a"]).square().mean(), (outputs[:, 0] + batch["b"]).square().mean()])
    return both, torch.arange(2)


class Metrics(ClassMetrics):
    def update(self, logits, batch):
        self.mean_loss.update(logits.mean())
        return logits

    def compute_and_reset(self):
        return {"loss": 0.0, "accuracy": 0.0}


def run(inside):
    make = torch.Generator().manual_seed(0)
    batch = {name: torch.randn(5, *shape, generator=make) for name, shape in {"x": (3,), "a": (), "b": ()}.items()}
    torch.manual_seed(0)
    net = Two()
    module = TrialModule(net, Metrics(2), lr=0.1, head_lr=0.1, weight_decay=0.0, warmup=0.0, steps=4, losses=losses)
    seen = []

    class Look(Callback):
        def after_evaluation(self, trainer):
            seen.append(net.base.weight.detach().clone())

    callback = TaskGradientsCallback([batch], list(net.base.parameters()))
    callbacks = [*([callback] if inside else []), Look()]
    trainer = Trainer(make_fabric(torch.device("cpu"), "32-true"), Plan(4, (2, 4)), callbacks)
    loader = DataLoader([0] * 4, batch_size=None, collate_fn=lambda _: batch)
    trainer.fit(module, loader, loader)
    return callback, seen, batch


def test_cosines_are_those_of_the_gradients_and_training_goes_on_as_without():
    callback, seen, batch = run(inside=True)
    _, alone, _ = run(inside=False)
    assert all(map(torch.equal, seen, alone))
    assert callback.found["steps"] == [2, 4]
    for number, weight in enumerate(seen):
        x, residual = batch["x"], batch["x"] @ weight[0]
        first = 2 * ((residual - batch["a"])[:, None] * x).mean(0)
        second = 2 * ((residual + batch["b"])[:, None] * x).mean(0)
        cosine = torch.cosine_similarity(first, second, dim=0)
        (one, between), (again, other) = callback.found["cosines"][number]
        assert between == again == pytest.approx(float(cosine), abs=1e-5)
        assert (one, other) == pytest.approx((1, 1), abs=1e-5)
        assert callback.found["norms"][number] == pytest.approx([float(first.norm()), float(second.norm())], rel=1e-5)
        value = float((residual - batch["a"]).square().mean())
        assert callback.found["losses"][number][0] == pytest.approx(value, rel=1e-5)
    restored = TaskGradientsCallback([batch], [])
    restored.load_state_dict(callback.state_dict())
    assert restored.found == callback.found


class Recurrent(Two):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.LSTM(3, 4, num_layers=2, dropout=0.5, batch_first=True)
        self.modes = []

    def forward(self, batch):
        self.modes.append(self.base.training)
        return self.base(batch["x"][:, None])[0][:, -1]


def test_recurrent_layers_are_differentiated_in_training_mode_without_their_dropout():
    """CuDNN has no backward pass of them in evaluation mode."""
    net = Recurrent()
    module = TrialModule(net, Metrics(2), lr=0.1, head_lr=0.1, weight_decay=0.0, warmup=0.0, steps=4, losses=losses)
    batch = {"x": torch.ones(5, 3), "a": torch.ones(5), "b": torch.ones(5)}
    callback = TaskGradientsCallback([batch], [net.base.weight_hh_l0])
    trainer = SimpleNamespace(module=module.eval(), step=1, fabric=SimpleNamespace(device=torch.device("cpu")))
    before = torch.get_rng_state()
    callback.after_evaluation(trainer)
    callback.after_evaluation(trainer)
    assert torch.equal(torch.get_rng_state(), before)
    assert callback.found["norms"][0] == callback.found["norms"][1]
    assert net.modes == [True, True]
    assert (net.base.training, net.base.dropout) == (False, 0.5)
