"""Low-rank adaptation for several tasks on one base: MTLoRA and MTL-LoRA put into a network, and their groups."""

import dataclasses
import difflib
import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import nn

from harness.lora.adapted import adapted_layers, named_updates, replace, target_name
from harness.lora.errors import SpecError
from harness.lora.inject import adapt
from harness.lora.layers import LoraLinear
from harness.lora.multitask_layers import SHARED, MtlLoraLinear, MtlLoraUpdate, MtLoraLinear
from harness.lora.routing import TaskRouter
from harness.lora.spec import LoraSpec
from harness.lora.update import LowRankUpdate

_NEVER_FORK = ("query", "key", "value")  # the attention map belongs to all tasks
_BLOCK = re.compile(r"(\D*)(\d+)(?:\.|$)")


@dataclasses.dataclass(frozen=True)
class MtloraSpec:
    """MTLoRA (Agiza et al., CVPR 2024): a shared update on every target, and one for each task in the last blocks.

    Both scales are s itself. `task_ranks` are ordered pairs of a pattern of task names and a rank, the first match
    decides, else `task_rank`; a task with rank 0 stays with the shared stream. `blocks` is how many of the last blocks
    fork. In mode `task` the task's stream is without the shared term, in mode `both` it has it too.
    """

    rank: int
    task_rank: int
    scale: float
    task_scale: float
    targets: tuple[str, ...]
    task_ranks: tuple[tuple[str, int], ...] = ()
    dropout: float = 0.0
    blocks: int = 1
    mode: Literal["task", "both"] = "task"

    def __post_init__(self) -> None:
        _ = self.shared
        for name, value, least in (("task_rank", self.task_rank, 0), ("blocks", self.blocks, 1)):
            if value < least:
                raise SpecError(f"{name} {value}: must be at least {least}")
        if not self.task_scale > 0:
            raise SpecError(f"task_scale {self.task_scale}: must be above 0")
        if self.mode not in ("task", "both"):
            raise SpecError(f"mode {self.mode}: task or both")
        for pattern, rank in self.task_ranks:
            try:
                re.compile(pattern)
            except re.error as error:
                raise SpecError(f"task_ranks {pattern}: {error}") from None
            if rank < 0:
                raise SpecError(f"task_ranks {pattern}: rank {rank} must be at least 0")

    @functools.cached_property
    def shared(self) -> LoraSpec:
        """The specification of what serves all tasks; it refuses what is no rank or scale."""
        return LoraSpec(self.rank, self.scale, self.targets, self.dropout)

    def rank_of(self, task: str) -> int:
        """The rank of a task's own updates; 0: it has none."""
        found = (rank for pattern, rank in self.task_ranks if re.fullmatch(pattern, task))
        return next(found, self.task_rank)


@dataclasses.dataclass(frozen=True)
class MtlLoraSpec:
    """MTL-LoRA (Yang et al., AAAI 2025): A and `ups` B in common; for each task a matrix between, and shares of the B.

    `scale` is s itself. The shares are a softmax at `temperature`. The defaults of both are the paper's.
    """

    rank: int
    scale: float
    targets: tuple[str, ...]
    ups: int = 3
    temperature: float = 0.1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _ = self.shared
        if self.ups < 1:
            raise SpecError(f"ups {self.ups}: must be at least 1")
        if not self.temperature > 0:
            raise SpecError(f"temperature {self.temperature}: must be above 0")

    @functools.cached_property
    def shared(self) -> LoraSpec:
        """The specification of what serves all tasks; it refuses what is no rank or scale."""
        return LoraSpec(self.rank, self.scale, self.targets, self.dropout)


@dataclasses.dataclass(frozen=True)
class TaskAdapters:
    """What was put into a base, kept on it: enough to put it there again, and the route of its layers."""

    spec: MtloraSpec | MtlLoraSpec
    names: dict[str, str]
    tasks: tuple[str, ...]
    route: TaskRouter


def adapt_tasks(
    base: nn.Module,
    spec: MtloraSpec | MtlLoraSpec,
    names: Mapping[str, str],
    tasks: Sequence[str],
    route: TaskRouter,
) -> dict[str, int]:
    """Freeze `base`, put the updates of all tasks into it, and return {target: rank}.

    A task's own update has its layer's name and the task's: encoder.layer.5.output.dense.movie. The layers take each
    row's task from `route`, a number in the order of `tasks`. Raises SpecError as `adapt` does, and where a task
    adapter has no place.
    """
    _check_tasks(tasks)
    match spec:
        case MtloraSpec():
            _fork(base, spec, names, tasks, route)
        case MtlLoraSpec():
            _mix(base, spec, names, tasks, route)
    base.task_adapters = TaskAdapters(spec, dict(names), tuple(tasks), route)  # type: ignore[assignment]
    return {name: update.rank for name, update in named_updates(base)}


def task_adapters(base: nn.Module) -> TaskAdapters | None:
    """What `adapt_tasks` put into a base, if it did."""
    found = getattr(base, "task_adapters", None)
    return found if isinstance(found, TaskAdapters) else None


def task_tensors(base: nn.Module) -> dict[str, nn.Parameter]:
    """Every adapter tensor by its name in the unadapted network: what is saved of an adaptation for several tasks."""
    return {
        f"{name}.{key}.{part}": tensor
        for name, layer in adapted_layers(base)
        for key, update in layer.low_rank()
        for part, tensor in update.named_parameters()
    }


