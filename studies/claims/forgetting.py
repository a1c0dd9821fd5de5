"""What LoRA is said to leave alone: what the base and earlier tasks knew before."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from harness.record import Record
from harness.report.continual import MATCHED, new_score
from harness.report.statistics import stratified_interval
from harness.report.table import predictions
from studies.claims.evidence import Estimate, Study, adapted, full
from studies.claims.rules import NATS_MARGIN, Finding, Judgement, Verdict, above, points, untested

Pairs = list[tuple[Record, Record]]
Items = dict[tuple[int, int], float]  # task and row -> how much of being right on it was lost


def forgets_less(study: Study) -> Judgement:
    """One adapter, continued from task to task, against full fine-tuning of the same sequence."""
    rule = (
        f"at new-task scores that differ by at most {100 * MATCHED:.0f} point on validation (the mean over all such "
        "pairs of a trial with one continued adapter and one of full fine-tuning): shown to lose less of the accuracy "
        "that earlier tasks had when just learned (same test items, mean over tasks); and the base's masked-LM loss on "
        f"general text rises by at least {NATS_MARGIN} nats less in every pair (same passages)"
    )
    return Judgement("forgetting reduced", rule, _findings(study))


def _findings(study: Study) -> tuple[Finding, ...]:
    pairs = matched_pairs(study)
    if not pairs:
        return (untested(study, "no pair of LoRA and full fine-tuning at matched new-task scores"),)
    found = [_earlier_tasks(study, pairs), _base(study, pairs)]
    return tuple(finding for finding in found if finding is not None)


def matched_pairs(study: Study) -> Pairs:
    """The trials that are compared: every one adapter and full fine-tuning that learned new tasks alike."""
    ours = [entry for entry in adapted(study) if _learned(entry) and entry.continual.learn == "continued"]
    theirs = [entry for entry in full(study) if _learned(entry)]
    return [
        (one, other)
        for one in ours
        for other in theirs
        if abs(new_score(one, "val") - new_score(other, "val")) <= MATCHED
    ]


def _learned(entry: Record) -> bool:
    """Whether the trial went through all of its tasks."""
    matrix = entry.continual.val
    return entry.state == "complete" and len(matrix) > 2 and len(matrix) == len(matrix[0]) + 1


def _earlier_tasks(study: Study, pairs: Pairs) -> Finding:
    tasks = len(pairs[0][0].continual.tasks)
    lost = {entry.trial: lost_items(entry, study.folder, tasks) for pair in pairs for entry in pair}
    keys = lost[pairs[0][0].trial].keys()
    if not keys or any(items.keys() != keys for items in lost.values()):
        return untested(study, "predictions were not kept")
    both = {
        key: tuple(statistics.fmean(lost[pair[side].trial][key] for pair in pairs) for side in (0, 1)) for key in keys
    }
    by_task = [[pair for (task, _), pair in both.items() if task == number] for number in range(tasks - 1)]
    estimate = stratified([[one - other for one, other in pairs] for pairs in by_task])
    mine, other = (
        100 * statistics.fmean(statistics.fmean(pair[side] for pair in pairs) for pairs in by_task) for side in (0, 1)
    )
    figure = f"earlier tasks lose {mine:.1f} points, full {other:.1f}: {points(estimate)}; {_alike(pairs)}"
    verdict = above(-estimate[2], -estimate[1])
    return Finding(study.label, figure, f"{len(keys):,} test items, {len(pairs)} pairs", verdict, study.command)


def _alike(pairs: Pairs) -> str:
    """What new tasks scored on test, where what they were matched by was not looked at."""
    ours, theirs = (statistics.fmean(pair[side].continual_summary.new for pair in pairs) for side in (0, 1))
    return f"new tasks {ours:.3f} and {theirs:.3f} on test"


def lost_items(entry: Record, folder: Path, tasks: int) -> Items:
    """For each test item of each task but the last: right when its task was just learned, less right in the end."""
    lost: Items = {}
    for line in predictions(entry, folder) or ():
        learned, task, row = int(line["learned"]), int(line["task"]), int(line["row"])
        if task < tasks - 1 and learned in (task + 1, tasks):
            hit = float(line["label"] == line["predicted"])
            lost[task, row] = lost.get((task, row), 0.0) + (hit if learned == task + 1 else -hit)
    return lost


def stratified(groups: Sequence[Sequence[float]]) -> Estimate:
    """The mean of the groups' means and its 95 % interval, items being drawn within each group."""
    return statistics.fmean(statistics.fmean(group) for group in groups), *stratified_interval(groups)


def _base(study: Study, pairs: Pairs) -> Finding | None:
    """The loss on general text; nothing where no probe was made."""
    found = [(one.probe.change, two.probe.change) for one, two in pairs]
    changes = [(ours, theirs) for ours, theirs in found if ours is not None and theirs is not None]
    if len(changes) < len(found):
        return None
    less = [theirs - ours for ours, theirs in changes]
    verdict: Verdict = "can't be tested here"
    if min(less) >= NATS_MARGIN:
        verdict = "holds"
    elif max(less) < NATS_MARGIN:
        verdict = "does not hold"
    mine, other = (statistics.fmean(pair[side] for pair in changes) for side in (0, 1))
    figure = (
        f"masked-LM loss of the base {mine:+.3f} nats, full {other:+.3f}; {min(less):.3f} to {max(less):.3f} less; "
        f"{_alike(pairs)}"
    )
    return Finding(study.label, figure, f"{len(pairs)} pairs", verdict, study.command)
