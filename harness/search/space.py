"""The nuisance space of an arm in Optuna's terms: distributions, parameters, and a proposal.

Optuna's categories are scalars: a list or a mapping is one as the JSON that it has.
"""

import json
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
