"""Puts low-rank updates into a network: finds the targets, checks them, and replaces their layers."""

import dataclasses
import difflib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping

from torch import nn

from harness.base_layers.kinds import is_conv1d, is_read_only
from harness.base_layers.quantized import QuantizedLinear
from harness.lora.adapted import replace, target_name
from harness.lora.errors import SpecError
from harness.lora.layers import Adapted, LoraConv, LoraEmbedding, LoraLinear
from harness.lora.spec import LoraSpec
from harness.lora.update import LowRankUpdate, WeightSlice, frozen_weight
from harness.lora.variants import PlannedUpdate
from harness.lora.weight_space_layers import (
    LoraAttention,
    LoraExperts,
    LoraKernel,
    LoraRecurrent,
    expert_slices,
    recurrent_weights,
)

log = logging.getLogger(__name__)

ALL_LINEAR = "all-linear"
"""As a target: every name of the model's whose layers are linear, fused projections of attention included."""
_PART = re.compile(r"\[(\d+)/(\d+)\]$")


@dataclasses.dataclass(frozen=True)
class AdapterTarget:
    """A matrix to adapt: its name in records, its module, the key of its update there, and the slice of the weight."""

    name: str
    module: str
    key: str
    where: WeightSlice


def adapt(base: nn.Module, spec: LoraSpec, names: Mapping[str, str]) -> dict[str, int]:
    """Freeze `base`, put updates into every module that a target names, and return {target: rank}.

    `names` maps target names to patterns that must match a module's whole name; a pattern that ends in [i/n] means
    the i-th of n equal parts of a fused projection. A target that is no such name is taken as a pattern itself.
    Raises SpecError for a target or a pattern of the specification that matches nothing, for a module without a
    low-rank form, and for a rank above min(inputs, outputs).
    """
    base.requires_grad_(False)
    targets = find_targets(base, spec.targets, names, spec)
    _check_patterns(spec, targets)
    _check_tied(base, targets)
    method, train_a = spec.method, spec.method.train_a is not False
    updates: dict[str, dict[str, LowRankUpdate]] = {}
    ranks = {target.name: rank for target in targets if (rank := spec.rank_at(target.name))}
    if not ranks:
        raise SpecError("ranks: every layer has rank 0; lora=head trains the head alone")
    for target in targets:
        if not (rank := ranks.get(target.name, 0)):
            continue
        log.debug("%s: rank %d", target.name, rank)
        layer, where = base.get_submodule(target.module), target.where
        rows, scale = _rows_of_a(layer, target, spec, rank), spec.scale_at(target.name, rank)
        weight = frozen_weight(layer, where.weight)
        update = method.update(weight, where, rows, scale, train_a=train_a, by_alpha=spec.alpha is not None)
        if isinstance(layer, nn.Embedding):
            update.swap_start()
        updates.setdefault(target.module, {})[target.key] = update
    for module, by_key in updates.items():
        layer = base.get_submodule(module)
        adapted = adapted_layer(layer, module, by_key, dropout=spec.dropout, conv_form=spec.conv_form)
        replace(base, module, adapted)
    return ranks


def highest_ranks(base: nn.Module, spec: LoraSpec, names: Mapping[str, str]) -> dict[str, int]:
    """The highest rank that each target can have, by its matrix and by the variant.

    Raises SpecError as `adapt` does, and for a target that can have none.
    """
    return {
        target.name: _highest_rank(base.get_submodule(target.module), target, spec)
        for target in find_targets(base, spec.targets, names, spec)
    }


def _highest_rank(layer: nn.Module, target: AdapterTarget, spec: LoraSpec) -> int:
    _rows_of_a(layer, target, spec, spec.first_rank(1))
    fits, above = 1, min(target.where.of(frozen_weight(layer, target.where.weight)).shape) + 1
    while above - fits > 1:
        middle = (fits + above) // 2
        try:
            _rows_of_a(layer, target, spec, spec.first_rank(middle))
            fits = middle
        except SpecError:
            above = middle
    return fits


