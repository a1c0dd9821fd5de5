"""Low-rank adaptation for several tasks on one base: forks and mixtures put into a network, and their groups."""

import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from harness.lora.adapted import adapted_layers, named_updates, replace, target_name
from harness.lora.errors import SpecError
from harness.lora.inject import adapt
from harness.lora.layers import LoraConv, LoraLinear
from harness.lora.multitask_layers import MtlLoraLinear, MtlLoraUpdate, TaskForkLinear
from harness.lora.multitask_specs import ForkSpec, MtlLoraSpec, MtloraSpec, TaskForkSpec, TaskSpec
from harness.lora.multitask_streams import SHARED, Fork, StreamLayer, Streams
from harness.lora.routing import TaskRouter
from harness.lora.update import LowRankUpdate

_NEVER_FORK = ("query", "key", "value", "qkv")  # the attention map belongs to all tasks
_BLOCK = re.compile(r"(\D*)(\d+)(?:\.|$)")


@dataclasses.dataclass(frozen=True)
class TaskAdapters:
    """The updates injected into a base, kept on it: enough to inject them again, and the route of its layers.

    `trained` are the base's own parameters that are trained beside the updates.
    """

    spec: TaskSpec
    names: dict[str, str]
    tasks: tuple[str, ...]
    route: TaskRouter
    stages: tuple[str, ...] = ()
    every: bool = False
    trained: tuple[str, ...] = ()


def adapt_tasks(
    base: nn.Module,
    spec: TaskSpec,
    names: Mapping[str, str],
    tasks: Sequence[str],
    route: TaskRouter,
    *,
    stages: Sequence[str] = (),
    every: bool = False,
) -> dict[str, int]:
    """Freeze `base`, put the updates of all tasks into it, and return {target: rank}.

    A task's own update has its layer's name and the task's: encoder.layer.5.output.dense.movie. The layers take each
    row's task from `route`, a number in the order of `tasks`. With `every` each row has a stream of each task: for
    MTLoRA on a network that names in `stages` the last block of each stage, and takes from them a batch of the shared
    stream and behind it one of each task. Raises SpecError as `adapt` does, and where a task adapter has no place.
    """
    _check_tasks(tasks)
    plan = TaskAdapters(spec, dict(names), tuple(tasks), route, tuple(stages), every)
    trained = _INSERT[type(spec)](base, spec, plan)
    base.task_adapters = dataclasses.replace(plan, trained=trained)  # type: ignore[assignment]
    return {name: update.rank for name, update in named_updates(base)}


def task_adapters(base: nn.Module) -> TaskAdapters | None:
    """Return the updates that `adapt_tasks` injected into a base, or None."""
    found = getattr(base, "task_adapters", None)
    return found if isinstance(found, TaskAdapters) else None


def task_tensors(base: nn.Module) -> dict[str, nn.Parameter]:
    """Every adapter tensor by its name in the unadapted network: what is saved of an adaptation for several tasks.

    Parameters of the base that were trained as well stand under `base.` and their name.
    """
    plan, own = task_adapters(base), dict(base.named_parameters())
    return {
        f"{name}.{key}.{part}": tensor
        for name, layer in adapted_layers(base)
        for key, update in layer.low_rank()
        for part, tensor in update.named_parameters()
    } | {f"base.{name}": own[name] for name in (plan.trained if plan else ())}


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
            groups[key if isinstance(layer, Fork) and key != SHARED else "shared"] += whole
    return groups


def shared_parameters(base: nn.Module) -> list[nn.Parameter]:
    """The trained parameters of an adapted base that belong to no single task, in its order."""
    own = {
        id(tensor)
        for _, layer in adapted_layers(base)
        for key, update in layer.low_rank()
        for tensor in _of_single_tasks(layer, key, update)
    }
    return [tensor for tensor in base.parameters() if tensor.requires_grad and id(tensor) not in own]


