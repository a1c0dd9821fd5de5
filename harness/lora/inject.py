"""Putting low-rank branches into a network: which modules, in what order, and what that gave."""

import difflib
import logging
import re
from collections.abc import Iterator, Mapping

from torch import nn

from harness.lora.delta import LoraConvDelta, LoraRecurrent
from harness.lora.layers import LoraConv, LoraFused, LoraLinear, fan, is_linear
from harness.lora.spec import LoraSpec, SpecError

log = logging.getLogger(__name__)

_PART = re.compile(r"\[(\d+)/(\d+)\]$")


def adapt(base: nn.Module, spec: LoraSpec, names: Mapping[str, str]) -> dict[str, int]:
    """Freeze `base`, put a branch beside every module that a target names, and return {module: rank}.

    `names` maps target names to patterns that must match a module's whole name; a pattern that ends in [i/n] means
    the i-th of n equal parts of a fused projection. Raises SpecError for a target that is unknown or matches nothing,
    for a module without a low-rank form, and for a rank above min(inputs, outputs) of any module.
    """
    base.requires_grad_(False)
    ranks: dict[str, int] = {}
    matches = [(target, found) for target in spec.targets for found in _matches(base, target, names)]
    for target, (module, index, count) in matches:
        layer = base.get_submodule(module)
        if count == 1:
            _replace(base, module, _adapted(layer, module, spec))
            ranks[module] = spec.rank
        else:
            _replace(base, module, _with_part(layer, module, spec, target, index, count))
            ranks[f"{module}.{target}"] = spec.rank
        log.debug("%s: rank %d (target %s)", module, spec.rank, target)
    return ranks


def adapter_parameters(base: nn.Module) -> Iterator[nn.Parameter]:
    """Every A and B inside `base`."""
    return (tensor for name, tensor in base.named_parameters() if ".lora_" in f".{name}")


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


def _adapted(layer: nn.Module, name: str, spec: LoraSpec) -> nn.Module:
    """The low-rank form of a whole layer, by its kind."""
    if isinstance(layer, nn.Linear):
        _check_rank(spec.rank, name, layer.in_features, layer.out_features)
        return LoraLinear(layer, spec.rank, spec.scale, spec.dropout)
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return _adapted_convolution(layer, name, spec)
    if isinstance(layer, nn.LSTM | nn.GRU):
        _refuse_dropout(name, spec)
        _check_rank(spec.rank, name, layer.input_size, layer.hidden_size)
        return LoraRecurrent(layer, spec.rank, spec.scale, spec.each_gate)
    if is_linear(layer):
        return _with_part(layer, name, spec, "all", 0, 1)
    raise SpecError(f"{name}: {type(layer).__name__} has no low-rank form here; Linear, Conv and LSTM or GRU have")


def _adapted_convolution(layer: nn.Conv1d | nn.Conv2d, name: str, spec: LoraSpec) -> nn.Module:
    if layer.groups > 1:
        raise SpecError(f"{name}: a convolution in {layer.groups} groups has no low-rank form here")
    _check_rank(spec.rank, name, layer.in_channels, layer.out_channels)
    if spec.conv_form == "branch":
        return LoraConv(layer, spec.rank, spec.scale, spec.dropout)
    _refuse_dropout(name, spec)
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size[0] != layer.kernel_size[1]:
        raise SpecError(f"{name}: loralib's factorisation is one of square two-dimensional kernels")
    return LoraConvDelta(layer, spec.rank, spec.scale)


def _with_part(layer: nn.Module, name: str, spec: LoraSpec, part: str, index: int, count: int) -> LoraFused:
    inner = layer.base if isinstance(layer, LoraFused) else layer
    if not is_linear(inner):
        raise SpecError(f"{name}: {type(inner).__name__} is not a fused linear projection")
    inputs, outputs = fan(inner)
    _check_rank(spec.rank, name, inputs, outputs // count)
    fused = layer if isinstance(layer, LoraFused) else LoraFused(layer, spec.scale, spec.dropout)
    fused.add(part, index, count, spec.rank)
    return fused


def _check_rank(rank: int, name: str, inputs: int, outputs: int) -> None:
    if rank > min(inputs, outputs):
        raise SpecError(f"rank {rank}: above min(inputs, outputs) = {min(inputs, outputs)} of {name}")


def _refuse_dropout(name: str, spec: LoraSpec) -> None:
    if spec.dropout:
        raise SpecError(f"{name}: dropout {spec.dropout} needs a branch; here the weight itself is changed")


def _replace(base: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(base.get_submodule(parent), child, layer)
