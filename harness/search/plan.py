"""The plan of a study's search: how points are proposed and trials judged, and which earlier trials a proposal uses."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from harness.config import Config, SweepConfig
from harness.config.arms import Point, joint_space
from harness.config.layer_ranks import PREFIX
from harness.config.methods import HALVING
from harness.config.rank_budget import RankBudget, SearchedBudget
from harness.config.searched_ranks import rank_values
from harness.record import Record, direction, figure
from harness.record.figures import full_name


@dataclasses.dataclass(frozen=True)
class Known:
    """A trial of an earlier study: its point in this study's space, its objectives, how far it breaks constraints."""

    point: Point
    values: list[float]
    violations: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """The settings of a study's search other than its dimensions; `objective` is a metric on validation.

    `objectives` are figures of a record with 1 where more is better and −1 where less is; empty: the objective alone.
    `constraints` are figures with the most that they may be. Points with ranks keep the `budget`.
    `enqueued` are values that the first trials have, of each arm but the baselines. `history` are trials of earlier
    studies by the name of the arm that learns from them.
    """

    seed: int
    startup: int
    objective: str
    sampler: Mapping[str, Any] | None = None
    pruner: Mapping[str, Any] | None = None
    prune_after: int | None = None
    objectives: Mapping[str, float] = dataclasses.field(default_factory=dict)
    constraints: Mapping[str, float] = dataclasses.field(default_factory=dict)
    budget: RankBudget | SearchedBudget | None = None
    enqueued: Sequence[Point] = ()
    history: Mapping[str, Sequence[Known]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, history: Mapping[str, Sequence[Known]] | None = None) -> "SearchPlan":
        """The plan of a study, with the history that was sealed when it was begun."""
        sweep = config.sweep
        assert sweep is not None
        return cls(
            seed=config.seed,
            startup=sweep.startup,
            objective=config.trainer.objective,
            sampler=sweep.sampler,
            pruner=sweep.pruner,
            prune_after=sweep.prune_after,
            objectives={name: 1.0 if way == "maximize" else -1.0 for name, way in (sweep.objectives or {}).items()},
            constraints=sweep.constraints or {},
            budget=budget_of(sweep),
            enqueued=sweep.enqueue or (),
            history=history or {},
        )

    @property
    def sign(self) -> float:
        """−1 where a lower score is better."""
        return direction(self.objective)

    @property
    def halves(self) -> bool:
        """True if trials wait at rungs and only the best of them continue."""
        return (self.pruner or {}).get("name") in HALVING

    @property
    def directions(self) -> list[StudyDirection]:
        """Optuna's directions of the objectives."""
        signs = self.objectives.values() or [self.sign]
        return [StudyDirection.MAXIMIZE if sign > 0 else StudyDirection.MINIMIZE for sign in signs]

    @property
    def names(self) -> list[str]:
        """The names of the objectives."""
        return list(self.objectives) or [f"val {self.objective}"]

    @property
    def reads_merge(self) -> bool:
        """True if an objective or a constraint is about the merged network."""
        return any(full_name(name).startswith("merge.") for name in (*self.objectives, *self.constraints))

    def values(self, entry: Record) -> list[float] | None:
        """The objectives of a trial; None where it does not have all of them."""
        if not self.objectives:
            found = [entry.scores.get("val", {}).get(self.objective)]
        else:
            found = [figure(entry, name) for name in self.objectives]
        return None if None in found else [value for value in found if value is not None]

    def violations(self, entry: Record) -> dict[str, float]:
        """Return by how much each constraint is exceeded, as a share of its bound; at most 0 if it holds."""
        found = {name: figure(entry, name) for name in self.constraints}
        bounds = self.constraints
        return {
            name: (value - bounds[name]) / (abs(bounds[name]) or 1.0)
            for name, value in found.items()
            if value is not None
        } | self._over_budget(entry)

    def _over_budget(self, entry: Record) -> dict[str, float]:
        if self.budget is None or not self.budget.covers(entry.point):
            return {}
        return {"budget": self.budget.used(entry.point) / self.budget.most - 1}

    def study(self, sampler: BaseSampler | None = None, pruner: BasePruner | None = None) -> optuna.Study:
        """An empty study in memory. Its name is always the same: Hyperband draws a trial's bracket by it."""
        sampler, pruner = sampler or optuna.samplers.RandomSampler(seed=0), pruner or optuna.pruners.NopPruner()
        return optuna.create_study(study_name="harness", sampler=sampler, pruner=pruner, directions=self.directions)


def budget_of(sweep: SweepConfig) -> RankBudget | SearchedBudget | None:
    """The budget of a sweep's ranks, once their costs are known."""
    ranks, budget = sweep.ranks, sweep.budget
    if budget is not None and budget.prices is not None:
        return SearchedBudget(rank_values(joint_space(sweep)), budget.prices, budget.most)
    if ranks is None or budget is None or ranks.costs is None:
        return None
    costs, limits, present = (
        {PREFIX + name: value for name, value in (found or {}).items()}
        for found in (ranks.costs, ranks.limits, ranks.present)
    )
    return RankBudget(costs, ranks.low, ranks.high, budget.most, limits, ranks.fixed, present)


STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "fail": TrialState.FAIL}
"""How Optuna calls the ends of a trial."""


@dataclasses.dataclass(frozen=True)
class Earlier:
    """An earlier trial of an arm: its point and, once it has ended and is far enough back, its record."""

    point: Point
    entry: Record | None
