"""Claims about learning: LoRA over-fits less on little data, and needs its learning rate to be right."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise

from harness.record import Record, best_by
from harness.report.confirmed import LEAST_SEEDS
from harness.report.score_matrices import score_matrices
from harness.report.statistics import t_interval
from harness.report.two_level import compare
from studies.claims.evidence import Estimate, Study, adapted, full, gap, spans, turned
from studies.claims.rules import LOSS_MARGIN, Finding, Judgement, Verdict, above, no_loss, points, untested

_MARGIN = f"{100 * LOSS_MARGIN:.0f} points"
Cell = tuple[int, int]  # training rows, split


def cells(records: Sequence[Record]) -> dict[Cell, Record]:
    """The trial best on validation for each number of training rows and each split of the data."""
    best = list(best_by(records, lambda entry: (entry.data.rows["train"], entry.seeds.split)).values())
    return {(entry.data.rows["train"], entry.seeds.split): entry for entry in best if "train" in entry.scores}


def overfits_less(study: Study) -> Judgement:
    """The gap between training and test accuracy, and whether the test accuracy itself is no worse."""
    rule = (
        "where each training row is seen more than once: training less test accuracy is shown to be smaller than full "
        f"fine-tuning's, and test accuracy to lose less than {_MARGIN} (both means over splits, Student's t); in part "
        "where only the first is shown. Same steps, no early stop, the best of the draws of a rate"
    )
    return Judgement("less over-fitting on little data", rule, (_overfits(study),))


def _overfits(study: Study) -> Finding:
    ours, theirs = cells(adapted(study)), cells(full(study))
    little = [cell for cell in ours if cell in theirs and _repeats(ours[cell])]
    splits = sorted({split for _, split in little})
    if len(splits) < LEAST_SEEDS:
        return untested(study, f"fewer than {LEAST_SEEDS} splits with little data")
    gaps, gain = (
        t_interval(
            [
                statistics.fmean(more(ours[cell], theirs[cell]) for cell in little if cell[1] == split)
                for split in splits
            ]
        )
        for more in (_more_gap, _more_right)
    )
    sizes = ", ".join(str(rows) for rows in sorted({rows for rows, _ in little}))
    nats = statistics.fmean(gap(ours[cell], "loss") - gap(theirs[cell], "loss") for cell in little)
    figure = f"gap {points(gaps)} against full ({nats:+.2f} nats of loss); test accuracy {points(gain)}"
    return Finding(
        study.label, figure, f"{len(splits)} splits of {sizes} rows", overfit_verdict(gaps, gain), study.command
    )


def _more_gap(ours: Record, theirs: Record) -> float:
    return gap(ours, "accuracy") - gap(theirs, "accuracy")


def _more_right(ours: Record, theirs: Record) -> float:
    return ours.score("test", "accuracy") - theirs.score("test", "accuracy")


def overfit_verdict(gaps: Estimate, gain: Estimate) -> Verdict:
    """Judge the difference of the gaps (negative: LoRA's is smaller), and the gain in test accuracy."""
    smaller = above(-gaps[2], -gaps[1])
    if smaller == "holds" and no_loss(*gain[1:]) != "holds":
        return "holds in part"
    return smaller


def _repeats(entry: Record) -> bool:
    seen = entry.steps.made * entry.optimizer.batch_size
    return bool(seen > entry.data.rows["train"])


def rate_matters(study: Study) -> Judgement:
    """Judge the cost of missing the best learning rate by a step of the grid."""
    rule = (
        f"a learning rate one step of the grid off the best (on validation) is shown to cost more than {_MARGIN} of "
        "test accuracy on one side or the other; in part where only two steps off do; does not hold where all of "
        "these are shown to cost less (over seeds and test items, all intervals together at 95 %)"
    )
    return Judgement("the outcome is sensitive to the learning rate", rule, (_rate(study),))


def _rate(study: Study) -> Finding:
    ours, theirs = by_rate(adapted(study)), by_rate(full(study))
    if len(ours) < 4 or len(theirs) < 4:  # fewer may leave nothing two steps off the best
        return untested(study, "fewer than four learning rates")
    best = best_rate(ours)
    costs, others = missed(study, ours, best), missed(study, theirs, best_rate(theirs))
    if not all({-distance, distance} & found.keys() for found in (costs, others) for distance in (1, 2)):
        where = "the best rate, at a rate one step off the best and at one two steps off"
        return untested(study, f"a verdict takes {LEAST_SEEDS} seeds at {where}")
    near, far = (_worst(costs, distance) for distance in (1, 2))
    verdict = rate_verdict(near, far, [costs[step] for step in (-2, -1, 1, 2) if step in costs])
    steps = sorted(ours)
    factor = statistics.median(high / low for low, high in pairwise(steps))
    figure = (
        f"best {best:g}; ×{factor:.1f} off costs {points(near)}, two steps {points(far)}; full: best "
        f"{best_rate(theirs):g}, {points(_worst(others, 1))}, {points(_worst(others, 2))}; less than {_MARGIN} lost "
        f"over {len(plateau(costs))} of {len(ours)} rates, full {len(plateau(others))} of {len(theirs)}"
    )
    return Finding(study.label, figure, f"{len(ours[best])} seeds", verdict, study.command)


def rate_verdict(near: Estimate, far: Estimate, costs: Sequence[Estimate]) -> Verdict:
    """Judge the costs of the worst rate one step off the best, of the worst two steps off, and of all of these."""
    if near[1] > LOSS_MARGIN:
        return "holds"
    if far[1] > LOSS_MARGIN:
        return "holds in part"
    return "does not hold" if all(high < LOSS_MARGIN for _, _, high in costs) else "can't be tested here"


def by_rate(records: Sequence[Record]) -> dict[float, list[Record]]:
    """Complete trials by learning rate; a rate at which one diverged counts as far as the others came."""
    groups: dict[float, list[Record]] = {}
    for entry in sorted(records, key=lambda entry: (entry.optimizer.lr, entry.trial)):
        if entry.state == "complete":
            groups.setdefault(entry.optimizer.lr, []).append(entry)
    return groups


def best_rate(groups: Mapping[float, Sequence[Record]]) -> float:
    """The rate with the best mean accuracy on validation."""
    return max(groups, key=lambda rate: statistics.fmean(entry.score("val", "accuracy") for entry in groups[rate]))


def missed(study: Study, groups: Mapping[float, Sequence[Record]], best: float) -> dict[int, Estimate]:
    """Estimate the loss of each rate in test accuracy, by how many grid steps it is above the best (below: negative).

    Rates with fewer seeds than a verdict takes, as where some diverged, are left out.
    """
    runs = {rate: {entry.seeds.trial: entry for entry in entries} for rate, entries in groups.items()}
    enough = {rate: found for rate, found in runs.items() if len(found) >= LEAST_SEEDS}
    seeds = sorted(set.intersection(*map(set, enough.values()))) if best in enough else []
    if len(seeds) < LEAST_SEEDS or len(enough) < 2:
        return {}
    scores = score_matrices(
        {str(rate): [found[seed] for seed in seeds] for rate, found in enough.items()}, study.folder
    )
    gaps = compare(scores.values, str(best), dict.fromkeys(scores.values, "one method"))
    rates = sorted(groups)
    return {
        rates.index(rate) - rates.index(best): turned(spans(gaps[str(rate)])) for rate in rates if str(rate) in gaps
    }


def _worst(costs: Mapping[int, Estimate], distance: int) -> Estimate:
    """The dearer of the two sides, by the lower end of its interval."""
    sides = [costs[step] for step in (-distance, distance) if step in costs]
    return max(sides, key=lambda estimate: estimate[1])


def plateau(costs: Mapping[int, Estimate]) -> list[int]:
    """The rates, in steps from the best, that are joined to it by rates which all cost less than the margin."""
    joined = [0]
    for direction in (1, -1):
        step = direction
        while step in costs and costs[step][0] < LOSS_MARGIN:
            joined.append(step)
            step += direction
    return sorted(joined)
