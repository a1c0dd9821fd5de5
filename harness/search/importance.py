"""The importance of each dimension of a search: Optuna's PED-ANOVA, compared with shuffled scores."""

import dataclasses
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial

from harness.config import Choice, SweepConfig
from harness.config.arms import Arm, arm_of, arms
from harness.record import Record, direction
from harness.report.statistics import holm
from harness.search.space import compared_distributions, distributions, encoded, of_values, parameters

# Optuna announces each study by default.
optuna.logging.set_verbosity(optuna.logging.WARNING)

LEAST_TRIALS = 20
"""Complete trials; of fewer, no figure is given."""
_BEST = 0.25  # of the least number of trials, the five that Optuna's description of the method asks for
_SHUFFLES = 25  # for each dimension: enough that one of all can have a p below 0.05


@dataclasses.dataclass(frozen=True)
class Importances:
    """Each dimension's share of the whole, and how often shuffled scores give as much: p, by Holm, approximate.

    Both are empty where there are too few `trials`. `best` is the share of the trials that counts as the best.
    """

    trials: int
    needed: int
    metric: str
    best: float
    shares: dict[str, float]
    p: dict[str, float]


def importances(sweep: SweepConfig, records: Sequence[Record]) -> Importances | None:
    """Compute how much each dimension decided whether a trial was among the best; None with fewer than two dimensions.

    Compared values are dimensions, too, numbers as numbers. Baselines are left out, and trials that were pruned.
    """
    all_arms = arms(sweep)
    searched = [arm for arm in all_arms if not arm.baseline] or all_arms
    kinds = {key: kind for key, kind in compared_distributions(searched).items() if key != "arm"}
    found = [trial for entry in records if (trial := _trial(entry, all_arms, kinds)) is not None]
    keys = list(dict.fromkeys(key for trial, _ in found for key in trial.params))
    if len(keys) < 2:
        return None
    metric, count = records[0].objective, len(found)
    if count < LEAST_TRIALS:
        return Importances(count, LEAST_TRIALS, metric, _BEST, {}, {})
    losses = [-direction(metric) * score for _, score in found]
    shares, p = _against_chance([trial for trial, _ in found], losses)
    return Importances(count, LEAST_TRIALS, metric, _BEST, shares, p)


def _trial(
    entry: Record, all_arms: Sequence[Arm], compared: Mapping[str, BaseDistribution]
) -> tuple[FrozenTrial, float] | None:
    arm, score = arm_of(all_arms, entry.arm), entry.scores.get("val", {}).get(entry.objective)
    if entry.phase != "search" or entry.state != "complete" or arm is None or arm.baseline or score is None:
        return None
    own: dict[str, Any] = {key: encoded(value) for key, value in arm.values.items() if key in compared}
    kinds = {key: compared[key] for key in own} | distributions(arm, entry.point)
    chosen = {key: arm.nuisance[key].values for key in entry.point if isinstance(arm.nuisance[key], Choice)}
    kinds |= {key: of_values(values) for key, values in chosen.items() if values}
    made = optuna.trial.create_trial(value=0.0, params=own | parameters(arm, entry.point), distributions=kinds)
    return made, score


def _against_chance(
    trials: Sequence[FrozenTrial], losses: Sequence[float]
) -> tuple[dict[str, float], dict[str, float]]:
    """The shares, the greatest first, and of each the part of shuffles that give at least as much."""
    study, draw = optuna.create_study(), random.Random(0)  # noqa: S311  shuffles that repeat
    study.add_trials(trials)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=_BEST)

    def evaluated(values: Sequence[float]) -> dict[str, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that lower is better: it is
            return evaluator.evaluate(study, target=lambda trial: values[trial.number])

    found = evaluated(losses)
    count = _SHUFFLES * len(found) - 1
    shuffled = [evaluated(draw.sample(losses, len(losses))) for _ in range(count)]
    whole = sum(found.values()) or 1.0
    ordered = sorted(found, key=lambda key: -found[key])
    p = [(1 + sum(each[key] >= found[key] for each in shuffled)) / (1 + count) for key in ordered]
    return {key: found[key] / whole for key in ordered}, dict(zip(ordered, holm(p), strict=True))
