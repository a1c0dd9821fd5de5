"""Comparing arms that were trained with several seeds and scored on the same test items.

A score of an arm varies with the seed of training and with the items that happen to be in the test split. Both count:
a difference holds for new seeds and for new items of the same kind. The design is crossed, every seed of every arm is
scored on every item; the variance is that of two crossed facets (Brennan, Generalizability Theory, 2001, chapter 4):

    Var(difference) = [arm × seed] / seeds + [arm × item] / items + [residual] / (seeds · items)

The variation of a run from seed to seed is estimated from all arms of one kind together, adapters being one kind, and
never taken for less than an arm's own spread: pooled over kinds, a steady arm would narrow the interval of one that is
not. An arm that plainly moves more than its like is judged by itself, with the few degrees of freedom it has. Degrees
of freedom of the sum are Satterthwaite's (1946). Intervals are simultaneous over all comparisons with one reference
(Dunnett, 1964): in 95 % of studies every one of them holds.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Verdict = Literal["better", "worse", "equal within the margin", "not decided"]

LEVEL = 0.95
POWER = 0.8
APART = 0.05
"""An arm whose spread is so unlikely among its like is not taken to vary as they do."""


@dataclass(frozen=True)
class Comparison:
    """An arm against the reference: the difference of their means over seeds, positive where the arm is better.

    `low` and `high` are its simultaneous interval. `detectable` is the least true difference that a study of this size
    and noise finds with a power of 80 %.
    """

    difference: float
    low: float
    high: float
    standard_error: float
    freedom: float
    detectable: float

    def within(self, reach: float) -> "Comparison":
        """Clip the interval: no two scores can be further apart than `reach`."""
        return replace(self, low=max(self.low, -reach), high=min(self.high, reach))

    def verdict(self, margin: float) -> Verdict:
        """Return the verdict of the interval; a difference up to `margin`, in units of the score, is too small to
        matter.
        """
        if self.low > 0:
            return "better"
        if self.high < 0:
            return "worse"
        if -margin < self.low and self.high < margin:
            return "equal within the margin"
        return "not decided"


@dataclass(frozen=True)
class Mean:
    """An arm's mean over seeds and its own 95 % interval over new seeds and items; `spread` is the sd over seeds."""

    mean: float
    low: float
    high: float
    spread: float

    def within(self, least: float, most: float) -> "Mean":
        """Clip the interval of a score that cannot leave these bounds."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))


def compare(items: Mapping[str, Floats], reference: str, kinds: Mapping[str, str]) -> dict[str, Comparison]:
    """Every other arm against `reference`.

    `items` holds for each arm a matrix (seeds, items): what each item scored with each seed, higher is better, seeds
    and items in the same order in every arm. A measure that no item has a part in (one column) counts seeds alone.
    `kinds` names the kind of each arm: those of one kind are taken to vary alike from seed to seed. Raises ValueError
    for fewer than two seeds or two arms.
    """
    others = [name for name in items if name != reference]
    if not others or len(items[reference]) < 2:
        raise ValueError("comparing needs at least two arms and two seeds")
    spreads = _spreads_of(items, kinds)
    found = {}
    for name in others:
        difference = items[name] - items[reference]
        mine, theirs = spreads[name], spreads[reference]
        least = _chance(items[name]) + _chance(items[reference])
        variance = max(mine.square + theirs.square + _item_part(difference), least)
        freedom = _freedom(variance, mine, theirs, kinds[name] == kinds[reference])
        error = math.sqrt(variance)
        reach = critical(len(others), freedom)
        centre = float(difference.mean())
        seen = (reach + _t(POWER, freedom)) * error
        found[name] = Comparison(centre, centre - reach * error, centre + reach * error, error, freedom, seen)
    return found


@dataclass(frozen=True)
class _Spread:
    """The variance over seeds of an arm's mean, and the degrees of freedom of that estimate."""

    square: float
    freedom: float


def _spreads_of(items: Mapping[str, Floats], kinds: Mapping[str, str]) -> dict[str, _Spread]:
    seeds = len(next(iter(items.values())))
    own = {name: float(values.mean(1).var(ddof=1)) for name, values in items.items()}
    alike = {kind: np.array([own[name] for name in items if kinds[name] == kind]) for kind in set(kinds.values())}
    return {name: _spread(own[name], alike[kinds[name]], seeds) for name in items}


def _spread(own: float, alike: Floats, seeds: int) -> _Spread:
    """Pool the spread of all arms of a kind, and never go below the arm's own.

    An arm that an F test tells apart from its like is judged by itself, with the degrees of freedom that it has alone.
    """
    from scipy.stats import f

    alone, others = seeds - 1, float(alike.sum()) - own
    count = len(alike) - 1
    if count and f.sf(count * own / others if others > 0 else math.inf, alone, count * alone) < APART and own > 0:
        return _Spread(own / seeds, alone)
    return _Spread(max(own, float(alike.mean())) / seeds, len(alike) * alone)


