"""The costs of ranks under a budget, measured on the adapted network: parameters, bytes, operations of a step."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence

import torch

from harness.config import Config, ConfigError, LoraConfig
from harness.config.layer_ranks import Budgeted
from harness.config.rank_budget import RankCosts
from harness.lora.adapted import named_updates
from harness.lora.inject import highest_ranks
from harness.lora.update import LowRankUpdate
from harness.model import build_model
from harness.task import build_task
from harness.trial.adapt import prepare, shapes_of, spec_errors
from harness.trial.counting import memory_needed
from harness.trial.inputs import training_rows
from harness.trial.methods.low_rank import lora_spec
from harness.trial.passes import first_batch, step_flops


def rank_costs(
    config: Config, lora: LoraConfig, unit: Budgeted, groups: Mapping[str, Sequence[str]], highest: Mapping[str, int]
) -> RankCosts:
    """The costs of a rank of each group, of layers by name, in `unit`; operations need data and weights.

    `highest` are the highest ranks of the layers. A sum of the costs is exact where every rank is at least 1, of
    parameters at rank 0, too. Bytes and operations of a rank of 0 are charged no less than they are: AdamW's step
    counters, and the backward pass below the lowest layer that is adapted, are counted as if it were adapted.
    Raises ConfigError where the network costs other than a sum over ranks.
    """
    key = f"sweep.budget.{unit}"
    if unit == "parameters":
        layers = layer_costs(config, lora, key, highest)
        each, present = (
            {name: sum(found[layer] for layer in members) for name, members in groups.items()}
            for found in (layers.each, layers.present)
        )
        return RankCosts(each, present)
    _refuse_moving(key, lora)
    measure = _memory if unit == "memory" else _StepFlops(config)
    tops = {name: min(highest[layer] for layer in members) for name, members in groups.items()}

    def cost(ranks: Mapping[str, int]) -> int:
        by_layer = {layer: ranks[name] for name, members in groups.items() for layer in members}
        return measure(_with_ranks(config, lora, by_layer))

    ones = dict.fromkeys(groups, 1)
    least = cost(ones)
    # A group with rank 1 or none is among the fixed costs.
    each = {name: cost(ones | {name: 2}) - least if tops[name] > 1 else 1 for name in groups}
    found = RankCosts(each, fixed=least - sum(each.values()))
    for rank in (3, max(tops.values())):
        ranks = {name: min(rank, top) for name, top in tops.items()}
        if cost(ranks) != found.used(ranks):
            raise _no_sum(key, lora)
    return found


def _refuse_moving(key: str, lora: LoraConfig) -> None:
    if lora.redistribute > 1:
        rule = "EVA moves ranks between layers that cost other than one another; lora.redistribute=1.0"
        raise ConfigError(f"{key}: lora.redistribute={lora.redistribute:g}: {rule}")


def _no_sum(key: str, lora: LoraConfig) -> ConfigError:
    """A rank does not cost the same as the one before."""
    multiple = f"; lora.initial_rank={2 * lora.rank}, a multiple of lora.rank"
    hint = multiple if "initial_rank" in lora_spec(lora).own else ""
    return ConfigError(f"{key}: with lora.variant={lora.variant} what ranks cost is no sum over them{hint}")


def without_patterns(config: Config, where: str) -> LoraConfig:
    """The configuration's own method, without settings by layer. Raises ConfigError."""
    return dataclasses.replace(config.lora.as_lora(where), ranks=None, scales=None, alphas=None, match=None)


def plain_lora(config: Config) -> LoraConfig:
    """LoRA of rank 1 on the same layers. Raises ConfigError where the configuration is of another method."""
    lora = config.lora.as_lora("run=allocate")
    lora = dataclasses.replace(lora, variant="lora", rank=1, redistribute=1.0, settings=None)
    lora = dataclasses.replace(lora, ranks=None, scales=None, alphas=None, match=None)
    return dataclasses.replace(lora, lr_ratio=None, initial_rank=None)


def pattern_of(layers: Sequence[str]) -> str:
    """Return a pattern that fully matches the names of these layers."""
    return "|".join(map(re.escape, layers))


def layer_costs(config: Config, lora: LoraConfig, key: str, highest: Mapping[str, int]) -> RankCosts:
    """Measure the trained adapter parameters that ranks of each adapted layer cost, in the order of the network.

    `highest` are the highest ranks that are asked for. Raises ConfigError, which begins with `key`, where they come to
    other than a sum over ranks.
    """
    _refuse_moving(key, lora)

    def sizes(rank: int) -> dict[str, int]:
        return _sizes(_with_ranks(config, lora, {name: min(rank, most) for name, most in highest.items()}))

    one, two = sizes(1), sizes(2)
    each = {name: two[name] - one[name] if highest[name] > 1 else size for name, size in one.items()}
    found = RankCosts(each, {name: one[name] - cost for name, cost in each.items()})
    for rank in (3, max(highest.values())):
        measured = sizes(rank)
        if any(found.of(name, min(rank, highest[name])) != size for name, size in measured.items()):
            raise _no_sum(key, lora)
    return found


def layer_limits(config: Config, lora: LoraConfig) -> dict[str, int]:
    """The highest rank that each adapted layer can have, in the order of the network."""
    model = shapes_of(config)
    with spec_errors():
        limits = highest_ranks(model.base, lora_spec(lora), model.targets)
    return {name: limits[name] for name, _ in _updates(_with_ranks(config, lora, dict.fromkeys(limits, 1)))}


def _with_ranks(config: Config, lora: LoraConfig, ranks: Mapping[str, int]) -> Config:
    """With ranks by layer."""
    pairs = [(re.escape(name), rank) for name, rank in ranks.items()]
    return dataclasses.replace(config, lora=dataclasses.replace(lora, ranks=pairs))


def _sizes(config: Config) -> dict[str, int]:
    return {
        name: sum(tensor.numel() for tensor in update.parameters() if tensor.requires_grad)
        for name, update in _updates(config)
    }


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
