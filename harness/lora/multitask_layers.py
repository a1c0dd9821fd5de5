"""Layers whose low-rank change depends on the task of a row: a fork, MTL-LoRA's mixture.

Shapes: I inputs, O outputs, R rank, T tasks, N ups (MTL-LoRA's several B).
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.lora.layers import LoraLinear
from harness.lora.multitask_streams import SHARED, Fork
from harness.lora.routing import TaskRouter, add_one, add_per_row, stacked
from harness.lora.update import LowRankUpdate, WeightSlice


class TaskForkLinear(Fork):
    """A frozen linear layer with a shared update and an update for each task, after MTLoRA (Agiza et al., 2024).

    y_t = Wx + b + s_t·B_t A_t x. With `both`, the shared term s·BA·drop(x) is in it too; without, a task that has an
    update of its own leaves the shared one unused. A task without one goes on with the shared term alone. Where a task
    has no feature of its own yet, at the `first` fork of the network, its update sees drop(x), later x.

    A row has one stream here, its task's, from the first fork on. As published a shared stream goes on beside the
    tasks', and W is applied to that one: StreamLayer.
    """

    def __init__(
        self,
        base: nn.Module,
        updates: Mapping[str, LowRankUpdate],
        *,
        tasks: Sequence[str],
        route: TaskRouter,
        both: bool,
        first: bool,
        dropout: nn.Module,
    ) -> None:
        super().__init__(base, updates)
        self.tasks, self.route, self.both, self.first = tuple(tasks), route, both, first
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, …, I) to (B, …, O), each row as the route says."""
        y: Tensor = self.base(x)
        dropped = self.dropout(x)
        own = dropped if self.first else x
        rows, updates = self.route.rows, dict(self.low_rank())
        with_shared = [task for task in self.tasks if SHARED in updates and (self.both or task not in updates)]
        if isinstance(rows, int):
            task = self.tasks[rows]
            y = _add(y, dropped, updates[SHARED]) if task in with_shared else y
            return _add(y, own, updates[task]) if task in updates else y
        if with_shared == list(self.tasks):
            y = _add(y, dropped, updates[SHARED])
        elif with_shared:
            y = self._add_rows(y, dropped, rows, dict.fromkeys(with_shared, updates[SHARED]))
        return self._add_rows(y, own, rows, updates)

    def _add_rows(self, y: Tensor, x: Tensor, rows: Tensor, updates: Mapping[str, LowRankUpdate]) -> Tensor:
        """Add to each row the term of its task's update, where there is one."""
        some = next(iter(updates.values()))
        none = some.lora_A.new_zeros(0, some.lora_A.shape[1]), some.lora_B.new_zeros(len(some.lora_B), 0)
        downs, ups = stacked([_scaled(updates[task]) if task in updates else none for task in self.tasks])
        return add_per_row(y, x, downs=downs, ups=ups, rows=rows)

    def of_task(self, task: str) -> LoraLinear:
        """Plain updates, none where nothing is added for the task."""
        updates = dict(self.low_rank())
        shared = [SHARED] if SHARED in updates and (self.both or task not in updates) else []
        return LoraLinear(self.base, {key: updates[key] for key in (*shared, *([task] if task in updates else []))})

    def with_updates(self, updates: Mapping[str, LowRankUpdate]) -> "TaskForkLinear":
        how = {"both": self.both, "first": self.first}
        return TaskForkLinear(self.base, updates, tasks=self.tasks, route=self.route, dropout=self.dropout, **how)


def _add(y: Tensor, x: Tensor, update: LowRankUpdate) -> Tensor:
    down, up = _scaled(update)
    return add_one(y, x, down=down, up=up.t())


def _scaled(update: LowRankUpdate) -> tuple[Tensor, Tensor]:
    down, up = update.factors()
    return down * update.scale, up


