"""Claims about forgetting: the knowledge of the base and of earlier tasks."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.record import Record
from harness.report.confirmed import LEAST_SEEDS
from harness.report.continual import MATCHED, new_score
from harness.report.table import predictions
from harness.report.two_level import Floats, compare
from studies.claims.evidence import (
    Estimate,
    Study,
    finalists,
    fine_tuned,
    leader,
    low_rank,
    spans,
    too_few_seeds,
)
from studies.claims.rules import NATS_MARGIN, Finding, Judgement, above, points, untested

Items = dict[tuple[int, int], float]  # task and row -> how much of being right on it was lost


def forgets_less(study: Study) -> Judgement:
    """One adapter, continued from task to task, against full fine-tuning of the same tasks in turn."""
    rule = (
        f"at new-task scores that differ by at most {100 * MATCHED:.0f} point on validation (one continued adapter and "
        "full fine-tuning, both trained again with fresh seeds): shown to lose less of the accuracy that earlier tasks "
        "had when just learned (over seeds and test items, mean over tasks); and the base's masked-LM loss on general "
        f"text to rise by at least {NATS_MARGIN} nats less (over seeds). With several orders of the tasks, each with a "
        "seed of its own, intervals are over orders alone: their items are of other tasks"
    )
    return Judgement("forgetting reduced", rule, _findings(study))


def _findings(study: Study) -> tuple[Finding, ...]:
    whole = [each for each in finalists(study) if all(_learned(run) for run in each.runs.values())]
    found = [each for each in whole if each.chosen.continual.learn == "continued"]  # neither has a replay
    ours = leader(low_rank(found))
    theirs = leader(fine_tuned(found))
    if ours is None or theirs is None:
        return (untested(study, too_few_seeds(study)),)
    seeds = sorted(set(ours.runs) & set(theirs.runs))
    pairs = [(ours.runs[seed], theirs.runs[seed]) for seed in seeds]
    if len(seeds) < LEAST_SEEDS:
        return (untested(study, too_few_seeds(study)),)
    apart = statistics.fmean(new_score(one, "val") - new_score(other, "val") for one, other in pairs)
    if abs(apart) > MATCHED:
        return (untested(study, f"new tasks were not learned alike: {100 * apart:+.1f} points on validation"),)
    every = [_earlier_tasks(study, pairs), _base(study, pairs)]
    return tuple(finding for finding in every if finding is not None)


def _learned(entry: Record) -> bool:
    """Return whether the trial went through all of its tasks."""
    matrix = entry.continual.val
    return len(matrix) > 2 and len(matrix) == len(matrix[0]) + 1


Pairs = Sequence[tuple[Record, Record]]
"""The adapter's and full fine-tuning's trial of each seed."""


def _earlier_tasks(study: Study, pairs: Pairs) -> Finding:
    tasks = len(pairs[0][0].continual.tasks)
    lost = [[lost_items(entry, study.folder, tasks) for entry in side] for side in zip(*pairs, strict=True)]
    if any(not one or one.keys() != two.keys() for one, two in zip(*lost, strict=True)):
        return untested(study, "predictions were not kept")
    if orders := _orders(pairs):
        ours, theirs = (np.array([[np.mean(_weighted(items))] for items in side]) for side in lost)
        unit = f"{len(pairs)} seeds, {orders} orders of the tasks"
    elif any(items.keys() != lost[0][0].keys() for items in lost[0]):
        return untested(study, "predictions were not kept")
    else:
        ours, theirs = (np.array([_weighted(items) for items in side]) for side in lost)
        unit = f"{len(pairs)} seeds, {len(lost[0][0]):,} test items"
    estimate = _less(ours, theirs)
    saved = points((-estimate[0], -estimate[2], -estimate[1]))
    means = f"earlier tasks lose {100 * ours.mean():.1f} points, full {100 * theirs.mean():.1f}"
    return Finding(study.label, f"{means}: {saved}; {_alike(pairs)}", unit, above(*estimate[1:]), study.command)


def _orders(pairs: Pairs) -> int:
    """Return the number of orders in which the tasks were learned; 0 if all are the same."""
    orders = {tuple(entry.continual.tasks) for entry, _ in pairs}
    return len(orders) if len(orders) > 1 else 0


def _weighted(items: Items) -> Floats:
    """Return what each item lost, weighted such that the mean over items is the mean over tasks of their means."""
    keys = sorted(items)
    return np.array([items[key] for key in keys]) * _shares(keys)


def _less(ours: Floats, theirs: Floats) -> Estimate:
    """Estimate how much less is lost; each (seeds, items)."""
    kinds = {"ours": "adapter", "theirs": "full"}
    return spans(compare({"ours": -ours, "theirs": -theirs}, "theirs", kinds)["ours"])


def _shares(keys: Sequence[tuple[int, int]]) -> Floats:
    """Return each item's weight, such that the mean over items is the mean over tasks of their means."""
    of_task = [task for task, _ in keys]
    sizes = {task: of_task.count(task) for task in set(of_task)}
    return np.array([len(keys) / len(sizes) / sizes[task] for task in of_task])


def _alike(pairs: Pairs) -> str:
    """Describe the test scores on new tasks of pairs that were matched without looking at them."""
    ours, theirs = (statistics.fmean(pair[side].continual_summary.new for pair in pairs) for side in (0, 1))
    return f"new tasks {ours:.3f} and {theirs:.3f} on test"


def lost_items(entry: Record, folder: Path, tasks: int) -> Items:
    """Return each test item's loss, for all tasks but the last: right when just learned, less right in the end."""
    lost: Items = {}
    for line in predictions(entry, folder) or ():
        learned, task, row = int(line["learned"]), int(line["task"]), int(line["row"])
        if task < tasks - 1 and learned in (task + 1, tasks):
            hit = float(line["label"] == line["predicted"])
            lost[task, row] = lost.get((task, row), 0.0) + (hit if learned == task + 1 else -hit)
    return lost


def _base(study: Study, pairs: Pairs) -> Finding | None:
    """The loss on general text; nothing where no probe was made."""
    changes = [(one.probe.change, two.probe.change) for one, two in pairs]
    ours, theirs = (np.array([[change] for pair in changes if (change := pair[side]) is not None]) for side in (0, 1))
    if len(ours) < len(pairs) or len(theirs) < len(pairs):
        return None
    value, low, high = _less(ours, theirs)
    figure = (
        f"masked-LM loss of the base {float(ours.mean()):+.3f} nats, full {float(theirs.mean()):+.3f}: {value:.3f} "
        f"[{low:.3f}, {high:.3f}] less; {_alike(pairs)}"
    )
    return Finding(study.label, figure, f"{len(pairs)} seeds", above(low, high, NATS_MARGIN), study.command)
