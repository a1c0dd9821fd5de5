"""The nuisance space of an arm: its ranges as Optuna distributions, and points of the unit cube mapped into it."""

import math

from optuna.distributions import BaseDistribution, FloatDistribution

from harness.config import Range
from harness.config.arms import Arm


def distributions(arm: Arm) -> dict[str, BaseDistribution]:
    """The arm's nuisance ranges as Optuna distributions, by dotted key."""
    return {key: FloatDistribution(bounds.low, bounds.high, log=bounds.log) for key, bounds in arm.nuisance.items()}


def from_unit(fraction: float, bounds: Range) -> float:
    """Map a fraction of 0…1 into a range, on a log scale if the range has one."""
    if bounds.log:
        low, high = math.log(bounds.low), math.log(bounds.high)
        return round_in_range(math.exp(low + fraction * (high - low)), bounds)
    return round_in_range(bounds.low + fraction * (bounds.high - bounds.low), bounds)


def round_in_range(value: float, bounds: Range) -> float:
    """Round to three significant digits, which tables show and users retype, without leaving the range."""
    return min(max(float(f"{value:.3g}"), bounds.low), bounds.high)
