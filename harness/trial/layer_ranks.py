"""The adapted layers of a study's network in groups, and what each rank of a group costs."""

import dataclasses
import re
from collections.abc import Iterator, Mapping

from harness.config import Config, ConfigError, LoraConfig
from harness.config.layer_ranks import RanksConfig
from harness.lora.adapted import named_updates
from harness.lora.inject import expanded, find_targets
from harness.lora.update import LowRankUpdate
from harness.model import Network
from harness.trial.adapt import prepare, shapes_of, spec_errors
from harness.trial.methods.low_rank import lora_spec


def with_rank_groups(config: Config) -> Config:
    """The study with the layers and the costs of its rank groups.

    Raises ConfigError where a group has no layer, a layer no group, or where no ranks keep the budget.
    """
    sweep = config.sweep
    if sweep is None or sweep.ranks is None:
        return config
    plain = dataclasses.replace(config.lora.as_lora("sweep.ranks"), ranks=None, scales=None, alphas=None, match=None)
    costs = layer_costs(config, plain)
    groups = _groups(sweep.ranks, list(costs), config, plain)
    each = {name: sum(costs[layer] for layer in layers) for name, layers in groups.items()}
    if sweep.budget is not None:
        least, most = (sum(each.values()) * rank for rank in (sweep.ranks.low, sweep.ranks.high))
        if not least <= sweep.budget.parameters <= most:
            raise ConfigError(
                f"sweep.budget.parameters={sweep.budget.parameters}: ranks from {sweep.ranks.low} to "
                f"{sweep.ranks.high} come to {least} to {most} parameters"
            )
    patterns = {name: "|".join(map(re.escape, layers)) for name, layers in groups.items()}
    ranks = dataclasses.replace(sweep.ranks, layers=patterns, costs=each)
    return dataclasses.replace(config, sweep=dataclasses.replace(sweep, ranks=ranks))


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


def _groups(ranks: RanksConfig, layers: list[str], config: Config, lora: LoraConfig) -> dict[str, list[str]]:
    if ranks.by == "layer":
        return {layer.replace(".", "_"): [layer] for layer in layers}
    if ranks.by == "depth":
        return _by_depth(layers, ranks.blocks)
    if ranks.by == "role":
        return _by_role(shapes_of(config), lora)
    return _by_pattern(ranks.groups or {}, layers)


def _by_role(model: Network, lora: LoraConfig) -> dict[str, list[str]]:
    spec = lora_spec(lora)
    with spec_errors():
        roles = list(expanded(model.base, lora.targets, model.targets))
        found = {role: find_targets(model.base, [role], model.targets, spec) for role in roles}
    return {role: [target.name for target in targets] for role, targets in found.items()}


def _by_depth(layers: list[str], blocks: int) -> dict[str, list[str]]:
    """As equal runs of depths, which are the first numbers in layers' names; those without one stand before."""
    numbers = {layer: int(found[0]) if (found := re.findall(r"\d+", layer)) else 0 for layer in layers}
    depths = sorted(set(numbers.values()))
    if blocks > len(depths):
        raise ConfigError(f"sweep.ranks.blocks={blocks}: the adapted layers stand at {len(depths)} depths")
    block = {depth: place * blocks // len(depths) for place, depth in enumerate(depths)}
    return {
        f"block{index + 1}": [layer for layer in layers if block[numbers[layer]] == index] for index in range(blocks)
    }


def _by_pattern(patterns: Mapping[str, str], layers: list[str]) -> dict[str, list[str]]:
    """Each layer in the first group whose pattern matches its whole name."""
    groups: dict[str, list[str]] = {name: [] for name in patterns}
    for layer in layers:
        name = next((name for name, pattern in patterns.items() if re.fullmatch(pattern, layer)), None)
        if name is None:
            raise ConfigError(f"sweep.ranks.groups: no pattern matches the adapted layer {layer}")
        groups[name].append(layer)
    if empty := [name for name, found in groups.items() if not found]:
        raise ConfigError(f"sweep.ranks.groups.{empty[0]}={patterns[empty[0]]}: matches no adapted layer that is left")
    return groups
