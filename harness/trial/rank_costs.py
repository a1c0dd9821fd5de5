"""What ranks cost of what a budget bounds, measured of the adapted network: parameters, bytes, operations of a step."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence

import torch

from harness.config import Config, ConfigError, LoraConfig
from harness.config.layer_ranks import Budgeted
from harness.lora.adapted import named_updates
from harness.lora.update import LowRankUpdate
from harness.model import build_model
from harness.task import build_task
from harness.trial.adapt import prepare, shapes_of
from harness.trial.counting import memory_needed
from harness.trial.inputs import training_rows
from harness.trial.passes import first_batch, step_flops


@dataclasses.dataclass(frozen=True)
class RankCosts:
    """What another rank of each group of layers adds, and what there is whatever the ranks.

    A sum of them is exact where every rank is at least 1. A rank of 0 is charged no less than it costs: AdamW's step
    counters, and the backward pass below the lowest layer that is adapted, are counted as if it were adapted.
    """

    each: dict[str, int]
    fixed: int = 0


def rank_costs(config: Config, lora: LoraConfig, unit: Budgeted, groups: Mapping[str, Sequence[str]]) -> RankCosts:
    """The costs of a rank of each group, of layers by name, in `unit`; operations need data and weights.

    Raises ConfigError where the network costs other than a sum over ranks.
    """
    if unit == "parameters":
        layers = layer_costs(config, lora)
        return RankCosts({name: sum(layers[layer] for layer in members) for name, members in groups.items()})
    measure = _memory if unit == "memory" else _StepFlops(config)
    patterns = {name: pattern_of(members) for name, members in groups.items()}

    def cost(ranks: Mapping[str, int]) -> int:
        pairs = [(patterns[name], rank) for name, rank in ranks.items()]
        return measure(dataclasses.replace(config, lora=dataclasses.replace(lora, ranks=pairs)))

    ones = dict.fromkeys(groups, 1)
    least = cost(ones)
    each = {name: cost(ones | {name: 2}) - least for name in groups}
    found = RankCosts(each, least - sum(each.values()))
    if cost(dict.fromkeys(groups, 3)) != found.fixed + 3 * sum(each.values()):
        rule = "what ranks cost is no sum over them; sweep.budget.parameters"
        raise ConfigError(f"sweep.budget.{unit}: with lora.variant={lora.variant} {rule}")
    return found


def without_patterns(config: Config, where: str) -> LoraConfig:
    """The configuration's own way to adapt, with nothing that is said layer by layer. Raises ConfigError."""
    return dataclasses.replace(config.lora.as_lora(where), ranks=None, scales=None, alphas=None, match=None)


def pattern_of(layers: Sequence[str]) -> str:
    """What matches the names of layers, each as a whole."""
    return "|".join(map(re.escape, layers))


def layer_costs(config: Config, lora: LoraConfig) -> dict[str, int]:
    """What another rank of each adapted layer adds to the adapter's parameters, in the order of the network."""
    one, two = (
        _sizes(dataclasses.replace(config, lora=dataclasses.replace(lora, rank=rank, initial_rank=None)))
        for rank in (1, 2)
    )
    return {name: two[name] - one[name] for name in one}


def layer_limits(config: Config, lora: LoraConfig) -> dict[str, int]:
    """The highest rank of each adapted layer, min(inputs, outputs), for LoRA of rank 1."""
    shapes = {name: update.factors() for name, update in _updates(dataclasses.replace(config, lora=lora))}
    return {name: min(len(up), down.shape[1]) // len(down) for name, (down, up) in shapes.items()}


def _sizes(config: Config) -> dict[str, int]:
    return {name: sum(tensor.numel() for tensor in update.parameters()) for name, update in _updates(config)}


def _updates(config: Config) -> Iterator[tuple[str, LowRankUpdate]]:
    model = shapes_of(config)
    prepare(model, config)
    return named_updates(model.base)


def _memory(config: Config) -> int:
    """Bytes that training holds whatever the batch, as run=count says them."""
    model = shapes_of(config)
    prepare(model, config)
    return sum(memory_needed(model).values())


class _StepFlops:
    """Counts the operations of a step as a trial's record does, on the first training rows; here on the CPU."""

    def __init__(self, config: Config) -> None:
        self._task = build_task(config.task)
        self._train = training_rows(config, self._task)

    def __call__(self, config: Config) -> int:
        model = build_model(config.model, self._task.outputs)
        if config.trainer.activation_checkpointing:
            model.checkpoint_activations()
        prepare(model, config)
        cpu = torch.device("cpu")
        batch = first_batch(self._train, config.trainer.batch_size, cpu)
        return step_flops(model, batch, self._task.losses, device=cpu, precision="32-true").step
