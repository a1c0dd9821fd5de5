"""Passes that variants start from."""

import torch

from harness.trial.passes import feed


class Steep(torch.nn.Module):
    """A loss whose gradients are less than float16 has numbers for."""

    compute_dtype = None

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2, bias=False)

    def forward(self, batch):
        return 1e-6 * self.layer(batch["x"]) * self.layer(batch["x"])


def losses(outputs, _):
    return outputs.mean()[None], torch.zeros(1, dtype=torch.long)


def test_gradients_are_those_of_float32_where_no_loss_is_scaled():
    found = []
    for precision in ("32-true", "16-mixed"):
        torch.manual_seed(0)
        network = Steep()
        batches = [{"x": torch.full((3, 4), 1e-3)}] * 2
        feed(network, batches, losses, True, device=torch.device("cpu"), precision=precision, count=2)
        found.append(network.layer.weight.grad)
    assert torch.equal(*found)
    assert found[0].all()
