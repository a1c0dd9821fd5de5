"""How points are proposed and trials are judged in a study, and what a proposal knows of earlier trials."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from harness.config import Config
from harness.config.arms import Point
from harness.record import Record, direction


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What a study says of its search, the dimensions aside; `objective` is a metric on validation."""

    seed: int
    startup: int
    objective: str
    sampler: Mapping[str, Any] | None = None
    pruner: Mapping[str, Any] | None = None
    prune_after: int | None = None

    @classmethod
    def of(cls, config: Config) -> "SearchPlan":
        """The plan of a study."""
        sweep = config.sweep
        assert sweep is not None
        return cls(
            seed=config.seed,
            startup=sweep.startup,
            objective=config.trainer.objective,
            sampler=sweep.sampler,
            pruner=sweep.pruner,
            prune_after=sweep.prune_after,
        )

    @property
    def sign(self) -> float:
        """−1 where a lower score is better."""
        return direction(self.objective)

    def study(self, sampler: BaseSampler | None = None, pruner: BasePruner | None = None) -> optuna.Study:
        """An empty study in memory. Its name is always the same: Hyperband draws a trial's bracket by it."""
        way = StudyDirection.MAXIMIZE if self.sign > 0 else StudyDirection.MINIMIZE
        sampler, pruner = sampler or optuna.samplers.RandomSampler(seed=0), pruner or optuna.pruners.NopPruner()
        return optuna.create_study(study_name="harness", sampler=sampler, pruner=pruner, direction=way)


STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "fail": TrialState.FAIL}
"""How Optuna calls the ends of a trial."""


@dataclasses.dataclass(frozen=True)
class Earlier:
    """An earlier trial of an arm: its point and, once it has ended and is far enough back, its record."""

    point: Point
    entry: Record | None
