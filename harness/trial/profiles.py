"""Ranks by layer under a budget, from what is seen before training or from a finished trial."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import record
from harness.config import Config, ConfigError, check, stored_sweep, to_dict
from harness.config.allocation import Allocation
from harness.config.layer_ranks import BudgetConfig
from harness.config.rank_budget import RankBudget, RankCosts, allocate
from harness.record import Record, best_on_validation
from harness.system.study_files import has_begun
from harness.trial.allocation import adapter_energies, gradient_energies, variance_shares
from harness.trial.rank_costs import layer_costs, layer_limits, plain_lora, rank_costs, without_patterns
from harness.trial.trained import Trained, trained_of

Ranks = dict[str, int]
Gains = Mapping[str, Sequence[float]]
"""What each further rank of a layer adds to its worth, by layer."""

METHODS = {
    "uniform": "one rank for all, and what is left over where it fits",
    "eva": "the directions of each layer's input that explain the most of its variance, before training",
    "gradient": "the directions of the loss's first gradient with the most energy, before training",
    "spectrum": "the directions of the learned ΔW with the most energy",
    "truncate": "the directions of the learned ΔW with the most energy, cut out of the trial without training",
    "adalora": "the ranks that AdaLoRA came to, scaled to the budget",
}
_FILL = 1e-9
"""Of the whole gain: what a rank is worth, for each parameter, that gains nothing."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """Ranks by layer, what a rank of each costs, and the gains that they were chosen by, if any; `title` says whose."""

    title: str
    ranks: Ranks
    costs: RankCosts
    gains: Gains

    @property
    def used(self) -> int:
        """The parameters of all ranks."""
        return self.costs.used(self.ranks)

    @property
    def pairs(self) -> list[list[str | int]]:
        """The ranks in the form that `lora.ranks` takes."""
        return [[re.escape(layer), rank] for layer, rank in self.ranks.items()]

    def write(self, path: Path) -> None:
        """Write the file that `lora.ranks` takes. Raises ConfigError where it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.pairs, indent=1) + "\n")
        except OSError as error:
            raise ConfigError(f"output={path}: {error.strerror or error}") from None


def before_training(config: Config, method: str, most: int, costs: RankCosts | None = None) -> Profile:
    """The ranks of `uniform`, `eva` or `gradient` for a configuration's network; costs are parameters, or given."""
    lora = without_patterns(config, "run=allocate")
    limits = layer_limits(config, lora)
    costs = costs or layer_costs(config, lora, f"parameters={most}", limits)
    check_budget(most, costs)
    title = f"{method} ({config.task.name}, {config.model.name})"
    if method == "uniform":
        return Profile(title, _proportional(dict.fromkeys(costs.each, 1), costs, most, limits), costs, {})
    gains = variance_shares(config) if method == "eva" else gradient_energies(config)
    return Profile(title, allocated(gains, costs, most, limits), costs, gains)


def of_trial(
    trained: Trained, method: str, most: int, config: Config | None = None, costs: RankCosts | None = None
) -> Profile:
    """The ranks of `spectrum` or `adalora` of a trial, for the network of `config` at its costs.

    Where they are not given: for the trial's own network adapted by LoRA, and of parameters.
    """
    costs, title = costs or costs_of(trained), title_of(trained, method)
    check_budget(most, costs)
    lora = plain_lora(trained.config) if config is None else without_patterns(config, "sweep.allocate")
    limits = layer_limits(config or trained.config, lora)
    if method == "adalora":
        kept = {str(layer): int(rank) for layer, rank in trained.entry.adapter.kept_ranks}
        return Profile(title, _proportional(kept, costs, most, limits), costs, {})
    gains = adapter_energies(trained)
    return Profile(title, allocated(gains, costs, most, limits), costs, gains)


def title_of(trained: Trained, method: str) -> str:
    """Return a title: the method, and the trial and arm that it examines."""
    return f"{method}, from trial {trained.entry.trial} ({trained.entry.arm})"


