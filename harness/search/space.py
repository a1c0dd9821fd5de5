"""The nuisance space of an arm in Optuna's terms: distributions, parameters, and a proposal.

Optuna's categories are scalars: a list or a mapping is one as the JSON that it has.
"""

import json
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from harness.config.arms import Arm, Point
from harness.config.space import Choice, Range, exists, in_order


def distributions(arm: Arm, point: Point) -> dict[str, BaseDistribution]:
    """The dimensions that exist at a point of the arm's, by dotted key."""
    return {key: _distribution(arm.nuisance[key]) for key in point}


def parameters(arm: Arm, point: Point) -> dict[str, Any]:
    """The point as Optuna's parameters."""
    return {key: encoded(value) for key, value in point.items()}


def compared_distributions(all_arms: Sequence[Arm]) -> dict[str, BaseDistribution]:
    """Dimensions of what arms are compared by: their names, and each key whose values differ, numbers as numbers.

    Baselines decide no key, but have room in a dimension for the values that they set.
    """
    kinds: dict[str, BaseDistribution] = {"arm": CategoricalDistribution([arm.name for arm in all_arms])}
    tuned = {key for arm in all_arms for key in arm.nuisance}
    values: dict[str, list[Any]] = {}
    for arm in all_arms:
        for key, value in () if arm.baseline else arm.values.items():
            values.setdefault(key, []).append(value)
    for key, found in values.items():
        if key not in tuned and len({json.dumps(value) for value in found}) > 1:
            kinds[key] = of_values(
                [*found, *(arm.values[key] for arm in all_arms if arm.baseline and key in arm.values)]
            )
    return kinds


def of_values(values: Sequence[Any]) -> BaseDistribution:
    """The dimension of values that are compared: from the least to the greatest where they are numbers."""
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return IntDistribution(min(values), max(values), log=min(values) > 0)
    if kinds <= {int, float}:
        return FloatDistribution(min(values), max(values), log=min(values) > 0)
    return CategoricalDistribution(list(dict.fromkeys(map(encoded, values))))


def suggest(trial: optuna.Trial, arm: Arm) -> Point:
    """The point that a trial's sampler proposes. A key is not asked for where its condition does not hold."""
    point: Point = {}
    for key in in_order(arm.nuisance):
        dimension = arm.nuisance[key]
        if exists(dimension, point):
            point[key] = dimension.rounded(_suggested(trial, key, dimension))
    return {key: point[key] for key in arm.nuisance if key in point}


def _suggested(trial: optuna.Trial, key: str, dimension: Range | Choice) -> Any:
    match _distribution(dimension):
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_float(key, low, high, log=log, step=step)
        case IntDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_int(key, low, high, log=log, step=step)
    by_name = {encoded(choice): choice for choice in dimension.ends}
    return by_name[trial.suggest_categorical(key, list(by_name))]


def _distribution(dimension: Range | Choice) -> BaseDistribution:
    match dimension:
        case Choice():
            return CategoricalDistribution([encoded(choice) for choice in dimension.choices])
        case Range(integer=True):
            low, high, step = int(dimension.low), int(dimension.high), int(dimension.spacing or 1)
            return IntDistribution(low, high, log=dimension.log, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def encoded(value: Any) -> Any:
    """A value as Optuna's."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