def _of_single_tasks(layer: nn.Module, key: str, update: LowRankUpdate) -> Iterator[nn.Parameter]:
    if isinstance(update, MtlLoraUpdate):
        yield from (tensor for task in update.tasks for tensor in update.of_task(task))
    elif isinstance(layer, Fork) and key != SHARED:
        yield from update.parameters()


def _fork(base: nn.Module, spec: TaskForkSpec, plan: TaskAdapters) -> tuple[str, ...]:
    ranks = _task_ranks(spec, plan.tasks)
    last = _last_blocks(base, spec.blocks)
    adapt(base, spec.shared, plan.names)
    for index, module in enumerate(_forked(base, last, spec, plan.names)):
        layer = _linear(base.get_submodule(module), module, "a fork")
        updates = _with_tasks(layer, module, ranks, spec.task_scale)
        both = spec.mode == "both"
        fork = TaskForkLinear(
            layer.base, updates, tasks=plan.tasks, route=plan.route, both=both, first=index == 0, dropout=layer.dropout
        )
        replace(base, module, fork)
    return ()


def _fork_streams(base: nn.Module, spec: MtloraSpec, plan: TaskAdapters) -> tuple[str, ...]:
    streams, names = Streams(plan.tasks, plan.route, every=plan.every), plan.names
    blocks = plan.stages or _last_blocks(base, 1)
    ranks = _task_ranks(spec, plan.tasks)
    adapt(base, spec.shared, names)
    forked = _forked(base, blocks, spec, names)
    for block in blocks:
        inside = [name for name in forked if name.startswith(f"{block}.")]
        for module in inside:
            layer = base.get_submodule(module)
            if not isinstance(layer, LoraLinear | LoraConv):
                kind = type(layer.base).__name__
                raise SpecError(f"{module}: MTLoRA forks in linear layers and convolutions, not in {kind}")
            updates = _with_tasks(layer, module, ranks, spec.task_scale)
            first, last, both = module == inside[0], module == forked[-1], spec.mode == "both"
            fork = StreamLayer(layer.base, updates, streams, both=both, first=first, last=last, dropout=layer.dropout)
            replace(base, module, fork)
        if inside:
            streams.fork_in(base.get_submodule(block))
        if attention := _attention_before(base, inside, names):
            streams.attend_once(base.get_submodule(attention))
    return train_parts(base, spec.train)


def _with_tasks(
    layer: LoraLinear | LoraConv, module: str, ranks: Mapping[str, int], scale: float
) -> dict[str, LowRankUpdate]:
    """The shared update of a layer and a fresh one of each task."""
    updates = dict(layer.low_rank())
    if SHARED not in updates:
        raise SpecError(f"{module}: parts of a fused projection never fork")
    weight, where = layer.base.get_parameter("weight"), updates[SHARED].where
    for task, rank in ranks.items():
        most = min(where.of(weight.detach()).shape)
        if rank > most:
            raise SpecError(f"task_rank {rank}: above min(inputs, outputs) = {most} of {target_name(module, task)}")
        updates[task] = LowRankUpdate(weight, where, rank, scale)
    return updates


def _attention_before(base: nn.Module, forked: Sequence[str], names: Mapping[str, str]) -> str | None:
    """The module of attention whose output the first of the forked layers projects."""
    if not forked or not re.fullmatch(names.get("output", ""), forked[0]):
        return None
    maps = [name for name, _ in base.named_modules() if any(re.fullmatch(one, name) for one in _of_maps(names))]
    near = {name.rpartition(".")[0] for name in maps if _beside(name.rpartition(".")[0], forked[0])}
    return near.pop() if len(near) == 1 else None


def _beside(attention: str, output: str) -> bool:
    """Return whether a projection is in the attention, or in a sibling: attention.self and attention.output."""
    return output.startswith((f"{attention}.", f"{attention.rpartition('.')[0]}.output."))


def _of_maps(names: Mapping[str, str]) -> list[str]:
    """The patterns of the layers that make the attention map."""
    return [re.sub(r"\[\d+/\d+\]$", "", names[name]) for name in _NEVER_FORK if name in names]


