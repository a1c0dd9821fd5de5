"""Adapters read from PEFT's format, and from what harness.lora.peft_format writes where PEFT has no adapter."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.base_layers.kinds import is_conv1d
from harness.lora.adapted import replace
from harness.lora.adapter_config import PREFIX, check_fields, peft_names, read_config, read_tensors, take_modules
from harness.lora.errors import SpecError
from harness.lora.inject import adapted_layer
from harness.lora.multitask import adapt_tasks, task_tensors
from harness.lora.multitask_specs import TaskForkSpec
from harness.lora.peft_experts import experts_factors, parameters_named, wrappers
from harness.lora.peft_format import FORMAT, TASK_SPECS, known_to_peft
from harness.lora.routing import TaskRouter
from harness.lora.update import LowRankUpdate, ScaledUpdate, WeightSlice, frozen_weight
from harness.lora.variants.dora import DoraUpdate
from harness.lora.weight_space_layers import expert_slices

_SLICE = [field.name for field in dataclasses.fields(WeightSlice) if field.name != "offset"]  # `start` in the file
_PEFT_DEFAULT = 8  # of r and of lora_alpha, where a file leaves them out
_PARTS = ("lora_A", "lora_B", "lora_E", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")


def import_adapter(base: nn.Module, folder: Path) -> dict[str, int]:
    """Put the adapter of a folder into the plain network `base` and return {module: rank}.

    Reads PEFT's LoRA (with DoRA and rsLoRA, without trained biases), its AdaLoRA, and what peft_format writes beside
    them; where that is of several tasks, `task_adapters(base).route` says which. Raises SpecError for another type, a
    field that asks for more than that, a module that is not there, or tensors that do not fit.
    """
    config, tensors = read_config(folder), read_tensors(folder)
    base.requires_grad_(False)
    if config.get("peft_type") not in ("LORA", "ADALORA", FORMAT):
        raise SpecError(f"{folder}: peft_type {config.get('peft_type')}; LORA and ADALORA can be read")
    if "tasks" in config and config["peft_type"] == FORMAT:
        return _import_tasks(base, config, tensors)
    if config["peft_type"] == FORMAT:
        return _import_own(base, config, tensors)
    check_fields(config, folder)
    return _import_peft(base, config, peft_names(tensors), folder)


def _import_own(base: nn.Module, config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, int]:
    ranks = {}
    for name, described in config["layers"].items():
        layer = _module(base, name)
        updates = {}
        for key, facts in described.items():
            where = WeightSlice(offset=facts["start"], **{field: facts[field] for field in _SLICE if field in facts})
            parts = {part: tensors.get(f"{name}.{key}.{part}") for part in "ABmc"}
            updates[key] = _update(layer, name, where, facts["scale"], parts)
            ranks[name] = facts["rank"]
        dropout = config["lora_dropout"] if isinstance(layer, nn.Linear) or is_conv1d(layer) else 0.0
        form = config["conv_form"][name]
        replace(base, name, adapted_layer(layer, name, updates, dropout=dropout, conv_form=form))
    return ranks


def _import_tasks(base: nn.Module, config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, int]:
    values = config["spec"] | {"targets": tuple(config["spec"]["targets"])}
    if "task_ranks" in values:
        values["task_ranks"] = tuple((pattern, rank) for pattern, rank in values["task_ranks"])
    if values.get("train"):
        values["train"] = tuple(values["train"])
    # Files from before MTLoRA was as published call the fork by its name.
    spec = TaskForkSpec(**values) if "blocks" in values else TASK_SPECS[config["method"]](**values)
    stages, every = config.get("stages", ()), config.get("every", False)
    ranks = adapt_tasks(base, spec, config["names"], config["tasks"], TaskRouter(), stages=stages, every=every)
    own = task_tensors(base)
    if {key: tensor.shape for key, tensor in own.items()} != {key: tensor.shape for key, tensor in tensors.items()}:
        raise SpecError("the adapter's tensors do not fit the network's layers")
    with torch.no_grad():
        for key, tensor in own.items():
            tensor.copy_(tensors[key])
    return ranks


def _import_peft(base: nn.Module, config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> dict[str, int]:
    whole = [key for key in tensors if not key.removesuffix(".weight").endswith(_PARTS)]
    of_base = {key.removeprefix(PREFIX).replace(".base_layer.", "."): tensors[key] for key in whole}
    adapted_whole = [key.removeprefix(PREFIX).partition(".base_layer.")[0] for key in whole if ".base_layer." in key]
    take_modules(base, [*(config.get("modules_to_save") or ()), *adapted_whole], of_base, folder)
    adapted_keys = tensors.keys() - set(whole)
    names = {re.sub(r"\.lora_.*", "", key.removeprefix(PREFIX)) for key in adapted_keys}
    ranks: dict[str, int] = {}
    for module, weights in parameters_named(base, config.get("target_parameters") or ()).items():
        ranks |= _import_experts(base, module, weights, config, tensors)
        names -= {f"{module}{place}" for _, place in wrappers(weights)}
    if config.get("target_modules") and not names and not ranks:
        raise SpecError(f"{folder}: the file holds no A and no B of any layer")
    for name in sorted(names):
        down, up, magnitude = _peft_factors(tensors, name)
        if down is None or up is None:
            raise SpecError(f"{folder}: {name} has no A or no B")
        if name.endswith(".base_layer.out_proj"):
            if up.any():
                raise SpecError(f"{folder}: {name} is adapted, which PEFT adds twice; only in_proj can be read")
            continue
        if config["peft_type"] == "ADALORA" and not len(down):  # every rank of the layer was taken
            continue
        if bool(config.get("use_dora")) != (magnitude is not None):
            has = "no" if magnitude is None else "a"
            raise SpecError(f"{folder}: use_dora={bool(config.get('use_dora'))}, but {name} has {has} magnitude")
        layer = _module(base, name)
        transposed = is_conv1d(layer) or isinstance(layer, nn.Embedding)
        weight = "in_proj_weight" if isinstance(layer, nn.MultiheadAttention) else "weight"
        where = WeightSlice(weight, 0, up.shape[0], transposed)
        scale = _peft_scale(config, name, len(down))
        parts = {"A": down.flatten(1), "B": up.flatten(1), "m": magnitude}
        update = _update(layer, name, where, scale, parts)
        branch = not isinstance(layer, nn.Embedding | nn.MultiheadAttention)
        dropout = config.get("lora_dropout", 0.0) if branch else 0.0
        adapted = adapted_layer(layer, name, {"all": update}, dropout=dropout)
        if not known_to_peft(adapted):
            raise SpecError(f"{folder}: {name}: PEFT's branch has other padding or dilation than the layer; not read")
        replace(base, name, adapted)
        ranks[name] = len(down)
    return ranks


def _import_experts(
    base: nn.Module, module: str, weights: Sequence[str], config: dict[str, Any], tensors: dict[str, Tensor]
) -> dict[str, int]:
    layer, updates = _module(base, module), {}
    slices = expert_slices(layer)
    for weight, place in wrappers(weights):
        down, up, _ = _peft_factors(tensors, f"{module}{place}")
        if down is None or up is None:
            raise SpecError(f"{module}.{weight}: the adapter has no A or no B for it")
        factors = experts_factors(down, up, len(layer.get_parameter(weight)))
        scale = _peft_scale(config, f"{module}.{weight}", len(factors[0][0]))
        for number, (a, b) in enumerate(factors):
            key = f"{weight}_{number}"
            updates[key] = _update(layer, f"{module}.{key}", slices[key], scale, {"A": a, "B": b})
    replace(base, module, adapted_layer(layer, module, updates))
    return {f"{module}.{key}": update.rank for key, update in updates.items()}


def _peft_factors(tensors: dict[str, Tensor], name: str) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """A, B and DoRA's magnitude, AdaLoRA's values folded into A; under any of PEFT's names for them."""
    found: dict[str, Tensor | None] = {}
    for part in "AB":
        endings = (f"lora_{part}.weight", f"lora_embedding_{part}", f"lora_{part}")
        keys = [f"{PREFIX}{name}.{ending}" for ending in endings]
        found[part] = next((tensors[key] for key in keys if key in tensors), None)
    values = tensors.get(f"{PREFIX}{name}.lora_E")
    down = found["A"]
    if values is not None and down is not None:
        down = down * values
    return down, found["B"], tensors.get(f"{PREFIX}{name}.lora_magnitude_vector")


