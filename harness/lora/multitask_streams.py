"""MTLoRA's streams: in the last block of a stage a shared stream and one for each task, stacked along the batch.

Shapes: B rows, T tasks, S streams, I inputs, O outputs. A block of S streams gets (S·B, …), the shared stream first.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from harness.lora.layers import Adapted
from harness.lora.routing import TaskRouter
from harness.lora.update import LowRankUpdate

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]

SHARED = "all"
"""The name of the update of a forked layer that belongs to no task: as that of any update of a whole layer."""


class Fork(Adapted):
    """A layer with an update that all tasks share and updates of single tasks; with `both`, these have it in them."""

    both: bool

    @abstractmethod
    def with_updates(self, updates: Mapping[str, LowRankUpdate]) -> "Fork":
        """Return the same layer with other updates."""

    def weights(self) -> dict[str, Tensor]:
        """The weight with the shared change; nothing where there is none, or a task's stream is without it."""
        shared = dict(self.low_rank()).get(SHARED)
        if shared is None or not self.both:
            return {}
        weight = self.base.get_parameter("weight").clone()
        shared.where.of(weight).copy_(shared.merged_weight(self.matrix(shared)))
        return {"weight": weight}

    def merged(self) -> nn.Module:
        """Return the layer without the shared update, where that is in the weight now; the tasks' stay beside it."""
        if not self.both:
            return self
        rest = {key: update for key, update in self.low_rank() if key != SHARED}
        return self.with_updates(rest).train(self.training)

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as of an adapted linear layer."""
        return self.base.get_parameter("weight")


class Streams:
    """The layout of the rows of the block that runs now; its hooks set it and its layers read it.

    With `every`, each row has a stream of each task (S = 1 + T). Otherwise it has one, of the task that the route names
    (S = 2).
    """

    def __init__(self, tasks: Sequence[str], route: TaskRouter, *, every: bool) -> None:
        self.tasks, self.route, self.every = tuple(tasks), route, every
        self.count = 0  # S inside of a block that forks, else 0
        self.narrow = False  # attention has left the shared stream alone, for the layer behind it to fork

    def fork_in(self, block: nn.Module) -> None:
        """Let a block run on streams. It returns all of them with `every`, else those of the rows' own tasks."""
        block.register_forward_pre_hook(self._enter, with_kwargs=True)
        block.register_forward_hook(self._leave)

    def attend_once(self, attention: nn.Module) -> None:
        """Let a block's attention run on the shared stream alone: its map belongs to all tasks."""
        attention.register_forward_pre_hook(self._narrow, with_kwargs=True)

    # The hooks are methods: a copy of the network has a copy of its streams then.
    def _enter(self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> _Arguments:
        size, self.count = _rows(inputs, named), 1 + (len(self.tasks) if self.every else 1)
        return _each(inputs, named, size, lambda tensor: tensor.repeat(self.count, *[1] * (tensor.ndim - 1)))

    def _leave(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        streams, self.count = self.count, 0
        if self.every:
            return output
        first, *rest = output if isinstance(output, tuple) else (output,)
        own = first[len(first) // streams :]
        return (own, *rest) if isinstance(output, tuple) else own

    def _narrow(self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> _Arguments | None:
        if not self.count:
            return None
        size, self.narrow = _rows(inputs, named), True
        return _each(inputs, named, size, lambda tensor: tensor[: size // self.count])


def _rows(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> int:
    return next(len(value) for value in (*inputs, *named.values()) if isinstance(value, Tensor))


def _each(inputs: tuple[Any, ...], named: dict[str, Any], size: int, change: Callable[[Tensor], Tensor]) -> _Arguments:
    """The arguments of a module, changed where they have a row for each of `size`: a mask may serve all rows."""

    def changed(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(changed, value))
        by_row = isinstance(value, Tensor) and value.ndim > 1 and len(value) == size
        return change(value) if by_row else value

    return changed(inputs), {name: changed(value) for name, value in named.items()}


class StreamLayer(Fork):
    """A frozen linear layer or convolution where tasks fork (MTLoRA; Agiza et al., 2024).

    The shared stream is y = Wx + b + s·BA·drop(x), a task's y_t = Wx + b + s_t·B_t A_t x_t: W acts on the shared x
    alone. With `both`, the shared term is in y_t too. Where a task has no feature of its own yet, at the `first` fork
    of a block, x_t is drop(x). Behind the `last` fork of the network nothing reads the shared stream, which is without
    its term there. Outside of a block that forks there is the shared stream alone.

    A layer of such a block without an update is applied to each stream, and a residual adds each to itself.
    """

    def __init__(
        self,
        base: nn.Module,
        updates: Mapping[str, LowRankUpdate],
        streams: Streams,
        *,
        both: bool,
        first: bool,
        last: bool,
        dropout: nn.Module,
    ) -> None:
        super().__init__(base, updates)
        self.streams, self.both, self.dropout = streams, both, dropout
        self.first, self.last = first, last

    def forward(self, x: Tensor) -> Tensor:
        """(S·B, …, I) to (S·B, …, O), for a convolution with I and O second; `first` takes (B, …, I) as well."""
        streams, size = self.streams, len(x) // max(1, self.streams.count)
        if self.first and streams.narrow:
            size, streams.narrow = len(x), False
        shared, rest = x[:size], x[size:]
        plain: Tensor = self.base(shared)
        dropped = self.dropout(shared)
        without = SHARED not in self.updates or (self.last and streams.count and not self.both)
        y = plain if without else plain + self._term(SHARED, dropped)
        if not streams.count:
            return y
        start = y if self.both else plain
        if streams.every:
            own = [dropped] * len(streams.tasks) if self.first else rest.chunk(len(streams.tasks))
            terms = [self._term(task, part) for task, part in zip(streams.tasks, own, strict=True)]
            return torch.cat([y, *(start + term for term in terms)])
        return torch.cat([y, start + self._term_by_row(dropped if self.first else rest)])

    def _term(self, key: str, x: Tensor) -> Tensor:
        """s·BAx of one update."""
        update = self.updates[key]
        assert isinstance(update, LowRankUpdate)
        down, up = update.factors()
        if not isinstance(self.base, nn.Conv1d | nn.Conv2d):
            return F.linear(F.linear(x, down) * update.scale, up)
        kernel = self.base.weight
        geometry: dict[str, Tensor | None] = {"weight": down.view(len(down), *kernel.shape[1:]), "bias": None}
        low = functional_call(self.base, geometry, (x,))  # type: ignore[arg-type]
        convolve = F.conv1d if kernel.ndim == 3 else F.conv2d
        return convolve(low * update.scale, up.view(*up.shape, *[1] * (kernel.ndim - 2)))

    def _term_by_row(self, x: Tensor) -> Tensor:
        """The term of each row's own task; a row may have become several, one behind another, as windows do."""
        rows, tasks = self.streams.route.rows, self.streams.tasks
        if isinstance(rows, int):
            return self._term(tasks[rows], x)
        rows = rows.repeat_interleave(len(x) // len(rows))
        places = [(rows == number).nonzero().squeeze(1) for number in range(len(tasks))]
        terms = [self._term(task, x[place]) for task, place in zip(tasks, places, strict=True) if len(place)]
        return torch.cat(terms)[torch.cat(places).argsort()]

    def with_updates(self, updates: Mapping[str, LowRankUpdate]) -> "StreamLayer":
        how = {"first": self.first, "last": self.last}
        return StreamLayer(self.base, updates, self.streams, both=self.both, dropout=self.dropout, **how)
