"""A model adapted as the configuration says, counted and measured. It needs no trainer, so counting imports none."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from harness.config import (
    BaselineConfig,
    Config,
    ConfigError,
    ContinualTaskConfig,
    LoraConfig,
    MixtureTaskConfig,
    MtlLoraConfig,
    MtloraConfig,
    PartTaskConfig,
    PeftConfig,
    Seq2seqTaskConfig,
    SeveralTaskConfig,
    TaskAdapterConfig,
)
from harness.lora import (
    Feed,
    LoraSpec,
    MtlLoraSpec,
    MtloraSpec,
    SpecError,
    TaskRouter,
    adapt,
    adapt_tasks,
    adapter_parameters,
    bare,
    groups_of,
    initialise,
    merge,
    task_adapters,
    updates_of,
)
from harness.lora.peft_methods import adapt_peft, peft_parameters
from harness.model import Network, Outputs, Uncertainty, build_model
from harness.task import build_task
from harness.trial import accounting

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.RMSNorm)


def lora_spec(lora: LoraConfig) -> LoraSpec:
    """The specification of an adaptation, its scale resolved. Raises ConfigError where it contradicts itself."""
    try:
        spec = LoraSpec(
            rank=lora.rank,
            scale=lora.update_scale,
            targets=tuple(lora.targets),
            dropout=lora.dropout,
            variant=lora.variant,
            alpha=lora.alpha,
            ranks=tuple(lora.ranks or ()),
            scales=tuple(lora.scales or ()),
            alphas=tuple(lora.alphas or ()),
            conv_form=lora.conv_form,
            each_gate=lora.each_gate,
            redistribute=lora.redistribute,
            initial_rank=lora.initial_rank,
        )
        if lora.lr_ratio is not None and not spec.method.plus:
            raise SpecError(f"lr_ratio {lora.lr_ratio}: has no effect without variant lora_plus")
    except SpecError as error:
        raise ConfigError(f"lora: {error}") from None
    return spec


def lr_ratio(lora: LoraConfig) -> float:
    """How much faster B learns than A: 1, or LoRA+'s ratio."""
    usual = lora_spec(lora).method.plus
    return 1.0 if usual is None else lora.lr_ratio or usual


def prepare(model: Network, config: Config, feed: Feed | None = None) -> tuple[dict[str, int], accounting.Params]:
    """Adapt a model as the configuration says, and count it: ranks by layer, parameters by group.

    `feed` runs training batches for the variants that start from them; without it every variant is counted, and
    none started. Raises ConfigError where the specification does not fit the network.
    """
    ranks: dict[str, int] = {}
    if isinstance(config.task, MixtureTaskConfig) and config.task.weighting == "uncertainty":
        model.weighting = Uncertainty(len(config.task.chosen)).to(next(model.parameters()).device)
    try:
        match config.lora:
            case LoraConfig():
                spec = lora_spec(_matched(config, config.lora))
                ranks = adapt(model.base, spec, model.targets)
                if feed is not None:
                    ranks = initialise(model.base, spec, feed) or ranks
            case MtloraConfig() | MtlLoraConfig():
                ranks = _adapt_tasks(model, config, config.lora)
            case PeftConfig(method=method, arguments=arguments, targets=targets):
                model.base = adapt_peft(model.base, method, arguments or {}, targets, model.targets)
            case BaselineConfig(name=name):
                _train_part(model.base, name)
    except SpecError as error:
        raise ConfigError(f"lora: {error}") from None
    return ranks, accounting.count(model, adapters_of(model.base), model.head.parameters())


def _adapt_tasks(model: Network, config: Config, lora: TaskAdapterConfig) -> dict[str, int]:
    assert isinstance(config.task, MixtureTaskConfig)
    route = TaskRouter()
    ranks = adapt_tasks(model.base, task_spec(lora), model.targets, list(config.task.chosen), route)
    model.register_forward_pre_hook(partial(_follow, route))
    return ranks


def _follow(route: TaskRouter, _: nn.Module, inputs: tuple[dict[str, Tensor]]) -> None:
    """Whoever calls a network with a batch need not know that its layers ask for the rows' tasks."""
    route.set(inputs[0]["tasks"])


def task_spec(lora: TaskAdapterConfig) -> MtloraSpec | MtlLoraSpec:
    """The specification of an adaptation for several tasks. Raises SpecError where it contradicts itself."""
    match lora:
        case MtloraConfig():
            return MtloraSpec(
                rank=lora.rank,
                task_rank=lora.task_rank,
                scale=lora.scale,
                task_scale=lora.task_scale,
                targets=tuple(lora.targets),
                task_ranks=tuple(lora.task_ranks or ()),
                dropout=lora.dropout,
                blocks=lora.blocks,
                mode=lora.mode,
            )
        case MtlLoraConfig():
            targets, temperature = tuple(lora.targets), lora.temperature
            return MtlLoraSpec(lora.rank, lora.scale, targets, lora.ups, temperature, lora.dropout)


def _matched(config: Config, lora: LoraConfig) -> LoraConfig:
    """The same adaptation, at the rank whose number of trained adapter parameters is nearest to the matched way's."""
    if lora.match is None:
        return lora
    wanted = _adapter_size(config, lora.match)
    one, two = (_adapter_size(config, dataclasses.replace(lora, match=None, rank=rank)) for rank in (1, 2))
    rank = max(1, 1 + round((wanted - one) / (two - one)))  # each rank adds as much as the one before
    return dataclasses.replace(lora, match=None, rank=rank)


def _adapter_size(config: Config, lora: LoraConfig | TaskAdapterConfig) -> int:
    model = build_model(config.model, _outputs(config), weights=False)
    return prepare(model, dataclasses.replace(config, lora=lora))[1].adapter


