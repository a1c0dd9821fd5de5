"""Pruning: whether to stop a trial early, judged against earlier trials of its own arm alone."""

import functools
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from harness.config.methods import HALVING
from harness.record import Record, figure
from harness.record.figures import full_name
from harness.record.front import feasible
from harness.search.halving import halts
from harness.search.methods import make_pruner, notes_rungs
from harness.search.plan import STATES, Earlier, SearchPlan

Reports = Mapping[int, float]
"""Validation score by step."""

Rule = Callable[[Reports, int], bool]
"""Whether a trial with these reports ends at this step."""


def curve_of(entry: Record) -> dict[int, float]:
    """The validation scores that a trial reported, by step."""
    return {int(step): value for step, value in entry.reports}


Costs = Callable[[], Mapping[str, float]]
"""The figures of a trial that are known by now; what is left out is not."""


def rule(plan: SearchPlan, earlier: Sequence[Earlier], costs: Costs = dict, halted_at: int = 0) -> Rule:
    """The rule by which an arm's trial is pruned that comes after `earlier`: a function of those and its own costs.

    Where trials wait at rungs it says when this one does that halted at a step before.
    """
    pruner, after = plan.pruner, plan.prune_after
    curves = [curve_of(seen.entry) for seen in earlier if seen.entry is not None and seen.entry.state != "fail"]

    def by_median(reports: Reports, step: int) -> bool:
        return after is not None and below_median(reports, curves, step, after, plan.sign)

    judged = functools.cache(lambda: judged_trials(plan, earlier))

    def by_optuna(reports: Reports, step: int) -> bool:
        reached = sum(step in curve for curve in curves)
        return reached >= (after or 0) and judge(plan, judged(), reports)[0]

    def by_dominance(reports: Reports, step: int) -> bool:
        margin = (pruner or {}).get("margin", DOMINANCE_MARGIN)
        entries = [seen.entry for seen in earlier if seen.entry is not None and seen.entry.state == "complete"]
        ended = [entry for entry in entries if feasible(entry, plan.constraints)]
        reached = sum(step in curve for curve in curves)
        return reached >= (after or 0) and any(
            _dominated(plan, costs(), reports, each, step=step, margin=margin) for each in ended
        )

    def at_rung(reports: Reports, step: int) -> bool:
        return halts(pruner or {}, reports, step, halted_at)

    if pruner is None:
        return by_median
    if pruner["name"] in HALVING:
        return at_rung
    if pruner["name"] == "dominance":
        return by_dominance
    return never if pruner["name"] == "none" else by_optuna


DOMINANCE_MARGIN = 0.01
"""In units of the score."""


def _dominated(
    plan: SearchPlan, own: Mapping[str, float], reports: Reports, other: Record, *, step: int, margin: float
) -> bool:
    """Return whether another trial costs no more, and at the same step had a better score by more than the margin."""
    curve = curve_of(other)
    if step not in curve:
        return False
    for name, sign in plan.objectives.items():
        if name == "val":
            continue
        cost, mine_now = figure(other, name), own.get(full_name(name))
        if cost is None or mine_now is None or sign * cost < sign * mine_now:
            return False
    best, mine = (max(plan.sign * value for at, value in values.items() if at <= step) for values in (curve, reports))
    return best > mine + margin


def never(reports: Reports, step: int) -> bool:
    """No trial is pruned."""
    return False


def below_median(reports: Reports, others: Sequence[Reports], step: int, after: int, sign: float) -> bool:
    """Return whether a trial's best score so far is worse than the median of the others' best scores so far.

    Only trials that reached this step are compared, and only once `after` of them have. `sign` is −1 where a lower
    score is better.
    """

    def best(values: Reports) -> float:
        return max(sign * value for at, value in values.items() if at <= step)

    reached = [best(values) for values in others if step in values]
    return len(reached) >= after and best(reports) < statistics.median(reached)


def judged_trials(plan: SearchPlan, earlier: Sequence[Earlier]) -> list[optuna.trial.FrozenTrial]:
    """The earlier trials in Optuna's terms, each with the rungs that it passed when those before it were there.

    Optuna numbers trials from 0, and Hyperband draws brackets by that: a trial that may not be seen yet has its place.
    """
    assert plan.pruner is not None
    frozen: list[optuna.trial.FrozenTrial] = []
    for seen in earlier:
        rungs: Mapping[str, Any] = {}
        if seen.entry is not None and notes_rungs(plan.pruner):
            _, rungs = judge(plan, frozen, curve_of(seen.entry))
        frozen.append(_frozen_trial(seen, plan, rungs))
    return frozen


def judge(
    plan: SearchPlan, before: Sequence[optuna.trial.FrozenTrial], reports: Reports
) -> tuple[bool, Mapping[str, Any]]:
    """Return whether a trial would be stopped at its last report, and which rungs it has passed."""
    assert plan.pruner is not None
    if not reports:
        return False, {}
    study = plan.study(pruner=make_pruner(plan.pruner, min(reports), after=plan.prune_after))
    study.add_trials(before)
    trial, stopped = study.ask(), False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a best trial that has fewer steps, as when epochs differ
        for step in sorted(reports):
            trial.report(reports[step], step)
            stopped = bool(trial.should_prune())  # NumPy's, of some
    return stopped, study.get_trials(deepcopy=False)[-1].system_attrs


def _frozen_trial(seen: Earlier, plan: SearchPlan, rungs: Mapping[str, Any]) -> optuna.trial.FrozenTrial:
    entry = seen.entry
    if entry is None or entry.state == "fail":
        return optuna.trial.create_trial(state=TrialState.FAIL)
    return optuna.trial.create_trial(
        state=STATES[entry.state],
        value=entry.score("val", plan.objective) if entry.state == "complete" else None,
        intermediate_values=curve_of(entry),
        system_attrs=dict(rungs),
    )
