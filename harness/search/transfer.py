"""Transfer between neighbouring arms: similar arms have similar best learning rates and scales.

The scores of arms differ in their level, and a sampler would take that for an effect of the point. So a neighbour's
trials are moved by the mean difference between both arms at the points that both have tried: at startup all arms take
the same ones.
"""

import json
import statistics
from collections.abc import Sequence

from harness.search.plan import Earlier, Known, SearchPlan


def lent(own: Sequence[Earlier], neighbours: Sequence[Sequence[Earlier]], plan: SearchPlan) -> list[Known]:
    """The complete trials of neighbours as the arm might have scored them.

    A neighbour that has no complete point in common with the arm lends nothing: its level is not known.
    """
    mine, found = _scores(own, plan), []
    for trials in neighbours:
        theirs = _scores(trials, plan)
        if common := mine.keys() & theirs.keys():
            shift = statistics.fmean(mine[key] - theirs[key] for key in sorted(common))
            found += [Known(json.loads(key), [score + shift], {}) for key, score in theirs.items()]
    return found


def _scores(trials: Sequence[Earlier], plan: SearchPlan) -> dict[str, float]:
    """The score of each complete trial, by its point as JSON."""
    found = {}
    for trial in trials:
        values = plan.values(trial.entry) if trial.entry is not None and trial.entry.state == "complete" else None
        if values is not None:
            found[json.dumps(trial.point, sort_keys=True)] = values[0]
    return found
