"""Ranks by group of layers as dimensions of a search: `lora.ranks.GROUP`, one integer for each group.

The layers are known from the network only: harness.trial.layer_ranks finds them when a study is begun.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

from pydantic.dataclasses import dataclass

from harness.config.allocation import OF_A_TRIAL, Allocation
from harness.config.scalars import CLOSED, Count, Flag, Natural, Text
from harness.config.searched_ranks import PriceConfig, is_rank
from harness.config.space import Point, Range

PREFIX = "lora.ranks."

Budgeted = Literal["parameters", "memory", "flops"]
"""What a budget may bound."""


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class RanksConfig:
    """The adapted layers by role (the target that names them), each by itself, by depth in `blocks`, or by `groups`.

    `groups` are patterns of whole layer names by group. What follows is found when the study is begun: the pattern of
    each group's `layers`; the `limits` of groups that cannot have `high`; `costs`, what each rank of a group adds to
    what the budget counts, `present`, what a group adds if it has any rank, and `fixed`, what there is in any case.
    """

    by: Literal["role", "layer", "depth", "group"]
    high: Count
    low: Natural = 1
    log: Flag = True
    blocks: Count = 3
    groups: dict[Text, Text] | None = None
    layers: dict[Text, Text] | None = None
    limits: dict[Text, Count] | None = None
    costs: dict[Text, Count] | None = None
    present: dict[Text, Natural] | None = None
    fixed: Natural = 0

    @property
    def space(self) -> dict[str, Range]:
        """The dimensions; none before the layers are known."""
        low, highest = float(self.low), {name: float(self.highest(name)) for name in self.layers or ()}
        return {PREFIX + name: Range(low=low, high=high, log=self.log, integer=True) for name, high in highest.items()}

    def highest(self, group: str) -> int:
        """The highest rank of a group: `high`, or what its layers allow."""
        return (self.limits or {}).get(group, self.high)


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class BudgetConfig:
    """The most that ranks by group or by layer may come to, or ranks that are searched; one of the three is given.

    `parameters` are the adapter's. `memory` is bytes that training holds whatever the batch: weights, gradients and
    AdamW's state of the whole network. `flops` are floating-point operations of a step on `trainer.batch_size` rows.
    `prices` of ranks that are searched are found when the study is begun.
    """

    parameters: Count | None = None
    memory: Count | None = None
    flops: Count | None = None
    prices: list[PriceConfig] | None = None

    @property
    def given(self) -> dict[Budgeted, int]:
        """The bounds that are given by what they bound; of a checked sweep one."""
        found: dict[Budgeted, int | None] = {
            "parameters": self.parameters,
            "memory": self.memory,
            "flops": self.flops,
        }
        return {unit: most for unit, most in found.items() if most is not None}

    @property
    def unit(self) -> Budgeted:
        """The unit of the budget."""
        return next(iter(self.given))

    @property
    def most(self) -> int:
        """The bound."""
        return next(iter(self.given.values()))


def overrides(ranks: RanksConfig | None, point: Point) -> Point:
    """The keys of a configuration that a point sets: its ranks by group as the patterns of `lora.ranks`."""
    if ranks is None or ranks.layers is None:
        return point
    found = [[ranks.layers[key.removeprefix(PREFIX)], rank] for key, rank in point.items() if key.startswith(PREFIX)]
    others = {key: value for key, value in point.items() if not key.startswith(PREFIX)}
    return others | ({"lora.ranks": found} if found else {})


_PRICES = (
    *("model", "task", "lora.name", "lora.variant", "lora.settings", "lora.match"),
    *("lora.conv_form", "lora.each_gate", "lora.initial_rank", "lora.redistribute"),
)
_PRICES_OF = {
    "memory": ("optimizer.name", "optimizer.arguments"),
    "flops": ("trainer.batch_size", "trainer.batch_tokens", "trainer.accumulate", "trainer.pack_sequences"),
}
"""What a rank costs depends on these, whatever is bounded, and of one bound alone."""


def rank_mistakes(
    ranks: RanksConfig | None,
    budget: BudgetConfig | None,
    searched: Mapping[str, Any],
    allocate: Mapping[Allocation, str | None] | None,
    tuned: Collection[str] = (),
) -> Iterator[str]:
    """Yield errors in ranks by group or allocated, and in their budget.

    `searched` are the keys of the sweep, `tuned` those of them that an allocated arm has, too.
    """
    yield from _budget_mistakes(budget)
    yield from _allocation_mistakes(allocate or {}, budget, searched)
    if ranks is None:
        if allocate:
            yield from _price_mistakes(budget, tuned)
        elif budget is not None and not any(map(is_rank, searched)):
            yield (
                "sweep.budget: of ranks by group; give sweep.ranks, as in sweep.ranks={by: role, high: 32}, or search "
                "lora.rank"
            )
        return
    yield from _price_mistakes(budget, searched)
    if not ranks.low < ranks.high:
        yield f"sweep.ranks=[{ranks.low}, {ranks.high}]: low must be below high"
    if ranks.log and not ranks.low:
        yield "sweep.ranks.log=true: a log range starts above 0; sweep.ranks.log=false lets rank 0 leave a group out"
    if (ranks.by == "group") != bool(ranks.groups):
        yield f"sweep.ranks.by={ranks.by}: sweep.ranks.groups are the patterns of sweep.ranks.by=group, of that alone"
    for name, pattern in (ranks.groups or {}).items():
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"sweep.ranks.groups.{name}={pattern}: {error}"
    for key in ("lora.rank", "lora.ranks", "lora.targets", "lora.alpha"):
        if key in searched:
            yield f"sweep.ranks: sets ranks by group, and {key} is searched too; one of them"


def _budget_mistakes(budget: BudgetConfig | None) -> Iterator[str]:
    if budget is None or len(budget.given) == 1:
        return
    if not budget.given:
        yield f"sweep.budget: of nothing; one of {', '.join(get_args(Budgeted))}, as in sweep.budget.parameters=165888"
        return
    given = " and ".join(f"{unit}={most}" for unit, most in budget.given.items())
    yield f"sweep.budget: {given} are given; one of them, the others null, as in sweep.budget.parameters=null"


def _price_mistakes(budget: BudgetConfig | None, searched: Iterable[str]) -> Iterator[str]:
    """Searched keys that change what a rank costs: the budget is priced once, for all trials."""
    if budget is None:
        return
    prices = [*_PRICES, *(key for unit in budget.given for key in _PRICES_OF.get(unit, ()))]
    for key in searched:
        if any(f"{key}.".startswith(f"{price}.") for price in prices):
            yield f"sweep.budget: one price of a rank for all trials, and {key} changes it; leave it out of the search"


def _allocation_mistakes(
    allocate: Mapping[Allocation, str | None], budget: BudgetConfig | None, searched: Mapping[str, Any]
) -> Iterator[str]:
    if allocate and budget is None:
        yield "sweep.allocate: of a budget; give one, as in sweep.budget.parameters=165888"
    for method, study in allocate.items():
        where = f"sweep.allocate.{method}={'null' if study is None else study}"
        if method == "truncate":
            yield f"{where}: a trial that is cut is not trained; run=allocate method=truncate scores it"
        elif (study is None) == (method in OF_A_TRIAL):
            yield f"{where}: {'the study whose best trial it reads' if study is None else 'reads no study; null'}"
    for key in ("lora.rank", "lora.ranks", "lora.targets", "lora.alpha"):
        if allocate and key in searched:
            yield f"sweep.allocate: sets ranks by layer, and {key} is searched too; one of them"
