"""The selection of arms that are trained again after the search: at which points, seeds and orders of tasks."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from harness.config import SweepConfig
from harness.config.arms import Arm, Point, arm_of
from harness.record import Record, best_by, better
from harness.record.front import feasible, front, recommended


@dataclasses.dataclass(frozen=True)
class Finalist:
    """An arm and the trial of the search that did best on validation among its own."""

    arm: Arm
    trial: Record

    @property
    def point(self) -> Point:
        """The nuisance values of that trial."""
        return self.trial.point


def finalists(
    all_arms: Sequence[Arm], records: Sequence[Record], top: int, wanted: "Wanted | None" = None
) -> list[Finalist]:
    """The `top` arms on validation, and every baseline; an arm without a complete trial is none.

    With arms that are compared with baselines of their own (`across`), these are the `top` for each; of the joint arm,
    they are the best trials of different names, which are different points; with several objectives, only arms on the
    front, and always the recommended one. A trial that breaks a constraint is left out, unless it is a baseline's. They
    are a function of the search's records alone, so any number of workers agree.
    """
    wanted, beside = wanted or Wanted({}, {}, 0.0), {arm.name for arm in all_arms if arm.baseline}
    searched = [entry for entry in records if entry.phase == "search"]
    allowed = [entry for entry in searched if entry.arm in beside or feasible(entry, wanted.constraints)]
    best = best_by(allowed, lambda entry: entry.arm)
    known = [arm for arm in all_arms if arm.name in best]
    points = [arm for name in best if name not in {arm.name for arm in known} and (arm := arm_of(all_arms, name))]
    found = [Finalist(arm, best[arm.name]) for arm in [*points, *known]]
    again: dict[str, Finalist] = {}
    for group in grouped([finalist.arm for finalist in found if not finalist.arm.baseline], wanted.across):
        names = {arm.name for arm in group}
        compared = [finalist for finalist in found if finalist.arm.name in names]
        kept = _kept(compared, [entry for entry in allowed if entry.arm in names], top, wanted)
        again |= {finalist.arm.name: finalist for finalist in kept}
    return [again.get(each.arm.name, each) for each in found if each.arm.baseline or each.arm.name in again]


def grouped(compared: Sequence[Arm], across: Sequence[str]) -> list[list[Arm]]:
    """The arms by what each sets the keys of `across` to."""
    groups: dict[str, list[Arm]] = {}
    for arm in compared:
        groups.setdefault(repr([arm.values.get(key) for key in across]), []).append(arm)
    return list(groups.values())


def _kept(compared: Sequence[Finalist], allowed: Sequence[Record], top: int, wanted: "Wanted") -> list[Finalist]:
    chosen: Record | None = None
    if wanted.objectives:
        chosen = recommended(allowed, wanted.objectives, wanted.margin)
        compared = _on_front(compared, allowed, wanted, chosen)
    kept = sorted(compared, key=lambda finalist: sum(better(other.trial, finalist.trial) for other in compared))[:top]
    if chosen is not None and chosen not in [finalist.trial for finalist in kept]:
        kept = [*kept[: top - 1], *(finalist for finalist in compared if finalist.trial is chosen)]
    return kept


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Objectives with their signs, constraints, the difference of scores that is too small to matter, and the keys at
    each of whose values arms are held against baselines of their own.
    """

    objectives: Mapping[str, float]
    constraints: Mapping[str, float]
    margin: float
    across: Sequence[str] = ()

    @classmethod
    def of(cls, sweep: SweepConfig) -> "Wanted":
        """Return the objectives, constraints and margin of a sweep."""
        signs = {name: 1.0 if way == "maximize" else -1.0 for name, way in (sweep.objectives or {}).items()}
        margin = sweep.confirm.margin if sweep.confirm else 0.0
        return cls(signs, sweep.constraints or {}, margin, tuple(sweep.across or ()))


def _on_front(
    compared: Sequence[Finalist], allowed: Sequence[Record], wanted: Wanted, chosen: Record | None
) -> list[Finalist]:
    """Each arm that has a trial on the front, at the best of those; at the one that is recommended, where it is its."""
    arms = {finalist.arm.name: finalist.arm for finalist in compared}
    kept = front([entry for entry in allowed if entry.arm in arms], wanted.objectives)
    best = best_by(kept, lambda entry: entry.arm) | ({chosen.arm: chosen} if chosen is not None else {})
    return [Finalist(arms[name], entry) for name, entry in best.items()]


def fresh_seeds(seed: int, count: int) -> list[int]:
    """Seeds that no trial of the search had, the same for every arm; more of them begin with the fewer."""
    first = 1_000 * (seed + 1) % (2**32 - 1_000)  # numpy takes 32 bits
    return [first + index for index in range(1, count + 1)]


def fresh_order(tasks: Sequence[str], seed: int, study_seed: int) -> list[str]:
    """The order in which a trial with one of the fresh seeds learns its tasks: the same for every arm.

    T seeds have the rows of a Latin square, so that each task comes once in each place and, where T is even, once right
    after each other one (Williams, 1949). Which task is which, and the order of the rows, are drawn by the study's
    seed; further seeds have further squares, in which orders may come again, that of the search among them.
    """
    count = len(tasks)
    square, row = divmod(seed - fresh_seeds(study_seed, 1)[0], count)
    draw = np.random.default_rng([study_seed, square])
    names, first = draw.permutation(list(tasks)).tolist(), int(draw.permutation(count)[row])
    steps = [-(place // 2) if place % 2 == 0 else (place + 1) // 2 for place in range(count)]
    return [names[(first + step) % count] for step in steps]