def groups_of(base: nn.Module) -> dict[str, int]:
    """Adapter parameters by what they serve, `shared` or a task's name: they add up to all of the adapter's."""
    plan = task_adapters(base)
    groups = dict.fromkeys(("shared", *(plan.tasks if plan else ())), 0)
    for _, layer in adapted_layers(base):
        for key, update in layer.low_rank():
            whole = sum(tensor.numel() for tensor in update.parameters())
            if isinstance(update, MtlLoraUpdate):
                for task in update.tasks:
                    own = sum(tensor.numel() for tensor in update.of_task(task))
                    groups[task] += own
                    whole -= own
            groups[key if isinstance(layer, MtLoraLinear) and key != SHARED else "shared"] += whole
    return groups


def _fork(base: nn.Module, spec: MtloraSpec, names: Mapping[str, str], tasks: Sequence[str], route: TaskRouter) -> None:
    ranks = _task_ranks(spec, tasks)
    order = [name for name, _ in base.named_modules()]
    adapt(base, spec.shared, names)
    forked = _forked(order, {name for name, _ in adapted_layers(base)}, spec, names)
    for index, module in enumerate(forked):
        layer = _linear(base.get_submodule(module), module, "MTLoRA")
        updates = dict(layer.low_rank())
        if SHARED not in updates:
            raise SpecError(f"{module}: parts of a fused projection never fork")
        weight, where = layer.weight, updates[SHARED].where
        for task, rank in ranks.items():
            most = min(where.of(weight.detach()).shape)
            if rank > most:
                raise SpecError(f"task_rank {rank}: above min(inputs, outputs) = {most} of {target_name(module, task)}")
            updates[task] = LowRankUpdate(weight, where, rank, spec.task_scale)
        both = spec.mode == "both"
        replace(base, module, MtLoraLinear(layer.base, updates, tasks, route, both, index == 0, layer.dropout))


def _mix(base: nn.Module, spec: MtlLoraSpec, names: Mapping[str, str], tasks: Sequence[str], route: TaskRouter) -> None:
    adapt(base, spec.shared, names)
    for module, adapted in list(adapted_layers(base)):
        layer = _linear(adapted, module, "MTL-LoRA")
        updates = {
            key: MtlLoraUpdate(
                layer.weight, update.where, spec.rank, spec.scale, tasks, spec.ups, spec.temperature, route
            )
            for key, update in layer.low_rank()
        }
        replace(base, module, MtlLoraLinear(layer.base, updates, spec.dropout))


def _linear(layer: nn.Module, name: str, method: str) -> LoraLinear:
    if not isinstance(layer, LoraLinear):
        kind = type(layer.base).__name__
        raise SpecError(f"{name}: {method} has a form for tasks on linear layers only, not on {kind}")
    return layer


def _forked(order: list[str], adapted: set[str], spec: MtloraSpec, names: Mapping[str, str]) -> list[str]:
    """The adapted modules that fork, in the network's order: those of the last blocks, but for query, key and value."""
    blocks = _blocks(order)
    if spec.blocks > len(blocks):
        raise SpecError(f"blocks {spec.blocks}: the network has {len(blocks)}")
    attention = [re.sub(r"\[\d+/\d+\]$", "", names[name]) for name in _NEVER_FORK if name in names]
    able = [name for name in order if name in adapted and not any(re.fullmatch(one, name) for one in attention)]
    if not able:
        raise SpecError(
            f"targets {', '.join(spec.targets)}: query, key and value never fork, so that task adapters have no place; "
            "add output, ffn_up or ffn_down"
        )
    last = {name for block in blocks[-spec.blocks :] for name in block}
    forked = [name for name in able if name in last]
    if not forked:
        raise SpecError(f"blocks {spec.blocks}: no target is in the last; the first that could fork is {able[-1]}")
    return forked


def _blocks(order: list[str]) -> list[list[str]]:
    """The modules of every block, block by block: of the series of numbered modules that has the most inside it.

    encoder.layer.5, layers.5, h.5, and of a convolutional network its stages, as blocks.5 or layer4.
    """
    found = [(match[1], int(match[2]), name) for name in order if (match := _BLOCK.match(name))]
    if not found:
        raise SpecError("blocks: the network has no numbered blocks, so none is the last")
    ((prefix, _),) = Counter(prefix for prefix, _, _ in found).most_common(1)
    numbers = sorted({number for other, number, _ in found if other == prefix})
    return [[name for other, own, name in found if (other, own) == (prefix, number)] for number in numbers]


def _task_ranks(spec: MtloraSpec, tasks: Sequence[str]) -> dict[str, int]:
    for pattern, _ in spec.task_ranks:
        if not any(re.fullmatch(pattern, task) for task in tasks):
            near = difflib.get_close_matches(pattern, tasks, n=1, cutoff=0.3)
            raise SpecError(f"task_ranks {pattern}: matches no task; {f'did you mean {near[0]}?' if near else tasks}")
    ranks = {task: spec.rank_of(task) for task in tasks}
    if not any(ranks.values()):
        raise SpecError("task_rank 0: no task has an adapter; that is lora=shared")
    return {task: rank for task, rank in ranks.items() if rank}


def _check_tasks(tasks: Sequence[str]) -> None:
    if not tasks or len(set(tasks)) < len(tasks):
        raise SpecError(f"tasks {', '.join(tasks) or 'none'}: one name for each")
    for task in tasks:  # they name modules
        taken = task in (SHARED, "shared") or hasattr(nn.ModuleDict(), task) or hasattr(nn.ParameterDict(), task)
        if taken or not re.fullmatch("[A-Za-z0-9_]+", task):
            raise SpecError(f"task {task}: a name of letters, digits and _, other than all, shared, keys, pop and such")
