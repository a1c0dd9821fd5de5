"""The arms of a study: what is compared, and which dimensions are tuned for each arm.

An arm is one combination of scientific values (a rank, a target set) or a baseline. Nuisance values (learning rate,
scale) are tuned within each arm, at equal trials; only then are arms compared.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.schema import SweepConfig
from harness.config.space import Point, Space

__all__ = ["Arm", "Point", "arms"]


@dataclasses.dataclass(frozen=True)
class Arm:
    """The dotted keys that an arm sets, and the nuisance dimensions that are tuned for it.

    A trial's point is proposed from trials of the arm that are more than `lag` before it, so that as many may run at
    once and one more.
    """

    name: str
    values: dict[str, Any]
    nuisance: Space
    baseline: bool = False
    lag: int = 0


def arms(sweep: SweepConfig) -> list[Arm]:
    """The product of all scientific values, then every baseline over the product of the `across` keys."""
    compared = [
        Arm(_name(point), point, sweep.nuisance, lag=sweep.lag or 0)
        for point in _product(sweep, list(sweep.scientific))
        if point
    ]
    baselines = [
        Arm(
            ",".join(filter(None, (name, _name(point)))),
            {**arm.set, **point},
            arm.nuisance,
            baseline=True,
            lag=sweep.lag or 0,
        )
        for name, arm in sweep.baselines.items()
        for point in _product(sweep, sweep.across or [])
    ]
    return compared + baselines


def _product(sweep: SweepConfig, keys: Sequence[str]) -> list[dict[str, Any]]:
    combinations = itertools.product(*(sweep.scientific[key] for key in keys))
    return [dict(zip(keys, values, strict=True)) for values in combinations]


def _name(values: Mapping[str, Any]) -> str:
    return ",".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    if value is None:
        return "all"  # no limit was given
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