def _peft_scale(config: dict[str, Any], name: str, rank: int) -> float:
    if config["peft_type"] == "ADALORA":  # by the rank it started with, and never by zero
        return float(config.get("lora_alpha", _PEFT_DEFAULT) / (config.get("init_r", 12) + 1e-5))
    stated = _of_patterns(config.get("rank_pattern") or {}, name, config.get("r", _PEFT_DEFAULT))
    if rank not in stated:  # PEFT sorts patterns as it saves them: which of several counted is for the tensors to say
        raise SpecError(f"{name}: adapter_config.json gives it rank {stated[0]}, its tensors have rank {rank}")
    alpha = _of_patterns(config.get("alpha_pattern") or {}, name, config.get("lora_alpha", _PEFT_DEFAULT))[0]
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))


def _update(
    layer: nn.Module, name: str, where: WeightSlice, scale: float, parts: Mapping[str, Tensor | None]
) -> LowRankUpdate:
    """An update of the tensors of a file: A, B and, where it has them, DoRA's m or the factors c of the outputs."""
    given = {part: tensor for part, tensor in parts.items() if tensor is not None}
    if not {"A", "B"} <= given.keys():
        raise SpecError(f"{name}: the adapter has no A or no B for it")
    down, up = given["A"], given["B"]
    form = DoraUpdate if "m" in given else ScaledUpdate if "c" in given else LowRankUpdate
    update = form(frozen_weight(layer, where.weight), where, len(down), scale)
    if update.lora_A.shape != down.shape or update.lora_B.shape != up.shape:
        raise SpecError(f"{name}: the adapter's {tuple(up.shape)} and {tuple(down.shape)} do not fit the layer")
    with torch.no_grad():
        for part, tensor in given.items():
            own = update.get_parameter(f"lora_{part}")
            own.copy_(tensor.reshape(own.shape))
    return update


def _module(base: nn.Module, name: str) -> nn.Module:
    try:
        return base.get_submodule(name)
    except AttributeError:
        raise SpecError(f"{name}: the network has no such module") from None


def _of_patterns(patterns: Mapping[str, float], name: str, default: float) -> list[float]:
    """The values of the patterns that match the name or its end after a dot, as PEFT's get_pattern_key has it.

    The first one counts.
    """
    try:
        found = [value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", name)]
    except re.error as error:
        raise SpecError(f"adapter_config.json: pattern {error.pattern!r}: {error}") from None
    return found or [patterns.get(name, default)]
