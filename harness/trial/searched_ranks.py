"""The cost of searched ranks in parameters, counted from shapes at each combination of what else is searched."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from harness.config import Config, ConfigError, apply_overrides, check, to_dict
from harness.config.arms import Point, arms
from harness.config.rank_budget import SearchedBudget
from harness.config.schema_errors import shown
from harness.config.searched_ranks import PriceConfig, rank_values, shaping
from harness.config.space import applied, points
from harness.trial.adapt import prepare, shapes_of

Count = Callable[[Point], int]


def with_prices(config: Config) -> Config:
    """The study with the prices of the ranks that share its budget.

    Raises ConfigError where the least ranks do not keep it, where all do, and where a rank costs other than a sum.
    """
    sweep = config.sweep
    if sweep is None or sweep.budget is None or sweep.ranks is not None or sweep.allocate:
        return config
    joint = next(arm for arm in arms(sweep) if arm.named_by is not None)
    tree, space = apply_overrides(to_dict(config), joint.values), joint.nuisance
    values = rank_values(space)

    def counted(point: Point) -> int:
        trial = check(apply_overrides(tree, applied(space, point)) | {"run": "trial", "sweep": None})
        return prepare(shapes_of(trial), trial)[1].adapter

    def existing(where: Point) -> dict[str, list[int]]:
        there = applied(space, _lowest(values) | where)
        return {key: found for key, found in values.items() if key in there}

    prices = [_price(where, existing(where), counted) for where in points(shaping(space))]
    budget = SearchedBudget(values, prices, sweep.budget.most)
    _check_reach(budget)
    priced = dataclasses.replace(sweep.budget, prices=prices)
    return dataclasses.replace(config, sweep=dataclasses.replace(sweep, budget=priced))


def _lowest(values: Mapping[str, Sequence[int]]) -> Point:
    return {key: found[0] for key, found in values.items()}


def _price(where: Point, values: Mapping[str, Sequence[int]], counted: Count) -> PriceConfig:
    """Fitted to counts at three values of each rank, and held against counts at other ranks."""
    lows = _lowest(values)
    least = counted(where | lows)
    each, square = {}, {}
    for key, found in values.items():
        costs = {value: counted(where | lows | {key: value}) - least for value in found[1:3]}
        each[key], square[key] = _fitted({found[0]: 0} | costs)
    price = PriceConfig(where=where, each=each, square=square, fixed=0)
    price = dataclasses.replace(price, fixed=least - price.of(lows))
    for place in (0.5, 1.0):
        ranks = {key: found[round(place * (len(found) - 1))] for key, found in values.items()}
        if counted(where | ranks) != price.of(ranks):
            raise ConfigError(f"sweep.budget.parameters: what {', '.join(values)} cost is no sum over them")
    return price


def _fitted(costs: Mapping[int, int]) -> tuple[int, int]:
    """The costs of r and of r² through up to three points (Newton's divided differences)."""
    ranks = list(costs)
    slopes = [Fraction(costs[b] - costs[a], b - a) for a, b in itertools.pairwise(ranks)]
    square = (slopes[1] - slopes[0]) / (ranks[2] - ranks[0]) if len(slopes) > 1 else Fraction(0)
    each = slopes[0] - square * (ranks[0] + ranks[1])
    return int(each), int(square)  # where they are no integers, the counts at other ranks differ


def _check_reach(budget: SearchedBudget) -> None:
    def at(price: PriceConfig, end: int) -> int:
        return price.of({key: budget.values[key][end] for key in price.each})

    dearest = max(budget.prices, key=lambda price: at(price, 0))
    least, most = at(dearest, 0), max(at(price, -1) for price in budget.prices)
    if not least <= budget.most < most:
        where = ", ".join(f"{key}={shown(value)}" for key, value in dearest.where.items())
        raise ConfigError(
            f"sweep.budget.parameters={budget.most}: the lowest ranks come to up to {least} parameters"
            f"{f' ({where})' if where else ''}, the highest to {most}; at least {least} and below {most}"
        )
