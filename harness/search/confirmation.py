"""Which arms of a finished search are trained again, at which points, and with which seeds."""

import dataclasses
from collections.abc import Sequence

from harness.config.arms import Arm, Point
from harness.record import Record, best_by, better


@dataclasses.dataclass(frozen=True)
class Finalist:
    """An arm and the trial of the search that did best on validation among its own."""

    arm: Arm
    trial: Record

    @property
    def point(self) -> Point:
        """The nuisance values of that trial."""
        return self.trial.point


def finalists(all_arms: Sequence[Arm], records: Sequence[Record], top: int) -> list[Finalist]:
    """The `top` arms on validation, and every baseline; an arm without a complete trial is none.

    A function of the search's records alone, so any number of workers agree.
    """
    best = best_by((entry for entry in records if entry.phase == "search"), lambda entry: entry.arm)
    found = [Finalist(arm, best[arm.name]) for arm in all_arms if arm.name in best]
    compared = [finalist for finalist in found if not finalist.arm.baseline]
    kept = sorted(compared, key=lambda finalist: sum(better(other.trial, finalist.trial) for other in compared))[:top]
    return [finalist for finalist in found if finalist.arm.baseline or finalist in kept]


def fresh_seeds(seed: int, count: int) -> list[int]:
    """Seeds that no trial of the search had, the same for every arm; more of them begin with the fewer."""
    return [1_000 * (seed + 1) + index for index in range(1, count + 1)]
