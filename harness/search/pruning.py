"""Pruning: whether to stop a trial early, judged against earlier trials of its own arm alone."""

import statistics
from collections.abc import Mapping, Sequence

from harness.record import Record

Reports = Mapping[int, float]
"""Validation score by step."""


def curve_of(entry: Record) -> dict[int, float]:
    """The validation scores that a trial reported, by step."""
    return {int(step): value for step, value in entry.reports}


def below_median(reports: Reports, others: Sequence[Reports], step: int, after: int, sign: float) -> bool:
    """Whether a trial's best score so far is worse than the median of the others' best scores so far.

    Only trials that reached this step are compared, and only once `after` of them have. `sign` is −1 where a lower
    score is better.
    """

    def best(values: Reports) -> float:
        return max(sign * value for at, value in values.items() if at <= step)

    reached = [best(values) for values in others if step in values]
    return len(reached) >= after and best(reports) < statistics.median(reached)
