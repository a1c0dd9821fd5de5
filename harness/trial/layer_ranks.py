"""The adapted layers of a study's network in groups, and what each rank of a group costs."""

import dataclasses
import re
from collections.abc import Mapping

from harness.config import Config, ConfigError, LoraConfig
from harness.config.layer_ranks import BudgetConfig, Budgeted, RanksConfig
from harness.config.rank_budget import RankCosts
from harness.lora.inject import expanded, find_targets
from harness.model import Network
from harness.trial.adapt import shapes_of, spec_errors
from harness.trial.methods.low_rank import lora_spec
from harness.trial.rank_costs import layer_limits, pattern_of, rank_costs, without_patterns


def with_rank_groups(config: Config, *, before_data: bool = False) -> Config:
    """The study with the layers and the costs of its rank groups.

    `before_data` leaves out the costs of a budget of operations, which are counted on training rows.
    Raises ConfigError where a group has no layer, a layer no group, a group no choice of ranks, or where no ranks keep
    the budget.
    """
    sweep = config.sweep
    if sweep is None or sweep.ranks is None:
        return config
    plain = without_patterns(config, "sweep.ranks")
    limits = layer_limits(config, plain)
    groups = _groups(sweep.ranks, list(limits), config, plain)
    layers = {name: pattern_of(members) for name, members in groups.items()}
    ranks = dataclasses.replace(sweep.ranks, layers=layers, limits=_limits(sweep.ranks, groups, limits))
    budget = sweep.budget
    if budget is not None and not (before_data and budget.unit == "flops"):
        highest = {layer: min(limit, ranks.high) for layer, limit in limits.items()}
        found = rank_costs(config, plain, budget.unit, groups, highest)
        _check_reach(budget, ranks, found)
        ranks = dataclasses.replace(ranks, costs=dict(found.each), present=dict(found.present), fixed=found.fixed)
    return dataclasses.replace(config, sweep=dataclasses.replace(sweep, ranks=ranks))


_NOUNS: dict[Budgeted, str] = {"parameters": "parameters", "memory": "bytes", "flops": "operations a step"}


def _check_reach(budget: BudgetConfig, ranks: RanksConfig, costs: RankCosts) -> None:
    least = costs.used(dict.fromkeys(costs.each, ranks.low))
    most = costs.used({name: ranks.highest(name) for name in costs.each})
    if not least <= budget.most <= most:
        raise ConfigError(
            f"sweep.budget.{budget.unit}={budget.most}: ranks from {ranks.low} to {ranks.high} come to {least} to "
            f"{most} {_NOUNS[budget.unit]}"
        )


def _limits(ranks: RanksConfig, groups: Mapping[str, list[str]], limits: Mapping[str, int]) -> dict[str, int]:
    """The highest ranks of the groups that cannot have `high`.

    Raises ConfigError where that leaves a group no choice, and where no group can have `high`.
    """
    least = {name: min(members, key=lambda layer: limits[layer]) for name, members in groups.items()}
    found = {name: limits[layer] for name, layer in least.items() if limits[layer] < ranks.high}
    for name, highest in found.items():
        if highest <= ranks.low:
            rule = f"{least[name]} has no rank above {highest}, so that nothing of {name} is searched"
            raise ConfigError(f"sweep.ranks.low={ranks.low}: {rule}; leave it out of lora.targets")
    if len(found) == len(groups):
        rule = f"no group can have it; the highest rank is {max(found.values())}, by inputs, outputs and variant"
        raise ConfigError(f"sweep.ranks.high={ranks.high}: {rule}")
    return found


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
    """The layers in equal runs of depths, the first numbers in their names; those without one come first."""
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
