"""Muon for the matrices inside a network, AdamW for all else, as one optimiser."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, overload

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """Groups that are `hidden` are changed by torch.optim.Muon, with its own `arguments`, the others by AdamW.

    Muon (Jordan et al., 2024) is for matrices between layers: biases, norms, embeddings and heads are AdamW's, as is
    usual. Groups and state are those of the two.
    """

    def __init__(self, groups: list[dict[str, Any]], arguments: Mapping[str, Any], *, fused: bool) -> None:
        super().__init__(groups, {})
        self._parts: list[Optimizer] = []
        hidden, others = (list(self._groups(hidden)) for hidden in (True, False))
        if hidden:
            self._parts.append(Muon(hidden, **arguments))
        if others:
            self._parts.append(AdamW(others, fused=fused))
        self._share()

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def _groups(self, hidden: bool) -> Iterator[dict[str, Any]]:
        return (group for group in self.param_groups if group["hidden"] == hidden)

    def _share(self) -> None:
        """The two go on with the groups and the state of this one."""
        for part in self._parts:
            part.state = self.state
            part.param_groups = list(self._groups(isinstance(part, Muon)))


def outer_tensors(model: nn.Module) -> set[int]:
    """The ids of the weights through which tokens enter a network and leave it: embeddings and output layers."""
    modules: list[Any] = list(model.modules())
    outputs = [each.get_output_embeddings() for each in modules if hasattr(each, "get_output_embeddings")]
    entries = [each for each in modules if isinstance(each, nn.Embedding)]
    return {id(each.weight) for each in (*entries, *outputs) if isinstance(each, nn.Embedding | nn.Linear)}