class MtlLoraUpdate(LowRankUpdate):
    """The change s·(Σ_i softmax(w_t/τ)_i B^i)·Λ_t·A of task t (MTL-LoRA; Yang et al., 2025).

    A and every B^i belong to all tasks, Λ_t (R, R), or with `diagonal` its diagonal (R), and w_t (N) to one. Λ_t starts
    as the identity, B^i at zero, w Kaiming-uniform. As an update it is that of the route's task, so it merges and is
    measured for that one.
    """

    def __init__(
        self,
        weight: Tensor,
        where: WeightSlice,
        rank: int,
        scale: float,
        *,
        tasks: Sequence[str],
        ups: int,
        temperature: float,
        route: TaskRouter,
        diagonal: bool = False,
    ) -> None:
        super().__init__(weight, where, rank, scale)
        self.tasks, self.temperature, self.route = tuple(tasks), temperature, route
        self.lora_B = nn.Parameter(self.lora_B.new_zeros(ups, *self.lora_B.shape))
        self.diagonal = diagonal
        eye = torch.eye(rank, dtype=self.lora_A.dtype, device=self.lora_A.device)
        eye = eye.diagonal() if diagonal else eye
        logits = nn.init.kaiming_uniform_(self.lora_A.new_empty(len(self.tasks), ups), a=math.sqrt(5))
        # A tensor for each task: one that is not in the batch gets no gradient, and the optimiser leaves it alone.
        self.lora_L = nn.ParameterDict({task: nn.Parameter(eye.clone()) for task in self.tasks})
        self.lora_w = nn.ParameterDict(
            {task: nn.Parameter(row.clone()) for task, row in zip(self.tasks, logits, strict=True)}
        )

    def factors(self) -> tuple[Tensor, Tensor]:
        """Λ_t A (R, I) and Σ_i softmax(w_t/τ)_i B^i (O, R) of the task that all rows share."""
        return self.factors_of(self.tasks[self.route.one])

    def factor_pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The factors of every task."""
        return {f".{task}": self.factors_of(task) for task in self.tasks}

    def factors_of(self, task: str) -> tuple[Tensor, Tensor]:
        """A and B of one task."""
        # At τ = 0.1 half precision would move the shares by whole percents.
        share = torch.softmax(self.lora_w[task].to(self._exact) / self.temperature, 0)
        up = (share[:, None, None] * self.lora_B).sum(0).to(self.lora_B.dtype)
        between = self.lora_L[task]
        return between[:, None] * self.lora_A if self.diagonal else between @ self.lora_A, up

    @torch.no_grad()
    def of_one(self, task: str) -> LowRankUpdate:
        """A plain update with the factors that one task has now."""
        down, up = self.factors_of(task)
        made = LowRankUpdate(up @ down, WeightSlice(self.where.weight, 0, len(up)), len(down), self.scale)
        made.where = self.where
        made.lora_A.copy_(down)
        made.lora_B.copy_(up)
        return made

    @property
    def _exact(self) -> torch.dtype:
        return torch.promote_types(self.lora_A.dtype, torch.float32)

    def of_task(self, task: str) -> list[nn.Parameter]:
        """Return the parameters that belong to one task alone."""
        return [self.lora_L[task], self.lora_w[task]]


class MtlLoraLinear(LoraLinear):
    """A frozen linear layer whose changes are each row's task's mixture (MTL-LoRA)."""

    def of_task(self, task: str) -> LoraLinear:
        updates = {key: update.of_one(task) for key, update in self.low_rank() if isinstance(update, MtlLoraUpdate)}
        return LoraLinear(self.base, updates)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …, I) to (B, …, O), each row as the route says."""
        updates = [update for _, update in self.low_rank() if isinstance(update, MtlLoraUpdate)]
        rows = updates[0].route.rows
        if isinstance(rows, int):
            return super().forward(x)
        y: Tensor = self.base(x)
        dropped = self.dropout(x)
        for update in updates:
            downs, ups = stacked([update.factors_of(task) for task in update.tasks])
            part = slice(update.where.offset, update.where.stop)
            changed = add_per_row(y[..., part], dropped, downs=update.scale * downs, ups=ups, rows=rows)
            if changed.shape == y.shape:
                y = changed
            else:
                y[..., part] = changed
        return y
