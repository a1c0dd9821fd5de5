"""One pass of several trials over the base that they share: their batches joined, their features taken apart again.

Shapes: N trials, B rows of each, L tokens of a row, F features.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.lora import adapted_layers
from harness.lora.joined_rows import JoinedRows, NotByRows, OwnDropout
from harness.lora.packed import JoinedBase, Stack
from harness.training.accounting import is_out_of_memory
from harness.training.fabric import autocast
from harness.training.module import Batch

_OF_THE_HEAD = ("labels", "weights", "rows", "tasks")  # what of a batch no base reads
_ROUNDING = 0.05  # of the largest feature: far above that of bf16, far below what another trial's rows make


def device_generator(device: torch.device) -> torch.Generator:
    """The generator that layers on a device draw from by default."""
    if device.type != "cuda":
        return torch.default_generator
    index = device.index if device.index is not None else torch.cuda.current_device()
    return torch.cuda.default_generators[index]


def joined(batches: Sequence[Batch], padding: Mapping[str, int]) -> Batch:
    """The batches as one (N·B, …), token ids and what goes with them padded to the longest of all."""
    names = [name for name in batches[0] if name not in _OF_THE_HEAD]
    return {name: torch.cat(_as_long([batch[name] for batch in batches], padding.get(name, 0))) for name in names}


def _as_long(tensors: list[Tensor], fill: int) -> list[Tensor]:
    if len({tensor.shape[1:] for tensor in tensors}) == 1:
        return tensors
    longest = max(tensor.shape[1] for tensor in tensors)
    return [F.pad(tensor, (0, longest - tensor.shape[1]), value=fill) for tensor in tensors]


def tokens_of(batch: Batch) -> int:
    """The tokens of the longest row; 0 where rows have none, and batches of other shapes do not go together."""
    return batch["ids"].shape[1] if "ids" in batch else 0


class JointPass:
    """A pass of several networks' batches through their base, up to their heads; then its way back."""

    def __init__(self, base: JoinedBase, networks: Sequence[nn.Module], precision: str, draws: bool) -> None:
        self.base, self.networks, self.precision, self.draws = base, networks, precision, draws
        self.features: list[Tensor] = []
        self._stacks: list[Stack] = []
        self._joint: Tensor | None = None

    def forward(self, batches: Sequence[Batch], states: Sequence[Tensor], padding: Mapping[str, int]) -> list[Tensor]:
        """Compute the features (B, F) of each network's batch, and return the states of its generator afterwards."""
        rows = self.base.rows
        rows.set([_rows_of(batch) for batch in batches], [tokens_of(batch) for batch in batches], states)
        self.base.set_members(self.networks)
        whole = joined(batches, padding)
        with torch.enable_grad(), autocast(self.precision, next(iter(whole.values())).device):
            self._stacks = self.base.gather()
            self._joint = self._features(whole)
        self.features = [part.detach().requires_grad_() for part in self._joint.split(rows.counts)]
        return rows.states

    def backward(self, gradients: Sequence[Tensor | None]) -> None:
        """Compute the gradients of every network's updates from those of its features; None for a network that has
        left.
        """
        assert self._joint is not None
        known = [
            torch.zeros_like(part) if found is None else found
            for part, found in zip(self.features, gradients, strict=True)
        ]
        torch.autograd.backward(self._joint, torch.cat(known))
        self._joint = None
        there = [place for place, found in enumerate(gradients) if found is not None]
        for stack in self._stacks:
            for place in there:
                stack.scatter(place)

    def _features(self, whole: Batch) -> Tensor:
        network: Any = self.base.network
        if not self.draws:
            found = network.head_input(whole)
        else:
            with OwnDropout(self.base.rows):
                found = network.head_input(whole)
        assert isinstance(found, Tensor)
        return found


def _rows_of(batch: Batch) -> int:
    return len(batch["rows"])


def check_packable(network: Any, batch: Batch, device: torch.device, precision: str) -> tuple[str, bool]:
    """Return why a network cannot join a pack, or an empty string; and whether its base draws dropout in training.

    Its adapted layers have to be given the rows of the batch as they stand, and what it draws has to be the same where
    it is drawn for its rows apart. Joined with itself it has to give each its own features. The random state stays.
    """
    rows = JoinedRows(device_generator(device))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), autocast(precision, device):
        reason, draws = _packable_alone(network, batch, rows)
        if not reason:
            reason = _unlike_alone(network, batch, rows.generator, precision, draws)
    return reason, draws


def _packable_alone(network: Any, batch: Batch, rows: JoinedRows) -> tuple[str, bool]:
    rows.set([_rows_of(batch)], [tokens_of(batch)], [rows.generator.get_state()])
    handles = [layer.register_forward_pre_hook(partial(_look, rows)) for _, layer in adapted_layers(network)]
    try:
        return _checked(network, batch, rows)
    except NotByRows as error:
        return f"its layers do not have a row for each of the batch's, but {error}", False
    finally:
        for handle in handles:
            handle.remove()


def _look(rows: JoinedRows, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    rows.each(inputs[0])


@torch.no_grad()
def _checked(network: Any, batch: Batch, rows: JoinedRows) -> tuple[str, bool]:
    (start,) = rows.states
    features = network.head_input(batch)
    if features is None:
        return "its head reads more of the base than one vector", False
    end = rows.generator.get_state()
    if torch.equal(start, end):
        return "", False
    rows.generator.set_state(start)
    with OwnDropout(rows):
        again = network.head_input(batch)
    if not torch.equal(features, again) or not torch.equal(end, rows.states[0]):
        return "its base draws random numbers in training that are no dropout of torch's functions", True
    return "", True


@torch.no_grad()
def _unlike_alone(network: Any, batch: Batch, generator: torch.Generator, precision: str, draws: bool) -> str:
    """Return why two copies of a network cannot share a pass; empty if each has the features that it has alone.

    One has its rows in reverse order, so that whose they are makes a difference.
    """
    start, batches = generator.get_state(), [batch, {name: each.flip(0) for name, each in batch.items()}]
    try:
        made = JointPass(JoinedBase(network, JoinedRows(generator)), [network, network], precision, draws)
        made.forward(batches, [start, start], {})
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return f"its base fails in a pass of two: {type(error).__name__}: {error}"
    for own, joint in zip(batches, made.features, strict=True):
        generator.set_state(start)
        alone = network.head_input(own)
        if joint.shape != alone.shape or not _close(joint.detach(), alone):
            return "its base gives rows other features in a pass of two"
    return ""


def _close(one: Tensor, other: Tensor) -> bool:
    """Return whether two differ by no more than summation order, in half precision in some layers."""
    apart, size = (one.float() - other.float()).abs().max(), other.float().abs().max()
    return bool(apart <= _ROUNDING * size)
