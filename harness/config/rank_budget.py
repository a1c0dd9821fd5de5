"""Ranks under a budget: the projection that keeps it, and the exact choice by gains."""

import bisect
import dataclasses
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from harness.config.arms import Point
from harness.config.searched_ranks import PriceConfig


@dataclasses.dataclass(frozen=True)
class RankCosts:
    """The costs of ranks of groups: `each` for a unit of rank, `present` if the rank is above 0, and `fixed` in any
    case.

    DoRA's magnitudes are present where there is a rank at all.
    """

    each: Mapping[str, int]
    present: Mapping[str, int] = dataclasses.field(default_factory=dict)
    fixed: int = 0

    def of(self, key: str, rank: int) -> int:
        """Return the cost of a group at a rank."""
        return self.each[key] * rank + (self.present.get(key, 0) if rank else 0)

    def used(self, ranks: Mapping[str, int]) -> int:
        """Return the total cost of the ranks of all groups, with the fixed cost."""
        return self.fixed + sum(self.of(key, int(ranks[key])) for key in self.each)


@dataclasses.dataclass(frozen=True)
class RankBudget:
    """A budget: the cost of a unit of each group's rank, the allowed ranks, and the most that all may cost together.

    `limits` are the highest ranks of groups that may not have `high`. `present` and `fixed` as in `RankCosts`.
    """

    costs: Mapping[str, int]
    low: int
    high: int
    most: int
    limits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    fixed: int = 0
    present: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def covers(self, point: Point) -> bool:
        """Return whether a point has the ranks of all groups; a baseline's has none."""
        return set(self.costs) <= set(point)

    def used(self, point: Point) -> int:
        """Return the total cost of a point's ranks, with the fixed cost."""
        return RankCosts(self.costs, self.present, self.fixed).used(point)

    def project(self, point: Point) -> Point:
        """The point with its ranks scaled so that they use the budget: never more, and no rank could be one higher.

        All ranks are multiplied by the greatest factor that fits once they are rounded down and held to their range;
        then, one at a time, the rank grows by one whose rounding took most, as long as any fits. Ranks in the same
        proportions so lead to the same point.
        """
        keys = [key for key in self.costs if key in point]
        wanted = {key: max(float(point[key]), 1e-9) for key in keys}
        factor = self._factor(wanted)
        ranks = self._scaled(wanted, factor)
        left = self.most - self.used(ranks)
        while fitting := [key for key in keys if self._next(key, ranks) <= left and ranks[key] < self._high(key)]:
            chosen = max(fitting, key=lambda key: (factor * wanted[key] - ranks[key], -keys.index(key)))
            left -= self._next(chosen, ranks)
            ranks[chosen] += 1
        return point | ranks

    def _next(self, key: str, ranks: Mapping[str, int]) -> int:
        """Return the cost of one more rank of a group."""
        return self.costs[key] + (0 if ranks[key] else self.present.get(key, 0))

    def _scaled(self, wanted: Mapping[str, float], factor: float) -> dict[str, int]:
        return {key: min(max(math.floor(factor * value), self.low), self._high(key)) for key, value in wanted.items()}

    def _high(self, key: str) -> int:
        return min(self.high, self.limits.get(key, self.high))

    def _factor(self, wanted: Mapping[str, float]) -> float:
        """The greatest factor that fits, by halving; the same on every machine."""
        below, above = 0.0, (self.high + 1) / min(wanted.values(), default=1.0)
        for _ in range(80):
            middle = (below + above) / 2
            if self.used(self._scaled(wanted, middle)) <= self.most:
                below = middle
            else:
                above = middle
        return below


@dataclasses.dataclass(frozen=True)
class SearchedBudget:
    """The values that each searched rank may have, ascending, their prices, and the most that they may cost together.

    The least values keep it whatever else a point has.
    """

    values: Mapping[str, Sequence[int]]
    prices: Sequence[PriceConfig]
    most: int

    def covers(self, point: Point) -> bool:
        """Return whether a point has a rank; a baseline's has none."""
        return not self.values.keys().isdisjoint(point)

    def used(self, point: Point) -> int:
        """The adapter's parameters at a point."""
        price = next(
            price for price in self.prices if all(point.get(key) == value for key, value in price.where.items())
        )
        return price.of(point)

    def project(self, point: Point) -> Point:
        """The point if it keeps the budget; else its ranks multiplied by the greatest factor with which it does.

        They are rounded down to values that they may have. Then each in turn takes the highest that still fits, none
        above what it was. What costs less than the budget stays, so that fewer parameters can be an objective.
        """
        if self.used(point) <= self.most:
            return point
        allowed = {
            key: [value for value in values if value <= point[key]]
            for key, values in self.values.items()
            if key in point
        }
        factors = {Fraction(value, values[-1]) for values in allowed.values() if values[-1] for value in values}
        steps = sorted(factors | {Fraction(0)})

        def scaled(factor: Fraction) -> Point:
            return point | {
                key: max((value for value in values if value <= factor * values[-1]), default=values[0])
                for key, values in allowed.items()
            }

        fitting = bisect.bisect(steps, False, key=lambda factor: self.used(scaled(factor)) > self.most)
        found = scaled(steps[fitting - 1])
        for key, values in allowed.items():
            found[key] = max(value for value in values if self.used(found | {key: value}) <= self.most)
        return found


def allocate(gains: Mapping[str, Sequence[float]], costs: RankCosts, most: int) -> dict[str, int]:
    """The ranks by layer with the greatest sum of gains among those that cost no more than `most`, found exactly.

    `gains[layer][i]` is what the rank i + 1 adds to rank i of a layer. Dynamic programming over the budget, in units of
    the costs' greatest common divisor; of equal sums the cheaper one.
    """
    unit = math.gcd(*costs.each.values(), *costs.present.values())
    room = (most - costs.fixed) // unit
    best = np.zeros(room + 1)
    chosen: list[tuple[str, np.ndarray[Any, Any]]] = []
    for layer, steps in gains.items():
        after, picks, total = best.copy(), np.zeros(room + 1, int), 0.0
        for rank, gain in enumerate(steps, 1):
            if (cost := costs.of(layer, rank) // unit) > room:
                break
            total += gain
            value = best[: room + 1 - cost] + total
            more = value > after[cost:] + 1e-12
            after[cost:][more], picks[cost:][more] = value[more], rank
        best = after
        chosen.append((layer, picks))
    at, ranks = int(best.argmax()), {}  # the first of equal sums
    for layer, picked in reversed(chosen):
        ranks[layer] = int(picked[at])
        at -= costs.of(layer, ranks[layer]) // unit
    return {layer: ranks[layer] for layer in gains}
