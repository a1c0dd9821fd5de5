"""The space of a study: its arms, and where in an arm's nuisance space the next trial goes.

An arm is one scientific value (a rank) or a baseline. Nuisance values (learning rate, scale) are tuned within each
arm, at equal trials; only then are arms compared.
"""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState

from harness.config import Range, SweepConfig
from harness.record import Record

Point = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Arm:
    """What is compared: the dotted keys it sets, and the ranges that are tuned for it."""

    name: str
    values: dict[str, Any]
    nuisance: dict[str, Range]


def arms(sweep: SweepConfig) -> list[Arm]:
    """The product of all scientific values, then the baselines, each over the keys that go across them."""
    compared = [Arm(_name(point), point, sweep.nuisance) for point in _product(sweep, list(sweep.scientific)) if point]
    beside = [
        Arm(",".join(filter(None, (name, _name(point)))), {**arm.set, **point}, arm.nuisance)
        for name, arm in sweep.baselines.items()
        for point in _product(sweep, sweep.across or [])
    ]
    return compared + beside


def _product(sweep: SweepConfig, keys: Sequence[str]) -> list[dict[str, Any]]:
    values = itertools.product(*(sweep.scientific[key] for key in keys))
    return [dict(zip(keys, chosen, strict=True)) for chosen in values]


def distributions(arm: Arm) -> dict[str, BaseDistribution]:
    """The arm's nuisance ranges in Optuna's terms."""
    return {key: FloatDistribution(bounds.low, bounds.high, log=bounds.log) for key, bounds in arm.nuisance.items()}


def propose(arm: Arm, index: int, seed: int, startup: int, objective: str, history: Sequence[Record]) -> Point:
    """Nuisance values of the arm's index-th trial: a function of its arguments alone, so a resumed study agrees.

    The first `startup` trials take a scrambled Sobol sequence, the same unit points in every arm, so that arms are
    compared on like draws. Later ones take Optuna's TPE, fed with the arm's own finished trials. `history` holds the
    records of the arm.
    """
    if not arm.nuisance:
        return {}
    if index < startup:
        return _sobol(arm, index, seed)
    sampler = optuna.samplers.TPESampler(seed=_seed(seed, arm.name, index), n_startup_trials=1)
    memory = optuna.create_study(sampler=sampler, direction="minimize" if objective == "loss" else "maximize")
    memory.add_trials(
        [_remembered(arm, entry, objective) for entry in history if entry.state != "fail" and "val" in entry.scores]
    )
    return {key: _rounded(value, arm.nuisance[key]) for key, value in memory.ask(distributions(arm)).params.items()}


def _remembered(arm: Arm, entry: Record, objective: str) -> optuna.trial.FrozenTrial:
    value = entry.scores["val"][objective]
    done = entry.state == "complete"
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if done else TrialState.PRUNED,
        value=value if done else None,
        intermediate_values={} if done else {entry.steps["made"]: value},
        params=entry.point,
        distributions=distributions(arm),
    )


def _sobol(arm: Arm, index: int, seed: int) -> Point:
    from torch.quasirandom import SobolEngine

    engine = SobolEngine(len(arm.nuisance), scramble=True, seed=seed)
    unit = engine.draw(index + 1)[index].tolist()
    return {key: _scaled(share, bounds) for share, (key, bounds) in zip(unit, arm.nuisance.items(), strict=True)}


def _scaled(share: float, bounds: Range) -> float:
    if bounds.log:
        low, high = math.log(bounds.low), math.log(bounds.high)
        return _rounded(math.exp(low + share * (high - low)), bounds)
    return _rounded(bounds.low + share * (bounds.high - bounds.low), bounds)


def _rounded(value: float, bounds: Range) -> float:
    """Three digits are what a table shows and a person retypes; the range still holds."""
    return min(max(float(f"{value:.3g}"), bounds.low), bounds.high)


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def _name(values: Mapping[str, Any]) -> str:
    return ",".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    if value is None:
        return "all"  # of what there is: no limit was given
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
