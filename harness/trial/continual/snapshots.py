"""Snapshots of the trained weights after each task."""

from collections.abc import Mapping

import torch
from torch import Tensor

from harness.model import Network

State = dict[str, Tensor]


class TaskSnapshots:
    """The trained tensors after each task, kept if the tasks are learned `apart`: each from the same start."""

    def __init__(self, model: Network, apart: bool) -> None:
        self.model, self.apart = model, apart
        self.initial = self._now() if apart else {}
        self.states: list[State] = []

    def begin_task(self) -> None:
        """Apart, each task begins from the same start."""
        if self.apart:
            self._put(self.initial)

    def end_task(self) -> None:
        """Keep what a task has left."""
        if self.apart:
            self.states.append(self._now())

    def show(self, task: int) -> None:
        """Put what answers a task in its place: apart, its own, or, before it is learned, the newest there is."""
        if self.apart and self.states:
            self._put(self.states[min(task, len(self.states) - 1)])

    def parameters(self) -> int:
        """Adapter and head parameters that have to be kept to answer every task as it was scored."""
        if self.apart:
            # Each task's own head alone: with one for each, a state holds those of the others too.
            return sum(
                tensor.numel()
                for task, state in enumerate(self.states)
                for name, tensor in state.items()
                if not self._others_head(name, task)
            )
        own = [tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad or ".lora_" in name]
        return sum(tensor.numel() for tensor in own)

    def _others_head(self, name: str, task: int) -> bool:
        heads = self.model.head_names
        return any(name.startswith(f"head.{other}.") for other in heads if other != heads[task])

    def _now(self) -> State:
        return {name: tensor.detach().clone() for name, tensor in self.model.named_parameters() if tensor.requires_grad}

    @torch.no_grad()
    def _put(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in state.items():
            self.model.get_parameter(name).copy_(tensor)
