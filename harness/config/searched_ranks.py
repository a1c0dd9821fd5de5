"""Ranks that are searched by their own keys under a budget of parameters: `lora.rank`, `lora.task_rank` and the ranks
of tasks, `lora.task_ranks.TASK`.

What a rank costs depends on what else is searched (targets, how many blocks fork): there is a price for each
combination, which harness.trial.searched_ranks finds when a study is begun.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, Text
from harness.config.space import Point, Space

SHAPELESS = ("optimizer.", "trainer.", "lora.scale", "lora.task_scale", "lora.alpha", "lora.dropout")
"""Beginnings of keys that no shape depends on."""


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class PriceConfig:
    """The adapter's parameters where other dimensions have the values `where`.

    They are `fixed`, and for each searched rank r `each`·r + `square`·r².
    """

    where: dict[Text, Any]
    each: dict[Text, int]
    square: dict[Text, int]
    fixed: int

    def of(self, point: Point) -> int:
        """The adapter's parameters at a point."""
        linear = sum(cost * point[key] for key, cost in self.each.items())
        return int(self.fixed + linear + sum(cost * point[key] ** 2 for key, cost in self.square.items()))


def is_rank(key: str) -> bool:
    """Return whether a key is a rank that a budget can bound."""
    return key in ("lora.rank", "lora.task_rank") or key.startswith("lora.task_ranks.")


def rank_values(space: Space) -> dict[str, list[int]]:
    """The values that each searched rank may have, ascending."""
    return {key: sorted(dimension.values or ()) for key, dimension in space.items() if is_rank(key)}


def shaping(space: Space) -> Space:
    """The dimensions, ranks aside, that shapes may depend on; a range of all numbers is none."""
    return {
        key: dimension
        for key, dimension in space.items()
        if not is_rank(key) and not key.startswith(SHAPELESS) and dimension.values is not None
    }


def searched_rank_mistakes(
    space: Space, bounds: Collection[str], *, joint: bool, baselines: Mapping[str, Collection[str]]
) -> Iterator[str]:
    """The reasons why ranks of a space cannot share a budget; `baselines` are the keys that each tunes."""
    if not joint:
        yield "sweep.budget: searched ranks share it in sweep.mode=joint; arms that are compared have their own ranks"
        return
    for unit in set(bounds) - {"parameters"}:
        yield f"sweep.budget.{unit}: of sweep.ranks; searched ranks share a budget of parameters"
    shapes = shaping(space)
    for key in [*filter(is_rank, space), *shapes]:
        if is_rank(key) and space[key].values is None:
            yield f"sweep.scientific.{key}: a {space[key].described}; a rank is an integer, as in integer: true"
        for other in set(space[key].when or ()) - set(shapes):
            yield f"sweep.budget: {key} exists by {other}, which its price cannot depend on; leave out its condition"
    for name, keys in baselines.items():
        yield from (f"sweep.baselines.{name}.nuisance.{key}: keeps no sweep.budget" for key in keys if is_rank(key))
