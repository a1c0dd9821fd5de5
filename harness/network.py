"""A model adapted as the configuration says, and counted. It needs no trainer, so counting imports none."""

from dataclasses import asdict
from typing import Any

from harness import accounting
from harness.config import Config, ConfigError, FullConfig, LoraConfig
from harness.lora import LoraSpec, SpecError, adapt, adapter_parameters
from harness.model import Network, build_model
from harness.task import build_task


def lora_spec(lora: LoraConfig) -> LoraSpec:
    """The specification of an adaptation, its scale resolved."""
    return LoraSpec(lora.rank, lora.update_scale, tuple(lora.targets), lora.dropout)


def prepare(model: Network, config: Config) -> tuple[dict[str, int], accounting.Params]:
    """Adapt a model as the configuration says, and count it: ranks by module, parameters by group.

    Raises ConfigError where the specification does not fit the network.
    """
    ranks: dict[str, int] = {}
    match config.lora:
        case LoraConfig():
            try:
                ranks = adapt(model.base, lora_spec(config.lora), model.targets)
            except SpecError as error:
                raise ConfigError(f"lora: {error}") from None
        case FullConfig():
            model.base.requires_grad_(True)
        case _:
            model.base.requires_grad_(False)
    return ranks, accounting.count(model, adapter_parameters(model.base), model.head.parameters())


def count(config: Config) -> dict[str, Any]:
    """Parameters by group and what they save, from shapes alone: no weights, and no data where classes are known.

    The reduction is the adapter against the base; with the head it is all that is trained against all there is.
    """
    outputs = config.task.classes or build_task(config.task).outputs
    model = build_model(config.model, outputs, weights=False)
    base = sum(tensor.numel() for tensor in model.base.parameters())
    ranks, params = prepare(model, config)
    return {
        "model": config.model.name,
        "lora": config.lora.name,
        "params": asdict(params) | {"trainable": params.trainable, "base": base},
        "fewer_trainable_percent": round(100 * (1 - params.adapter / base), 3) if params.adapter else None,
        "fewer_trainable_percent_with_head": round(100 * (1 - params.trainable / params.total), 3),
        "ranks": ranks,
    }
