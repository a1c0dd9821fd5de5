"""A model adapted as the configuration says, counted and measured. It needs no trainer, so counting imports none."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.base_layers.quantized import sizes_of
from harness.config import Config, ConfigError, Outputs
from harness.lora import Feed, SpecError, adapter_parameters, bare, groups_of, merge, task_adapters, updates_of
from harness.lora.peft_methods import peft_parameters, wrapped_by_peft
from harness.model import WEIGHTINGS, Network, build_model, build_shapes
from harness.record import Merge, Parameters, plain
from harness.trial import counting
from harness.trial.methods import Method, build_method

LATENCY_PASSES = 5
"""The latency of a trained network is the median over so many passes."""


def method_of(config: Config) -> Method:
    """Return the method that trains the configuration's base. It is cheap: nothing here needs a network."""
    return build_method(config, _adapter_size)


@contextmanager
def spec_errors() -> Iterator[None]:
    """Inside, a specification that does not fit the network is the user's mistake."""
    try:
        yield
    except SpecError as error:
        raise ConfigError(f"lora: {error}") from None


def add_task_weights(model: Network, config: Config) -> None:
    """Let the losses of several tasks be weighted as the configuration says."""
    weighting = WEIGHTINGS.get(config.task.weighted_by)
    if weighting is not None:
        model.weighting = weighting(len(config.task.mixed)).to(next(model.parameters()).device)


def prepare(
    model: Network, config: Config, feed: Feed | None = None, method: Method | None = None
) -> tuple[dict[str, int], Parameters]:
    """Adapt a model as the configuration says, and count it: ranks by layer, parameters by group.

    `feed` runs training batches for the variants that start from them; without it every variant is counted, and
    none started. Raises ConfigError where the specification does not fit the network or the configuration.
    """
    chosen = method or method_of(config)
    chosen.check()
    add_task_weights(model, config)
    with spec_errors():
        ranks = chosen.adapt(model)
        if feed is not None:
            ranks = chosen.initialise(model, feed) or ranks
    return ranks, count_parameters(model)


def count_parameters(model: Network) -> Parameters:
    """The parameters of an adapted model by group, and the adapter's by task where tasks have their own."""
    counted = counting.parameters_by_group(model, adapters_of(model.base), model.head.parameters())
    return replace(counted, groups=task_groups(model))


def _adapter_size(config: Config) -> int:
    return prepare(shapes_of(config), config)[1].adapter


def adapters_of(base: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that were added to a base, by our updates or by PEFT."""
    return [*adapter_parameters(base), *peft_parameters(base)]


def count(config: Config, method: Method | None = None) -> dict[str, Any]:
    """Parameters by group, what they save and the bytes that training holds, from shapes alone.

    No weights are needed, and no data where classes are known. The reduction is the adapter against the
    base; with the head it is all that is trained against all there is.
    """
    model = shapes_of(config)
    base = sum(sizes_of(model.base).values())
    chosen = method or method_of(config)
    ranks, params = prepare(model, config, method=chosen)
    return (
        {
            "model": config.model.name,
            "lora": config.lora.name,
            "params": plain(replace(params, groups={})) | {"base": base},
            "fewer_trainable_percent": round(100 * (1 - params.adapter / base), 3) if params.adapter else None,
            "fewer_trainable_percent_with_head": round(100 * (1 - params.trainable / params.total), 3),
            "memory": counting.memory_needed(model),
            "ranks": ranks,
        }
        | ({"note": chosen.note} if chosen.note else {})
        | ({"groups": params.groups} if params.groups else {})
    )


def base_parameters(config: Config) -> int:
    """The size of the base in parameters, from shapes alone."""
    return sum(sizes_of(shapes_of(config).base).values())


def task_groups(model: Network) -> dict[str, int]:
    """Adapter parameters of what serves all tasks (`shared`) and of each task; nothing where tasks have none."""
    return groups_of(model.base) if task_adapters(model.base) is not None else {}


@torch.no_grad()
def compare_merged(model: Network, batch: dict[str, Tensor]) -> Merge:
    """The largest difference of a logit when the change is merged into the weights, and the latency of both.

    In evaluation mode and the weights' own precision; medians in seconds over LATENCY_PASSES of the batch.
    `latency_base_s` is that of the same network without adapters; PEFT leaves its layers in place, and then there is
    none. Empty where nothing can be merged.
    """
    mode = model.training
    model.eval()
    apart = model(batch)  # after which an adapter for several tasks knows which of them to merge for
    undo = _merged(model.base)
    if undo is None:
        model.train(mode)
        return Merge()
    try:
        merged = model(batch)
        seconds_merged = _seconds(model, batch)
    finally:
        undo()
    latency = _base_latency(model, batch)
    seconds_apart = _seconds(model, batch)
    model.train(mode)
    return Merge(
        max_logit_difference=float((merged - apart).abs().max()),
        max_logit=float(apart.abs().max()),
        latency_merged_s=seconds_merged,
        latency_apart_s=seconds_apart,
        batch=float(len(batch["rows"])),
        latency_base_s=latency,
    )


def _base_latency(model: Network, batch: dict[str, Tensor]) -> float | None:
    if not any(updates_of(model.base)) or task_adapters(model.base) is not None:
        return None
    undo = bare(model.base)
    try:
        model(batch)
        return _seconds(model, batch)
    finally:
        undo()


def _merged(base: nn.Module) -> Callable[[], None] | None:
    """Merge what can be; returns what undoes it, or nothing."""
    if any(updates_of(base)):
        return merge(base)
    if not wrapped_by_peft(base):
        return None
    try:
        base.merge_adapter()  # type: ignore[operator]
    except (NotImplementedError, AttributeError, ValueError):  # PEFT's ways to say that a method does not merge
        return None
    return base.unmerge_adapter  # type: ignore[return-value]


def _seconds(model: Network, batch: dict[str, Tensor]) -> float:
    times = []
    for _ in range(LATENCY_PASSES):
        started = time.perf_counter()
        out = model(batch)
        if out.is_cuda:
            torch.cuda.synchronize(out.device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def shapes_of(config: Config) -> Network:
    """The network of a configuration as shapes alone, to be adapted and counted."""
    if config.lora.reads_layers_alone:
        return build_shapes(config.model, outputs_of(config))
    return build_model(config.model, outputs_of(config), weights=False)


def outputs_of(config: Config) -> Outputs:
    """Return the task's outputs, from the configuration alone if possible."""
    known = config.task.known_outputs
    if known is not None:
        return known
    from harness.task import build_task  # it brings pandas

    return build_task(config.task).outputs