def _freedom(variance: float, mine: _Spread, theirs: _Spread, one_kind: bool) -> float:
    """Satterthwaite's; two arms of one kind share one estimate, items have as good as all degrees of freedom."""
    if one_kind:
        parts = [((mine.square + theirs.square), min(mine.freedom, theirs.freedom))]
    else:
        parts = [(mine.square, mine.freedom), (theirs.square, theirs.freedom)]
    known = sum(square**2 / freedom for square, freedom in parts)
    return variance**2 / known if known > 0 else math.inf


def mean_of(items: Floats) -> Mean:
    """An arm's mean score; `items` as in `compare`, of at least two seeds."""
    seeds, _ = items.shape
    runs = items.mean(1)
    spread = float(runs.std(ddof=1))
    from_seeds = spread**2 / seeds
    variance = max(from_seeds + _item_part(items), _chance(items))
    freedom = (seeds - 1) * (variance / from_seeds) ** 2 if from_seeds > 0 else math.inf
    half, centre = _t(0.5 + LEVEL / 2, freedom) * math.sqrt(variance), float(runs.mean())
    return Mean(centre, centre - half, centre + half, spread)


def detectable(arms: int, seeds: int, items: int, *, run_sd: float, disagreement: float, between: float) -> float:
    """The least true difference between an adapter and full fine-tuning that has a power of 80 %, before any training.

    `arms` counts all arms that are confirmed, two of them baselines; `run_sd` is the spread of an arm's true score over
    seeds, `disagreement` the share of items on which two runs of one arm differ, `between` the variance over items of
    what two arms, each over many seeds, score differently on one.
    """
    planned = _planned(arms, seeds, items, run_sd=run_sd, disagreement=disagreement, between=between)
    return (planned.reach + _t(POWER, planned.freedom)) * planned.error


def equal_within(arms: int, seeds: int, items: int, *, run_sd: float, disagreement: float, between: float) -> float:
    """The least margin within which an adapter and full fine-tuning that are equal are called so with a power of 80 %.

    Arguments are as for `detectable`. The interval has to lie within the margin on both sides.
    """
    planned = _planned(arms, seeds, items, run_sd=run_sd, disagreement=disagreement, between=between)
    return (planned.reach + _t(0.5 + POWER / 2, planned.freedom)) * planned.error


@dataclass(frozen=True)
class _Planned:
    """A planned difference: its standard error, its degrees of freedom, and its interval's reach in standard errors."""

    error: float
    freedom: float
    reach: float


def _planned(arms: int, seeds: int, items: int, *, run_sd: float, disagreement: float, between: float) -> _Planned:
    square = (run_sd**2 + disagreement / 2 / items) / seeds
    variance = 2 * square + between / items
    adapters = max(1, arms - 2)
    freedom = _freedom(variance, _Spread(square, adapters * (seeds - 1)), _Spread(square, seeds - 1), one_kind=False)
    return _Planned(math.sqrt(variance), freedom, critical(arms - 1, freedom))


def _item_part(values: Floats) -> float:
    """The part of the variance of a mean that is of the items and the same for all seeds; 0 where none shows."""
    seeds, items = values.shape
    if items < 2:
        return 0.0
    between: float = values.mean(0).var(ddof=1)
    return float(max(0.0, (between - _residual(values) / seeds) / items))


def _chance(values: Floats) -> float:
    """The variance of a mean that comes of seeds and items as such; runs that score alike do so in part by chance."""
    return _residual(values) / values.size


def _residual(values: Floats) -> float:
    """The variance over items and seeds of what neither an item nor a seed explains."""
    seeds, items = values.shape
    if items < 2:
        return 0.0
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    return float(float((rest**2).sum()) / ((seeds - 1) * (items - 1)))


def _t(level: float, freedom: float) -> float:
    from scipy.stats import norm, t

    return float(norm.ppf(level)) if math.isinf(freedom) else float(t.ppf(level, freedom))


def critical(comparisons: int, freedom: float) -> float:
    """Return the half-width in standard errors of intervals for this many comparisons with one reference."""
    return _critical(comparisons, 1e6 if math.isinf(freedom) else round(min(freedom, 1e6), 1))


@functools.lru_cache(maxsize=4096)
def _critical(comparisons: int, freedom: float) -> float:
    from scipy.optimize import brentq

    if comparisons == 1:
        return _t(0.5 + LEVEL / 2, freedom)
    return float(brentq(lambda reach: _all_within(reach, comparisons, freedom) - LEVEL, 1.0, 200.0, xtol=1e-6))


def _all_within(reach: float, comparisons: int, freedom: float) -> float:
    """P(|t| < reach for all): given the reference's mean and the pooled spread, the arms are independent."""
    from scipy.special import ndtr

    nodes, weights = _normal_nodes()
    scale = reach * math.sqrt(2) * _spreads(freedom)[:, None]
    inside = ndtr(nodes + scale) - ndtr(nodes - scale)
    return float((inside**comparisons @ weights).mean())


@functools.lru_cache(maxsize=1)
def _normal_nodes() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    return nodes, weights / weights.sum()


@functools.lru_cache(maxsize=1024)
def _spreads(freedom: float) -> Floats:
    """Quantiles of √(χ²/f), at the middle of 400 equal shares."""
    from scipy.stats import chi2

    found: Floats = np.sqrt(chi2.ppf((np.arange(400) + 0.5) / 400, freedom) / freedom)
    return found