def donor(folder: Path, number: int | str | None, method: str) -> Trained:
    """The trial of that number, or the best on validation: of AdaLoRA for `adalora`, of LoRA without it otherwise."""
    adalora = method == "adalora"
    records = [entry for entry in record.read(folder) if _fits(entry, adalora)]
    if isinstance(number, int):
        records = [entry for entry in records if entry.trial == number]
    if (found := best_on_validation(records)) is None:
        which = f" {number}" if isinstance(number, int) else ""
        kind = "AdaLoRA" if adalora else "LoRA"
        raise ConfigError(f"study={folder.name}: no complete trial{which} of {kind} in {folder}; method={method}")
    return trained_of(found, folder)


def _fits(entry: Record, adalora: bool) -> bool:
    return entry.state == "complete" and entry.lora.is_low_rank and bool(entry.adapter.kept_ranks) is adalora


def costs_of(trained: Trained) -> RankCosts:
    """Return the cost of a rank of LoRA in each layer that a trial adapted."""
    lora = plain_lora(trained.config)
    every = layer_costs(trained.config, lora, "parameters", layer_limits(trained.config, lora))
    return RankCosts({layer: every.each[layer] for layer in trained.entry.adapter.ranks})


def check_budget(most: int, costs: RankCosts) -> None:
    """Raise ConfigError for a budget that no rank keeps."""
    if most < (least := _least(costs)):
        raise ConfigError(f"parameters={most}: below {least}, what the first rank costs")


def _least(costs: RankCosts) -> int:
    return min(costs.of(layer, 1) for layer in costs.each)


def allocated(gains: Gains, costs: RankCosts, most: int, limits: Mapping[str, int] | None = None) -> Ranks:
    """The ranks of the greatest gain, none above its limit.

    Where nothing more is gained, ranks fill the budget: parameters are equal.
    """
    whole, least = sum(map(sum, gains.values())) or 1.0, min(costs.each.values())

    def worth(layer: str, rank: int, gain: float) -> float:
        return max(gain / whole, _FILL * (costs.of(layer, rank) - costs.of(layer, rank - 1)) / least)

    filled = {
        layer: [worth(layer, rank, gain) for rank, gain in enumerate(steps[: (limits or {}).get(layer)], 1)]
        for layer, steps in gains.items()
    }
    return allocate(filled, costs, most)


def _proportional(wanted: Mapping[str, int], costs: RankCosts, most: int, limits: Mapping[str, int]) -> Ranks:
    budget = RankBudget(costs.each, 0, max(limits.values()), most, limits, present=costs.present)
    found = budget.project({layer: wanted.get(layer, 0) for layer in costs.each})
    return {layer: int(rank) for layer, rank in found.items()}


def with_profiles(config: Config) -> Config:
    """The study with the ranks of `sweep.allocate`: as it was begun with them, or found now.

    Raises ConfigError where a study that is read has no such trial, or its trial adapted other layers.
    """
    sweep = config.sweep
    if sweep is None or not sweep.allocate:
        return config
    folder = Path(config.results) / config.study
    kept = stored_sweep(folder).get("profiles") if has_begun(folder) else None
    found = kept or _profiles(config, sweep.allocate, sweep.budget)
    return check(to_dict(config) | {"sweep": to_dict(sweep) | {"profiles": found}})


def _profiles(
    config: Config, asked: Mapping[Allocation, str | None], budget: BudgetConfig | None
) -> dict[str, list[list[str | int]]]:
    assert budget is not None
    lora, unit = without_patterns(config, "sweep.allocate"), budget.unit
    limits = layer_limits(config, lora)
    costs = rank_costs(config, lora, unit, {name: [name] for name in limits}, limits)
    if budget.most < (least := costs.fixed + _least(costs)):
        raise ConfigError(f"sweep.budget.{unit}={budget.most}: below {least}, what the first rank comes to")
    left, costs = budget.most - costs.fixed, dataclasses.replace(costs, fixed=0)
    return {method: _profile(config, method, study, left, costs).pairs for method, study in asked.items()}


def _profile(config: Config, method: str, study: str | None, most: int, costs: RankCosts) -> Profile:
    if study is None:
        return before_training(config, method, most, costs)
    where = f"sweep.allocate.{method}={study}"
    try:
        trained = donor(Path(config.results) / study, None, method)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if mine := costs.each.keys() ^ trained.entry.adapter.ranks.keys():
        raise ConfigError(f"{where}: its trial and lora.targets adapt different layers, {sorted(mine)[0]} in one alone")
    try:
        return of_trial(trained, method, most, config, costs)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
