"""Passes through a network that are not training: what a start looks at, and what a step costs."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from harness.model import Network
from harness.record import Flops
from harness.task import Inputs, Losses
from harness.training import autocast, recurrent_backward, task_losses
from harness.trial.counting import counted_flops, peak_of


def feed(
    model: Network,
    batches: DataLoader[int],
    losses: Losses | None,
    gradients: bool,
    *,
    device: torch.device,
    precision: str,
    count: int,
) -> None:
    """Run `count` training batches through the model as it stands, for the variants that start from what they see.

    In 16-mixed, where no loss is scaled here and small gradients would be 0, gradients are computed in float32; those
    of a base of float16 cannot be.
    """
    if gradients and precision == "16-mixed" and model.compute_dtype is None:
        precision = "32-true"
    with _still(model):
        for batch in itertools.islice(batches, count):
            with autocast(precision, device):
                loss = task_losses(model, on_device(batch, device), losses)[0].sum() / count
            if gradients:
                loss.backward()


def first_batch(train: Inputs, size: int, device: torch.device) -> dict[str, Tensor]:
    """The first rows of the training split, where the network is."""
    return on_device(train.training_batch(train.sample(size)), device)


def step_flops(
    model: Network, batch: dict[str, Tensor], losses: Losses | None, *, device: torch.device, precision: str
) -> Flops:
    """Operations of a forward pass, and of a whole step, on a batch."""
    # They follow from shapes alone, and a counted pass in bf16 takes a CPU ten times as long.
    counted_in = "32-true" if device.type == "cpu" else precision
    with _still(model), autocast(counted_in, device), counted_flops(device) as so_far:
        loss = task_losses(model, batch, losses)[0].sum()
        forward = so_far()
        loss.backward()
        step = so_far()
    model.zero_grad()
    return Flops(forward=forward, step=step, examples=len(batch["rows"]))


def step_bytes(
    model: Network, batch: Mapping[str, Any], losses: Losses | None, *, device: torch.device, precision: str
) -> int:
    """The most that the tensors of a step of training hold at once beside the weights; `batch` is as a step takes it.

    Gradients are among them, an optimiser's state is not. Running statistics stay as they were.
    """
    parts = [on_device(part, device) for part in batch.get("parts", [batch])]

    def passes() -> None:
        for part in parts:
            task_losses(model, part, losses)[0].sum().backward()

    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train()
    with autocast(precision, device):
        given = (tensor for part in parts for tensor in part.values())
        peak = peak_of(passes, [*model.parameters(), *model.buffers(), *given])
    for buffer, before in buffers:
        buffer.copy_(before)
    model.zero_grad()
    return peak


def on_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The batch where the network is."""
    return {name: tensor.to(device) for name, tensor in batch.items()}


@contextmanager
def _still(model: Network) -> Iterator[None]:
    """No dropout, and running statistics stay as they are; layers whose activations are computed again do so.

    Afterwards the model is in training mode.
    """
    model.eval()
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True  # of the layer alone: its parts go on as in evaluation
    with recurrent_backward(model):
        yield
    model.train()