def adapters_of(base: nn.Module) -> list[nn.Parameter]:
    """What was added to a base: the pairs of ours, or what PEFT put in."""
    return [*adapter_parameters(base), *peft_parameters(base)]


def _train_part(base: nn.Module, name: str) -> None:
    base.requires_grad_(name == "full")
    if name == "bitfit":  # Ben Zaken et al., 2022
        chosen = [
            tensor
            for key, tensor in base.named_parameters()
            if key.rpartition(".")[2].startswith(("bias", "in_proj_bias"))
        ]
    elif name == "norms":
        chosen = [tensor for module in base.modules() if _is_norm(module) for tensor in module.parameters()]
    else:
        return
    if not chosen:
        raise SpecError(f"{name}: the network has none")
    for tensor in chosen:
        tensor.requires_grad_(True)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) or type(module).__name__.endswith(("RMSNorm", "LayerNorm"))


def count(config: Config) -> dict[str, Any]:
    """Parameters by group and what they save, from shapes alone: no weights, and no data where classes are known.

    The reduction is the adapter against the base; with the head it is all that is trained against all there is.
    """
    outputs = _outputs(config)
    model = build_model(config.model, outputs, weights=False)
    base = sum(tensor.numel() for tensor in model.base.parameters())
    ranks, params = prepare(model, config)
    return (
        {
            "model": config.model.name,
            "lora": config.lora.name,
            "params": asdict(params) | {"trainable": params.trainable, "base": base},
            "fewer_trainable_percent": round(100 * (1 - params.adapter / base), 3) if params.adapter else None,
            "fewer_trainable_percent_with_head": round(100 * (1 - params.trainable / params.total), 3),
            "ranks": ranks,
        }
        | _what_moves(config.lora)
        | ({"groups": groups} if (groups := task_groups(model)) else {})
    )


def task_groups(model: Network) -> dict[str, int]:
    """Adapter parameters of what serves all tasks (`shared`) and of each task; nothing where tasks have none."""
    return groups_of(model.base) if task_adapters(model.base) is not None else {}


def _what_moves(lora: LoraConfig | TaskAdapterConfig | PeftConfig | BaselineConfig) -> dict[str, str]:
    """A word where ranks are not settled before training."""
    if not isinstance(lora, LoraConfig):
        return {}
    if lora.redistribute > 1:
        return {"note": "EVA moves ranks between layers once it has seen data: their sum stays, the parameters may not"}
    if lora_spec(lora).method.rank_schedule == "allocated":
        return {"note": "AdaLoRA's ranks at its start; in training they are masked, which frees no memory"}
    return {}


@torch.no_grad()
def compare_merged(model: Network, batch: dict[str, Tensor], repeats: int = 5) -> dict[str, float]:
    """The largest difference of a logit when the change is merged into the weights, and the latency of both.

    In evaluation mode and the weights' own precision; medians in seconds over `repeats` passes of the batch.
    `latency_base_s` is that of the same network without adapters; PEFT leaves its layers in place, and then there is
    none. Empty where nothing can be merged.
    """
    mode = model.training
    model.eval()
    apart = model(batch)  # after which an adapter for several tasks knows which of them to merge for
    undo = _merged(model.base)
    if undo is None:
        model.train(mode)
        return {}
    try:
        merged = model(batch)
        seconds_merged = _seconds(model, batch, repeats)
    finally:
        undo()
    latency = _base_latency(model, batch, repeats)
    seconds_apart = _seconds(model, batch, repeats)
    model.train(mode)
    return {
        "max_logit_difference": float((merged - apart).abs().max()),
        "max_logit": float(apart.abs().max()),
        "latency_merged_s": seconds_merged,
        "latency_apart_s": seconds_apart,
        "batch": float(len(batch["rows"])),
    } | latency


def _base_latency(model: Network, batch: dict[str, Tensor], repeats: int) -> dict[str, float]:
    if not any(updates_of(model.base)) or task_adapters(model.base) is not None:
        return {}
    undo = bare(model.base)
    try:
        model(batch)
        return {"latency_base_s": _seconds(model, batch, repeats)}
    finally:
        undo()


def _merged(base: nn.Module) -> Callable[[], None] | None:
    """Merge what can be; returns what undoes it, or nothing."""
    if any(updates_of(base)):
        return merge(base)
    if not hasattr(base, "peft_config"):
        return None
    try:
        base.merge_adapter()  # type: ignore[operator]
    except (NotImplementedError, AttributeError, ValueError):  # PEFT's ways to say that a method does not merge
        return None
    return base.unmerge_adapter  # type: ignore[return-value]


def _seconds(model: Network, batch: dict[str, Tensor], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        out = model(batch)
        if out.is_cuda:
            torch.cuda.synchronize(out.device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _outputs(config: Config) -> Outputs:
    """As the task says; from the configuration alone where it can be."""
    if isinstance(config.task, SeveralTaskConfig):
        known = {name: _known_outputs(part) for name, part in config.task.chosen.items()}
        if all(known.values()):
            if isinstance(config.task, ContinualTaskConfig) and config.task.heads == "shared":
                return next(count for count in known.values() if count)
            return {name: count for name, count in known.items() if count}
    elif (count := _known_outputs(config.task)) is not None:
        return count
    return build_task(config.task).outputs


def _known_outputs(task: PartTaskConfig | Seq2seqTaskConfig) -> int | None:
    if isinstance(task, Seq2seqTaskConfig):
        return 0
    return 1 if getattr(task, "answer", "class") == "number" else task.classes
