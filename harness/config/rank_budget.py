"""Ranks by group under a budget: the projection that keeps it, and the exact choice by gains."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.config.arms import Point


@dataclasses.dataclass(frozen=True)
class Budget:
    """What each rank of a group costs, the ranks that it may have, and the most that all may cost together.

    `limits` are the highest ranks of groups that may not have `high`. `fixed` is the part of `most` that is used
    whatever the ranks.
    """

    costs: Mapping[str, int]
    low: int
    high: int
    most: int
    limits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    fixed: int = 0

    def used(self, point: Point) -> int:
        """What the ranks of a point cost, and what is fixed."""
        return self.fixed + sum(cost * int(point[key]) for key, cost in self.costs.items())

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
        while fitting := [key for key in keys if self.costs[key] <= left and ranks[key] < self._high(key)]:
            chosen = max(fitting, key=lambda key: (factor * wanted[key] - ranks[key], -keys.index(key)))
            ranks[chosen] += 1
            left -= self.costs[chosen]
        return point | ranks

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


def allocate(gains: Mapping[str, Sequence[float]], costs: Mapping[str, int], most: int) -> dict[str, int]:
    """The ranks by layer with the greatest sum of gains among those that cost no more than `most`, found exactly.

    `gains[layer][i]` is what the rank i + 1 adds to rank i of a layer. Dynamic programming over the budget, in units of
    the costs' greatest common divisor; of equal sums the cheaper one.
    """
    unit = math.gcd(*costs.values())
    room = most // unit
    best = np.zeros(room + 1)
    chosen: list[tuple[str, int, np.ndarray[Any, Any]]] = []
    for layer, steps in gains.items():
        cost = costs[layer] // unit
        after, picks, total = best.copy(), np.zeros(room + 1, int), 0.0
        for rank, gain in enumerate(steps[: room // cost], 1):
            total += gain
            value = best[: room + 1 - rank * cost] + total
            more = value > after[rank * cost :] + 1e-12
            after[rank * cost :][more], picks[rank * cost :][more] = value[more], rank
        best = after
        chosen.append((layer, cost, picks))
    at, ranks = int(best.argmax()), {}  # the first of equal sums
    for layer, cost, picked in reversed(chosen):
        ranks[layer] = int(picked[at])
        at -= ranks[layer] * cost
    return {layer: ranks[layer] for layer in gains}