def find_targets(
    base: nn.Module, targets: Iterable[str], names: Mapping[str, str], spec: LoraSpec
) -> list[AdapterTarget]:
    """Every matrix that the targets name, each once, in the order of the targets and of the network."""
    found: dict[str, AdapterTarget] = {}
    taken: dict[str, list[WeightSlice]] = {}
    for target in expanded(base, targets, names):
        for module, index, count in _matches(base, target, names):
            for each in _targets_in(base, module, target, index=index, count=count, spec=spec):
                if each.name in found:
                    continue
                if any(_overlap(each.where, other) for other in taken.setdefault(each.module, [])):
                    raise SpecError(f"target {target}: {each.name} is adapted already, as a whole or in other parts")
                taken[each.module].append(each.where)
                found[each.name] = each
    return list(found.values())


def expanded(base: nn.Module, targets: Iterable[str], names: Mapping[str, str]) -> Iterator[str]:
    """The targets, `all-linear` as what it stands for where it is no name. Raises SpecError where there is nothing."""
    for target in targets:
        if target != ALL_LINEAR or target in names:
            yield target
            continue
        modules = {name: [module for module, _, _ in _matches(base, name, names)] for name in names}
        linear = [name for name, found in modules.items() if all(_is_linear(base, module) for module in found)]
        if not linear:
            raise SpecError(f"target {target}: the base has no linear layers that can be adapted{_valid(names)}")
        yield from linear


def _valid(names: Mapping[str, str]) -> str:
    return f"; valid: {', '.join(names)}" if names else "; lora=full trains the base as it is, lora=head the head alone"


def _is_linear(base: nn.Module, module: str) -> bool:
    layer = base.get_submodule(module)
    return is_conv1d(layer) or isinstance(layer, nn.Linear | nn.MultiheadAttention)


