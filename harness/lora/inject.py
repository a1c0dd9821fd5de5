"""Putting low-rank branches into a network: which modules, in what order, and what that gave."""

import difflib
import logging
import re
from collections.abc import Iterator, Mapping

from torch import nn

from harness.lora.layers import LoraFused, LoraLinear, LoraPart, fan, is_linear
from harness.lora.spec import LoraSpec, SpecError

log = logging.getLogger(__name__)

_PART = re.compile(r"\[(\d+)/(\d+)\]$")


def adapt(base: nn.Module, spec: LoraSpec, names: Mapping[str, str]) -> dict[str, int]:
    """Freeze `base`, put a branch beside every module that a target names, and return {module: rank}.

    `names` maps target names to patterns that must match a module's whole name; a pattern that ends in [i/n] means
    the i-th of n equal parts of a fused projection. Raises SpecError for a target that is unknown or matches nothing,
    for a module that is not linear, and for a rank above min(inputs, outputs) of any module.
    """
    base.requires_grad_(False)
    ranks: dict[str, int] = {}
    matches = [(target, found) for target in spec.targets for found in _matches(base, target, names)]
    for target, (module, index, count) in matches:
        layer = base.get_submodule(module)
        _check(layer, module, spec.rank, count)
        if count == 1:
            _replace(base, module, LoraLinear(_linear(layer, module), spec.rank, spec.scale, spec.dropout))
            ranks[module] = spec.rank
        else:
            fused = layer if isinstance(layer, LoraFused) else LoraFused(layer, spec.scale, spec.dropout)
            _replace(base, module, fused)
            fused.add(target, index, count, spec.rank)
            ranks[f"{module}.{target}"] = spec.rank
        log.debug("%s: rank %d (target %s)", module, spec.rank, target)
    return ranks


def adapter_parameters(base: nn.Module) -> Iterator[nn.Parameter]:
    """Every A and B inside `base`."""
    for module in base.modules():
        if isinstance(module, LoraLinear | LoraPart):
            yield module.lora_A
            yield module.lora_B


def _matches(base: nn.Module, target: str, names: Mapping[str, str]) -> list[tuple[str, int, int]]:
    if target not in names:
        near = difflib.get_close_matches(target, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; valid: {', '.join(names)}"
        raise SpecError(f"target {target}: no such name{hint}")
    pattern, index, count = names[target], 0, 1
    if part := _PART.search(pattern):
        index, count = int(part[1]), int(part[2])
        pattern = pattern[: part.start()]
    found = [name for name, _ in base.named_modules() if re.fullmatch(pattern, name)]
    if not found:
        raise SpecError(f"target {target}: the pattern {pattern} matches no module")
    return [(name, index, count) for name in found]


def _check(layer: nn.Module, name: str, rank: int, count: int) -> None:
    inner = layer.base if isinstance(layer, LoraFused) else layer
    if not is_linear(inner):
        raise SpecError(f"{name}: {type(inner).__name__} has no low-rank form here; linear layers have")
    inputs, outputs = fan(inner)
    limit = min(inputs, outputs // count)
    if rank > limit:
        raise SpecError(f"rank {rank}: above min(inputs, outputs) = {limit} of {name}")


def _linear(layer: nn.Module, name: str) -> nn.Linear:
    if not isinstance(layer, nn.Linear):
        raise SpecError(f"{name}: {type(layer).__name__} is adapted in parts only")
    return layer


def _replace(base: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(base.get_submodule(parent), child, layer)
