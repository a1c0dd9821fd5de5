"""Adapters written in PEFT's format: `peft.PeftModel.from_pretrained(base, folder)` reads them.

Every change is written as one that belongs to the *original* base: what a variant took out of a weight at its start is
put into the adapter (at twice the rank), AdaLoRA's values are folded into A, parts of a fused projection become one
matrix. Layers that PEFT has no adapter for are written by the same names; only harness.lora.peft_import reads them.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.base_layers.kinds import is_conv1d
from harness.lora.adapted import adapted_layers
from harness.lora.adapter_config import PREFIX, TENSORS
from harness.lora.layers import Adapted, LoraConv, LoraEmbedding, LoraLinear
from harness.lora.multitask import TaskAdapters, task_adapters, task_tensors
from harness.lora.multitask_specs import MtlLoraSpec, MtloraSpec, TaskForkSpec
from harness.lora.peft_experts import has_peft_form, peft_factors
from harness.lora.update import LowRankUpdate, frozen_weight
from harness.lora.variants.dora import DoraUpdate
from harness.lora.weight_space_layers import LoraAttention, LoraExperts, LoraKernel

FORMAT = "lora-harness"
"""What stands in adapter_config.json, in place of PEFT's type, where PEFT has no such adapter."""


def export_adapter(base: nn.Module, address: str, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors for the adapted network `base`, whose address is noted.

    Names inside are those of the unadapted network: the adapter loads on the plain base.
    """
    if (plan := task_adapters(base)) is not None:
        _write(_tasks_config(address, plan), task_tensors(base), folder)
        return
    layers = dict(adapted_layers(base))
    foreign = [name for name, layer in layers.items() if not known_to_peft(layer)]
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    described: dict[str, dict[str, Any]] = {}
    for name, layer in layers.items():
        if foreign:
            described[name] = {key: _describe(update) for key, update in layer.low_rank()}
            tensors |= {f"{name}.{key}.{part}": tensor for key, part, tensor in _own_tensors(layer)}
        else:
            for target, found, rank, scale in _peft_tensors(name, layer):
                if rank:
                    tensors |= found
                    ranks[target], alphas[target] = rank, scale * rank
    if foreign:
        config = _foreign_config(address, described, layers)
    else:
        modules = [name for name in ranks if name in layers]
        config = _base_fields(base, address) | _peft_config(peft_targets(base, modules), ranks, alphas, layers)
        if parameters := [name for name in ranks if name not in layers]:
            config["target_parameters"] = parameters
    _write(config, tensors, folder)


def _write(config: dict[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, folder / TENSORS)


def known_to_peft(layer: Adapted) -> bool:
    """Return whether PEFT has an adapter for the update of a layer."""
    forms = {_form(update) for _, update in layer.low_rank()}
    if "scaled" in forms:
        return False
    match layer:
        case LoraLinear():
            parts = len(layer.low_rank()) > 1 or next(iter(layer.updates)) != "all"
            return forms == {"plain"} or not parts
        case LoraConv():
            conv = layer.base
            assert isinstance(conv, nn.Conv1d | nn.Conv2d)
            # PEFT's branch takes neither of these over from the layer: it would compute something else.
            return all(size == 1 for size in conv.dilation) and conv.padding_mode == "zeros"
        case LoraExperts():
            return has_peft_form(layer)
        case LoraAttention():
            # PEFT (0.21) adds the output projection's change twice in its forward pass: not what was trained here.
            weights = {update.where.weight for _, update in layer.low_rank()}
            return weights == {"in_proj_weight"} and forms == {"plain"}
    return isinstance(layer, LoraEmbedding)


def _peft_tensors(name: str, layer: Adapted) -> Iterator[tuple[str, dict[str, Tensor], int, float]]:
    """Yield PEFT's tensors for a layer, or for each weight of experts: its name there, tensors, rank and scale."""
    if not isinstance(layer, LoraExperts):
        yield name, *_module_tensors(name, layer)
        return
    for weight, place, down, up, scale in peft_factors(layer):
        whole = f"{PREFIX}{name}{place}"
        found = {f"{whole}.lora_A.weight": down, f"{whole}.lora_B.weight": up}
        yield f"{name}.{weight}", found, len(down) // len(layer.base.get_parameter(weight)), scale


def _module_tensors(name: str, layer: Adapted) -> tuple[dict[str, Tensor], int, float]:
    """One layer as PEFT names it: tensors, rank and scale. Parts of a fused projection become one block matrix."""
    updates = [update for _, update in layer.low_rank()]
    scale, whole = updates[0].scale, f"{PREFIX}{name}"
    down, up = block_diagonal(layer, "in_proj_weight" if isinstance(layer, LoraAttention) else "weight", scale)
    rank = len(down)
    if isinstance(layer, LoraConv):
        kernel = layer.base.get_parameter("weight")
        down, up = down.view(rank, *kernel.shape[1:]), up.view(*up.shape, *[1] * (kernel.ndim - 2))
    if isinstance(layer, LoraEmbedding):
        found = {f"{whole}.lora_embedding_A": down, f"{whole}.lora_embedding_B": up}
    else:
        found = {f"{whole}.lora_A.weight": down, f"{whole}.lora_B.weight": up}
    if isinstance(layer, LoraAttention):  # PEFT adapts both projections or none: this one by nothing
        found[f"{whole}.base_layer.out_proj.lora_A.weight"] = down.new_zeros(down.shape)
        found[f"{whole}.base_layer.out_proj.lora_B.weight"] = down.new_zeros(down.shape[1], rank)
    if isinstance(updates[0], DoraUpdate):
        found[f"{whole}.lora_magnitude_vector"] = _peft_magnitude(layer, updates[0].magnitude)
    return found, rank, scale


def block_diagonal(layer: Adapted, weight: str, scale: float) -> tuple[Tensor, Tensor]:
    """All updates of a weight as one: A (ΣR, I) and B (O, ΣR), zero outside each part's own rows."""
    updates = [update for _, update in layer.low_rank() if update.where.weight == weight]
    outputs = frozen_weight(layer.base, weight).shape[1 if updates[0].where.transposed else 0]
    downs, ups = [], []
    for update in updates:
        down, up = update.foldable_factors()
        rows = up.new_zeros(outputs, up.shape[1])
        rows[update.where.offset : update.where.stop] = up * (update.scale / scale)
        downs.append(down)
        ups.append(rows)
    return torch.cat(downs), torch.cat(ups, 1)


def _peft_magnitude(layer: Adapted, magnitude: Tensor) -> Tensor:
    if isinstance(layer, LoraConv):
        return magnitude.view(1, -1, *[1] * (layer.base.get_parameter("weight").ndim - 2))
    return magnitude


def _base_fields(base: nn.Module, address: str) -> dict[str, Any]:
    """The base as PEFT finds it again: a repository of the hub and its commit, and its class in transformers."""
    on_hub, kind = address.startswith("hub:"), type(base)
    name, _, revision = address[4:].partition("@") if on_hub else (address, "", "")
    fields: dict[str, Any] = {"base_model_name_or_path": name, "revision": revision or None}
    if kind.__module__.startswith("transformers."):
        fields["auto_mapping"] = {"base_model_class": kind.__name__, "parent_library": kind.__module__}
    return fields


def _peft_config(
    targets: list[str] | str,
    ranks: dict[str, int],
    alphas: dict[str, float],
    layers: dict[str, Adapted],
) -> dict[str, Any]:
    common = max(set(ranks.values()), key=list(ranks.values()).count) if ranks else 1
    alpha = next((alphas[name] for name in ranks if ranks[name] == common), 1.0)
    return {
        "peft_type": "LORA",
        "r": common,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{re.escape(name)}": rank for name, rank in ranks.items() if rank != common},
        "alpha_pattern": {f"^{re.escape(name)}": value for name, value in alphas.items() if value != alpha},
        "lora_dropout": _dropout(layers),
        "target_modules": targets,
        "use_dora": any(_form(update) == "dora" for layer in layers.values() for _, update in layer.low_rank()),
        "bias": "none",
        "use_rslora": False,
        "fan_in_fan_out": any(is_conv1d(layer.base) for layer in layers.values()),
        "inference_mode": True,
    }


def peft_targets(base: nn.Module, modules: Sequence[str]) -> list[str] | str:
    """The modules as PEFT takes them: by name, or as one pattern where a name is the ending of another's too."""
    names = [name for name, _ in base.named_modules()]
    every = [*names, *(name.replace(".base", "") for name in names)]  # an adapted layer's parts are under its `base`
    if any(other.endswith(f".{name}") for name in modules for other in every):
        return "|".join(re.escape(name) for name in modules)
    return sorted(modules)


def _foreign_config(address: str, described: dict[str, dict[str, Any]], layers: dict[str, Adapted]) -> dict[str, Any]:
    kinds = {name: "delta" if isinstance(layer, LoraKernel) else "branch" for name, layer in layers.items()}
    forms = {"conv_form": kinds, "lora_dropout": _dropout(layers)}
    return {"peft_type": FORMAT, "base_model_name_or_path": address, "layers": described, **forms}


def _dropout(layers: dict[str, Adapted]) -> float:
    return max((getattr(getattr(layer, "dropout", None), "p", 0.0) for layer in layers.values()), default=0.0)


def _describe(update: LowRankUpdate) -> dict[str, Any]:
    where = update.where
    return {
        "weight": where.weight,
        "start": where.offset,
        "stop": where.stop,
        "transposed": where.transposed,
        "rows": where.rows,
        "expert": where.expert,
        "rank": len(update.foldable_factors()[0]),
        "scale": update.scale,
        "form": _form(update),
    }


def _form(update: LowRankUpdate) -> str:
    """Return the contents of the file beside A and B: none, DoRA's magnitudes m, or current output factors c."""
    if not update.scales_outputs:
        return "plain"
    return "dora" if type(update).output_scaling is DoraUpdate.output_scaling else "scaled"


def _own_tensors(layer: Adapted) -> Iterator[tuple[str, str, Tensor]]:
    for key, update in layer.low_rank():
        down, up = update.foldable_factors()
        yield key, "A", down
        yield key, "B", up
        if isinstance(update, DoraUpdate) and _form(update) == "dora":
            yield key, "m", update.magnitude
        elif (scaling := update.output_scaling(layer.matrix(update))) is not None:
            yield key, "c", scaling


TASK_SPECS = {"task_fork": TaskForkSpec, "mtlora": MtloraSpec, "mtl_lora": MtlLoraSpec}


def _tasks_config(address: str, plan: TaskAdapters) -> dict[str, Any]:
    method = next(name for name, kind in TASK_SPECS.items() if isinstance(plan.spec, kind))
    how = {"method": method, "spec": dataclasses.asdict(plan.spec), "names": plan.names, "tasks": list(plan.tasks)}
    where = {"stages": list(plan.stages), "every": plan.every}
    return {"peft_type": FORMAT, "base_model_name_or_path": address, **how, **where}