def _matches(base: nn.Module, target: str, names: Mapping[str, str]) -> list[tuple[str, int, int]]:
    pattern, index, count = names.get(target, target), 0, 1
    if part := _PART.search(pattern):
        index, count = int(part[1]), int(part[2])
        pattern = pattern[: part.start()]
    try:
        found = [name for name, _ in base.named_modules() if name and re.fullmatch(pattern, name)]
    except re.error as error:
        raise SpecError(f"target {target}: {error}") from None
    if not found and target in names:
        raise SpecError(f"target {target}: the pattern {pattern} matches no module")
    if not found:
        near = difflib.get_close_matches(target, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else _valid(names)
        raise SpecError(f"target {target}: no such name, and as a pattern it matches no module{hint}")
    return [(name, index, count) for name in found]


def _targets_in(
    base: nn.Module, module: str, target: str, *, index: int, count: int, spec: LoraSpec
) -> list[AdapterTarget]:
    """The matrices of a module that a target names; the output projection of fused attention belongs to its parent."""
    parent, _, child = module.rpartition(".")
    if child == "out_proj" and isinstance(base.get_submodule(parent), nn.MultiheadAttention):
        outputs = base.get_submodule(module).get_parameter("weight").shape[0]
        return [AdapterTarget(module, parent, "out_proj", WeightSlice("out_proj.weight", 0, outputs))]
    if hasattr(base.get_submodule(parent), "torch_multi_head_self_attention"):  # WavLM's
        raise SpecError(
            f"target {target}: {parent} takes the weight out of {child} and never calls it; adapt other layers"
        )
    if is_read_only(base, module):
        rule = f"Mamba's kernels take the weight out of {module} and do not call it; PEFT refuses it, too"
        raise SpecError(f"target {target}: {rule}; adapt other layers")
    layer = base.get_submodule(module)
    if count > 1:
        key = target if target.isidentifier() else f"part{index}of{count}"
        return [AdapterTarget(f"{module}.{key}", module, key, _part(layer, module, index, count))]
    return [
        AdapterTarget(target_name(module, key), module, key, where)
        for key, where in _whole(layer, module, spec).items()
    ]


def _whole(layer: nn.Module, name: str, spec: LoraSpec) -> dict[str, WeightSlice]:
    """Every matrix of a layer, by its kind."""
    match layer:
        case nn.Linear():
            return {"all": WeightSlice("weight", 0, layer.out_features)}
        case nn.Embedding():
            return {"all": WeightSlice("weight", 0, layer.embedding_dim, transposed=True)}
        case nn.Conv1d() | nn.Conv2d():
            return {"all": _kernel(layer, name, spec)}
        case nn.LSTM() | nn.GRU():
            return dict(_gates(layer, spec.each_gate))
        case nn.MultiheadAttention():
            if layer.in_proj_weight is None:
                raise SpecError(f"{name}: its projections differ in size; adapt its parts, as in {name}[0/3]")
            return {"all": WeightSlice("in_proj_weight", 0, layer.in_proj_weight.shape[0])}
    if is_conv1d(layer):
        return {"all": WeightSlice("weight", 0, layer.get_parameter("weight").shape[1], transposed=True)}
    if experts := expert_slices(layer):
        return experts
    raise SpecError(
        f"{name}: {type(layer).__name__} has no low-rank form here; Linear, Embedding, Conv1d, Conv2d, LSTM, GRU, "
        "MultiheadAttention and transformers' experts have"
    )


def _kernel(layer: nn.Conv1d | nn.Conv2d, name: str, spec: LoraSpec) -> WeightSlice:
    if spec.conv_form == "branch":
        return WeightSlice("weight", 0, layer.out_channels)
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size[0] != layer.kernel_size[1]:
        raise SpecError(f"{name}: loralib's factorisation is one of square two-dimensional kernels")
    rows = layer.out_channels * layer.kernel_size[0]
    return WeightSlice("weight", 0, rows, rows=rows)


def _gates(layer: nn.LSTM | nn.GRU, each_gate: bool) -> Iterator[tuple[str, WeightSlice]]:
    gates = (4 if isinstance(layer, nn.LSTM) else 3) if each_gate else 1
    for weight in recurrent_weights(layer):
        size = layer.get_parameter(weight).shape[0] // gates
        for gate in range(gates):
            yield f"{weight}_gate{gate}" if each_gate else weight, WeightSlice(weight, gate * size, (gate + 1) * size)


def _part(layer: nn.Module, name: str, index: int, count: int) -> WeightSlice:
    """One of several equal parts of a fused projection."""
    if index >= count:
        raise SpecError(f"{name}: part {index} of {count}; the last is {count - 1}")
    if isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is None:
        if count != 3:
            raise SpecError(f"{name}: query, key and value are 3 parts, not {count}")
        weight = ("q_proj_weight", "k_proj_weight", "v_proj_weight")[index]
        return WeightSlice(weight, 0, layer.get_parameter(weight).shape[0])
    transposed = is_conv1d(layer)
    if not transposed and not isinstance(layer, nn.Linear | nn.MultiheadAttention):
        raise SpecError(f"{name}: {type(layer).__name__} is not a fused linear projection")
    weight = "in_proj_weight" if isinstance(layer, nn.MultiheadAttention) else "weight"
    outputs = frozen_weight(layer, weight).shape[1 if transposed else 0]
    if outputs % count:
        raise SpecError(f"{name}: {outputs} outputs are not {count} equal parts")
    size = outputs // count
    return WeightSlice(weight, index * size, (index + 1) * size, transposed)


def _rows_of_a(layer: nn.Module, target: AdapterTarget, spec: LoraSpec, rank: int) -> int:
    """The rows of A at that rank: in loralib's factorisation k for each unit of rank, else one.

    Raises SpecError for a rank that is too high, and where the variant is not supported.
    """
    weight, where = frozen_weight(layer, target.where.weight), target.where
    times = 1 if where.rows is None else where.rows // len(weight)
    highest = min(where.of(weight.detach()).shape) // times
    if rank > highest:
        raise SpecError(f"rank {rank}: above min(inputs, outputs) = {highest} of {target.name}")
    if isinstance(layer, QuantizedLinear) and spec.method.changes_base:
        raise SpecError(f"{target.name}: {spec.variant} takes its start out of the weight, which is held in few bits")
    planned = PlannedUpdate(target.name, layer, where, rank * times, highest * times, _reads_rows(layer, spec))
    for check in spec.method.checks:
        check(planned)
    return rank * times


def _reads_rows(layer: nn.Module, spec: LoraSpec) -> bool:
    """Return whether a layer's input is a matrix with a row for each position or patch."""
    return isinstance(layer, nn.Linear) or is_conv1d(layer) or _plain_conv(layer, spec)


def _plain_conv(layer: nn.Module, spec: LoraSpec) -> bool:
    """Return whether a convolution's patches follow from its own arguments: one group, and no padding of its own
    making.
    """
    if not isinstance(layer, nn.Conv1d | nn.Conv2d) or layer.groups > 1 or spec.conv_form != "branch":
        return False
    return type(layer).forward in (nn.Conv1d.forward, nn.Conv2d.forward)


def adapted_layer(
    layer: nn.Module, name: str, updates: dict[str, LowRankUpdate], *, dropout: float = 0.0, conv_form: str = "branch"
) -> Adapted:
    """The adapted form of a layer, by its kind."""
    match layer:
        case nn.Conv1d() | nn.Conv2d() if layer.groups == 1 and conv_form == "branch":
            return LoraConv(layer, updates, dropout)
        case nn.Linear():
            return LoraLinear(layer, updates, dropout)
    if is_conv1d(layer):
        return LoraLinear(layer, updates, dropout)
    if dropout:
        raise SpecError(f"{name}: dropout {dropout} needs a branch beside numbers; {type(layer).__name__} has none")
    if expert_slices(layer):
        return LoraExperts(layer, updates)
    match layer:
        case nn.Embedding():
            if layer.max_norm is not None:
                raise SpecError(f"{name}: this embedding shortens its own vectors (max_norm)")
            return LoraEmbedding(layer, updates)
        case nn.Conv1d() | nn.Conv2d():
            return LoraKernel(layer, updates)
        case nn.LSTM() | nn.GRU():
            return LoraRecurrent(layer, updates)
        case _:
            assert isinstance(layer, nn.MultiheadAttention)
            return LoraAttention(layer, updates)


def _overlap(one: WeightSlice, other: WeightSlice) -> bool:
    return (
        (one.weight, one.expert) == (other.weight, other.expert) and one.offset < other.stop and other.offset < one.stop
    )


def _check_patterns(spec: LoraSpec, targets: list[AdapterTarget]) -> None:
    """A pattern that matches no layer is a mistake; one whose layers all went to earlier patterns has no effect."""
    for key, patterns in (("ranks", spec.ranks), ("scales", spec.scales), ("alphas", spec.alphas)):
        left = {target.name for target in targets}
        for pattern, value in patterns:
            matched = {target.name for target in targets if re.fullmatch(pattern, target.name)}
            if not matched:
                near = difflib.get_close_matches(pattern, [target.name for target in targets], n=1, cutoff=0.3)
                hint = f"; a layer's name: {near[0] if near else targets[0].name}"
                raise SpecError(f"{key} {pattern}: matches none of the targets' layers{hint}")
            if key != "ranks" and not any(spec.final_rank_at(name) for name in matched):
                log.warning("lora.%s: %s has no effect, all its layers have rank 0", key, pattern)
            if not matched & left:
                log.warning("lora.%s: %s has no effect, earlier patterns match all its layers", key, pattern)
            log.debug("lora.%s: %s gives %s to %d layers", key, pattern, value, len(matched & left))
            left -= matched


def _check_tied(base: nn.Module, targets: list[AdapterTarget]) -> None:
    """A weight that two modules share would be changed in one of them only, and merged into both."""
    names: dict[int, list[str]] = {}
    for name, tensor in base.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
    for target in targets:
        shared = names.get(id(frozen_weight(base.get_submodule(target.module), target.where.weight)), ())
        if len(shared) > 1:
            tied = " = ".join(shared)
            raise SpecError(f"{target.name}: its weight is shared, {tied}; an adapter would be in one only")
