"""The Pareto front of trials over several objectives, its hypervolume, and the cheapest trial near the best."""

from collections.abc import Mapping, Sequence

from harness.record.figures import figure
from harness.record.sections import Record

Objectives = Mapping[str, float]
"""Figures of a record, with 1 where more is better and −1 where less is."""


def gains(entry: Record, objectives: Objectives) -> tuple[float, ...] | None:
    """The objectives of a trial, each with the sign that makes more better; None where it lacks one."""
    found = [(figure(entry, name), sign) for name, sign in objectives.items()]
    if any(value is None for value, _ in found):
        return None
    return tuple(sign * value for value, sign in found if value is not None)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether one is nowhere below the other, and somewhere above it."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and any(a > b for a, b in zip(one, other, strict=True))


def feasible(entry: Record, constraints: Mapping[str, float]) -> bool:
    """Return whether a trial is known to keep every constraint."""
    found = ((figure(entry, name), bound) for name, bound in constraints.items())
    return all(value is not None and value <= bound for value, bound in found)


def front(records: Sequence[Record], objectives: Objectives) -> list[Record]:
    """The complete trials that no other dominates, in their order; all of those that are equal."""
    known = [
        (entry, found) for entry in sorted(records, key=lambda each: each.trial) if (found := _of(entry, objectives))
    ]
    return [entry for entry, found in known if not any(dominates(other, found) for _, other in known)]


def costs_no_more(one: Record, other: Record, objectives: Objectives) -> bool:
    """Return whether one is nowhere worse in the objectives other than the score; false if either lacks one."""
    costs = {name: sign for name, sign in objectives.items() if name != score_of(objectives)}
    found = [gains(each, costs) for each in (one, other)]
    return None not in found and all(a >= b for a, b in zip(found[0] or (), found[1] or (), strict=True))


def _of(entry: Record, objectives: Objectives) -> tuple[float, ...] | None:
    return gains(entry, objectives) if entry.state == "complete" else None


def recommended(records: Sequence[Record], objectives: Objectives, margin: float) -> Record | None:
    """The trial of the front that is best by the first cost, among those within `margin` of the best score.

    The score is `score_of(objectives)`, every other objective is a cost. Without a cost, the best.
    """
    found = front(records, objectives)
    if not found:
        return None
    score = score_of(objectives)
    costs = [name for name in objectives if name != score]

    def gain(entry: Record, name: str) -> float:
        return objectives[name] * (figure(entry, name) or 0.0)

    best = max(gain(entry, score) for entry in found)
    near = [entry for entry in found if gain(entry, score) >= best - margin]
    return min(near, key=lambda each: (*(-gain(each, name) for name in costs), -gain(each, score), each.trial))


def score_of(objectives: Objectives) -> str:
    """The objective that is a validation score, whichever way it is better; else the first of which more is better."""
    scores = [name for name in objectives if name.partition(".")[0] == "val"]
    return next(iter([*scores, *(name for name, sign in objectives.items() if sign > 0), *objectives]))


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """The volume that points dominate (more is better) above a reference, exactly, by slices of the first axis."""
    inside = sorted({tuple(map(float, p)) for p in points if all(a > b for a, b in zip(p, reference, strict=True))})
    if not inside:
        return 0.0
    if len(reference) == 1:
        return inside[-1][0] - reference[0]
    volume, below = 0.0, reference[0]
    for index, point in enumerate(inside):
        if point[0] > below:
            volume += (point[0] - below) * hypervolume([each[1:] for each in inside[index:]], reference[1:])
            below = point[0]
    return volume