def _mix(base: nn.Module, spec: MtlLoraSpec, plan: TaskAdapters) -> tuple[str, ...]:
    adapt(base, spec.shared, plan.names)
    for module, adapted in list(adapted_layers(base)):
        layer = _linear(adapted, module, "MTL-LoRA")
        updates = {
            key: MtlLoraUpdate(
                layer.weight,
                update.where,
                spec.rank,
                spec.scale,
                tasks=plan.tasks,
                ups=spec.ups,
                temperature=spec.temperature,
                route=plan.route,
                diagonal=spec.task_matrix == "diagonal",
            )
            for key, update in layer.low_rank()
        }
        replace(base, module, MtlLoraLinear(layer.base, updates, spec.dropout))
    return ()


_INSERT: Mapping[type, Callable[[nn.Module, Any, TaskAdapters], tuple[str, ...]]] = {
    TaskForkSpec: _fork,
    MtloraSpec: _fork_streams,
    MtlLoraSpec: _mix,
}
"""By kind of specification: what puts it into a base, and names what else of the base it trains."""


def _linear(layer: nn.Module, name: str, method: str) -> LoraLinear:
    if not isinstance(layer, LoraLinear):
        kind = type(layer.base).__name__
        raise SpecError(f"{name}: {method} has a form for tasks on linear layers only, not on {kind}")
    return layer


def _forked(base: nn.Module, blocks: Sequence[str], spec: ForkSpec, names: Mapping[str, str]) -> list[str]:
    """The adapted modules that fork, in the network's order: those of the blocks, but for query, key and value."""
    adapted = [name for name, _ in adapted_layers(base)]
    able = [name for name in adapted if not any(re.fullmatch(one, name) for one in _of_maps(names))]
    if not able:
        raise SpecError(
            f"targets {', '.join(spec.targets)}: query, key and value never fork, so that task adapters have no place; "
            "add output, ffn_up or ffn_down"
        )
    forked = [name for name in able if name.startswith(tuple(f"{block}." for block in blocks))]
    if not forked:
        raise SpecError(f"blocks {len(blocks)}: no target is in the last; the first that could fork is {able[-1]}")
    return forked


def _last_blocks(base: nn.Module, count: int) -> list[str]:
    """The names of the last `count` blocks. Raises SpecError where there are not so many."""
    blocks = _blocks([name for name, _ in base.named_modules()])
    if count > len(blocks):
        raise SpecError(f"blocks {count}: the network has {len(blocks)}")
    return [block[0] for block in blocks[-count:]]


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


def _task_ranks(spec: ForkSpec, tasks: Sequence[str]) -> dict[str, int]:
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


_TRAINED = {
    "patch_embed": r"(.*\.)?patch_embed(dings)?\..*",
    "position_bias": r".*\.relative_position_bias_table",
    "merging": r".*\.downsample\.reduction\..*",
}
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def train_parts(base: nn.Module, parts: Sequence[str] | None) -> tuple[str, ...]:
    """Let parts of a frozen base be trained, and return the names of their parameters; None: all parts that it has.

    Norms are those of layers; a batch norm's statistics would run over all streams. Raises SpecError for a part that
    the network does not have.
    """
    tensors = {name for name, _ in base.named_parameters() if ".updates." not in name and ".base." not in name}
    found = {part: {name for name in tensors if re.fullmatch(way, name)} for part, way in _TRAINED.items()}
    norms = [name for name, module in base.named_modules() if isinstance(module, _NORMS)]
    found["norms"] = {name for name in tensors if name.rpartition(".")[0] in norms}
    for part in parts or ():
        if not found[part]:
            raise SpecError(f"train {part}: the network has none that is not adapted")
    chosen = set().union(*(found[part] for part in (found if parts is None else parts)))
    for name in chosen:
        base.get_parameter(name).requires_grad_(True)
    return tuple(sorted(chosen))
