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
from harness.config.rank_budget import Budget, allocate
from harness.record import Record, best_on_validation
from harness.system.study_files import has_begun
from harness.trial.allocation import adapter_energies, gradient_energies, plain_lora, variance_shares
from harness.trial.rank_costs import RankCosts, layer_costs, layer_limits, rank_costs, without_patterns
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
    costs: Mapping[str, int]
    gains: Gains

    @property
    def used(self) -> int:
        """The parameters of all ranks."""
        return used(self.ranks, self.costs)

    @property
    def pairs(self) -> list[list[str | int]]:
        """As `lora.ranks` takes it."""
        return [[re.escape(layer), rank] for layer, rank in self.ranks.items()]

    def write(self, path: Path) -> None:
        """Write the file that `lora.ranks` takes. Raises ConfigError where it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.pairs, indent=1) + "\n")
        except OSError as error:
            raise ConfigError(f"output={path}: {error.strerror or error}") from None


def before_training(config: Config, method: str, most: int, costs: Mapping[str, int] | None = None) -> Profile:
    """The ranks of `uniform`, `eva` or `gradient` for a configuration's network; costs are parameters, or given."""
    costs = costs or layer_costs(config, plain_lora(config))
    check_budget(most, costs)
    title = f"{method} ({config.task.name}, {config.model.name})"
    if method == "uniform":
        return Profile(title, _proportional(dict.fromkeys(costs, 1), costs, most, config), costs, {})
    gains = variance_shares(config) if method == "eva" else gradient_energies(config)
    return Profile(title, allocated(gains, costs, most), costs, gains)


def of_trial(trained: Trained, method: str, most: int, costs: Mapping[str, int] | None = None) -> Profile:
    """The ranks of `spectrum` or `adalora` of a trial; costs are parameters, or given."""
    costs, title = costs or costs_of(trained), title_of(trained, method)
    check_budget(most, costs)
    if method == "adalora":
        kept = {str(layer): int(rank) for layer, rank in trained.entry.adapter.kept_ranks}
        return Profile(title, _proportional(kept, costs, most, trained.config), costs, {})
    gains = adapter_energies(trained)
    return Profile(title, allocated(gains, costs, most), costs, gains)


def title_of(trained: Trained, method: str) -> str:
    """Which trial of which arm a method looks at."""
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


def costs_of(trained: Trained) -> dict[str, int]:
    """What a rank of each layer costs that a trial adapted."""
    every = layer_costs(trained.config, plain_lora(trained.config))
    return {layer: every[layer] for layer in trained.entry.adapter.ranks}


def check_budget(most: int, costs: Mapping[str, int]) -> None:
    """Raise ConfigError for a budget that no rank keeps."""
    if most < min(costs.values()):
        raise ConfigError(f"parameters={most}: below {min(costs.values())}, what the first rank costs")


def allocated(gains: Gains, costs: Mapping[str, int], most: int) -> Ranks:
    """The ranks of the greatest gain; where nothing more is gained, ranks fill the budget: parameters are equal."""
    whole, least = sum(map(sum, gains.values())) or 1.0, min(costs.values())
    filled = {
        layer: [max(gain / whole, _FILL * costs[layer] / least) for gain in steps] for layer, steps in gains.items()
    }
    return allocate(filled, costs, most)


def used(ranks: Mapping[str, int], costs: Mapping[str, int]) -> int:
    """The parameters of ranks by layer."""
    return sum(costs[layer] * rank for layer, rank in ranks.items())


def _proportional(wanted: Mapping[str, int], costs: Mapping[str, int], most: int, config: Config) -> Ranks:
    limits = layer_limits(config, plain_lora(config))
    budget = Budget(costs, 0, max(limits.values()), most, limits)
    found = budget.project({layer: wanted.get(layer, 0) for layer in costs})
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
    layers, unit = layer_costs(config, plain_lora(config)), budget.unit
    costs = RankCosts(layers)
    if unit != "parameters":
        costs = rank_costs(config, without_patterns(config, "sweep.allocate"), unit, {name: [name] for name in layers})
    if budget.most < (least := costs.fixed + min(costs.each.values())):
        raise ConfigError(f"sweep.budget.{unit}={budget.most}: below {least}, what the first rank comes to")
    left = budget.most - costs.fixed
    return {method: _profile(config, method, study, left, costs.each).pairs for method, study in asked.items()}


def _profile(config: Config, method: str, study: str | None, most: int, costs: Mapping[str, int]) -> Profile:
    if study is None:
        return before_training(config, method, most, costs)
    where = f"sweep.allocate.{method}={study}"
    try:
        trained = donor(Path(config.results) / study, None, method)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if mine := set(costs) ^ trained.entry.adapter.ranks.keys():
        raise ConfigError(f"{where}: its trial and lora.targets adapt different layers, {sorted(mine)[0]} in one alone")
    try:
        return of_trial(trained, method, most, costs)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
