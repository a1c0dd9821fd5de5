"""Proposals: the nuisance values of an arm's next trial, from a Sobol sequence first and from a sampler afterwards."""

import hashlib
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState
from torch.quasirandom import SobolEngine

from harness.config.arms import Arm, Point
from harness.config.space import applied
from harness.search.methods import experimental_allowed, make_sampler, sampler_kind, takes
from harness.search.plan import STATES, Earlier, Known, SearchPlan
from harness.search.space import distributions, parameters, suggest
from harness.search.transfer import lent


def propose(
    arm: Arm, index: int, plan: SearchPlan, earlier: Sequence[Earlier], neighbours: Sequence[Sequence[Earlier]] = ()
) -> Point:
    """Nuisance values of the arm's trial number `index`: a function of the arguments alone, so a resumed study agrees.

    Where the sampler learns, the first `startup` trials take a scrambled Sobol sequence, the same unit points in every
    arm, so that arms are compared on like draws; trials of earlier studies count among them. `earlier` are the arm's
    trials 0 to `index` − 1; of those that the arm's proposal must not see the points alone are read. `neighbours` are
    the trials of each arm that this one learns from.
    """
    if not arm.nuisance:
        return {}
    kind = sampler_kind(plan.sampler)
    if (given := _given(arm, index, plan)) is not None:
        return within_budget(given, plan)
    known = [seen if at < arm.seen_by(index) else Earlier(seen.point, None) for at, seen in enumerate(earlier)]
    with experimental_allowed():
        if kind.replayed:
            return _replayed(arm, index, plan, known)
        return _sampled(arm, index, plan, known, [*plan.history.get(arm.name, ()), *lent(known, neighbours, plan)])


def _sampled(arm: Arm, index: int, plan: SearchPlan, earlier: Sequence[Earlier], others: Sequence[Known]) -> Point:
    """Propose a point by a stateless sampler, which reads the trials of the arm and of others."""
    kind = sampler_kind(plan.sampler)
    study = plan.study(make_sampler(plan.sampler, arm.nuisance, _sampler_seed(arm, index, plan)))
    if kind.learns:
        earlier = [seen for seen in earlier if seen.entry is None or _told(seen, plan)]
    study.add_trials([*_past(arm, others, plan), *(_frozen_trial(arm, seen, plan) for seen in earlier)])
    return within_budget(suggest(study.ask(), arm), plan)


def _given(arm: Arm, index: int, plan: SearchPlan) -> Point | None:
    """The point of a trial that no sampler proposes: an enqueued one, its rest drawn evenly, or one at startup."""
    drawn = startup_point(arm, index, plan.seed)
    if not arm.baseline and index < len(plan.enqueued):
        return applied(arm.nuisance, _first(arm) | drawn | plan.enqueued[index])
    kind = sampler_kind(plan.sampler)
    if arm.baseline and not takes(kind, arm):
        return drawn
    even = index + len(plan.history.get(arm.name, ())) < plan.startup
    return drawn if even and kind.learns else None


def _past(arm: Arm, others: Sequence[Known], plan: SearchPlan) -> list[optuna.trial.FrozenTrial]:
    """Trials of other studies or arms as trials of this arm."""
    return [
        optuna.trial.create_trial(
            values=known.values,
            params=parameters(arm, known.point),
            distributions=distributions(arm, known.point),
            constraints=known.violations if plan.constraints else None,
        )
        for known in others
    ]


def _first(arm: Arm) -> Point:
    """The first value of every dimension, for those whose condition an enqueued value lets hold."""
    return {key: dimension.ends[0] for key, dimension in arm.nuisance.items()}


def within_budget(point: Point, plan: SearchPlan) -> Point:
    """The point, its ranks scaled to the budget where there is one."""
    if plan.budget is None or not plan.budget.covers(point):
        return point
    return plan.budget.project(point)


def _replayed(arm: Arm, index: int, plan: SearchPlan, earlier: Sequence[Earlier]) -> Point:
    """Propose a point by a sampler that keeps its state in the study: all its earlier proposals are replayed.

    A trial that was proposed from other records than there are now, as of a predecessor that has been reopened since,
    teaches nothing: it is no trial that this sampler asked for.
    """
    study = plan.study()
    study.add_trials(_past(arm, plan.history.get(arm.name, ()), plan))
    asked: list[tuple[optuna.Trial, Point]] = []
    told = 0
    for at in range(index + 1):
        for known in range(told, arm.seen_by(at)):
            _tell(study, *asked[known], earlier[known], plan)
        told = arm.seen_by(at)
        study.sampler = make_sampler(plan.sampler, arm.nuisance, _sampler_seed(arm, at, plan))
        if (given := _given(arm, at, plan)) is not None:
            study.enqueue_trial(parameters(arm, given))
        trial = study.ask()
        point = within_budget(proposed := suggest(trial, arm), plan)
        _correct(trial, arm, {key: value for key, value in point.items() if value != proposed[key]})
        asked.append((trial, point))
    return asked[index][1]


def _correct(trial: optuna.Trial, arm: Arm, trained: Point) -> None:
    """Let a trial have the ranks that are trained: its sampler learns from those, not from what it proposed."""
    for key, kind in distributions(arm, trained).items():
        trial.storage.set_trial_param(trial._trial_id, key, kind.to_internal_repr(trained[key]), kind)


def _tell(study: optuna.Study, trial: optuna.Trial, point: Point, seen: Earlier, plan: SearchPlan) -> None:
    entry, values = seen.entry, _told(seen, plan)
    if entry is None or values is None or point != seen.point:
        # To a sampler that does not learn, a point that failed was visited: it would propose it again and again.
        learns = sampler_kind(plan.sampler).learns
        study.tell(trial, state=TrialState.FAIL if learns else TrialState.PRUNED)
        return
    for name, value in plan.violations(entry).items() if plan.constraints else ():
        trial.set_constraint(name, value)
    if entry.state == "complete":
        study.tell(trial, values)
    else:
        study.tell(trial, state=STATES[entry.state])


def _told(seen: Earlier, plan: SearchPlan) -> list[float] | None:
    """The objectives of an earlier trial; None where it teaches nothing."""
    entry = seen.entry
    return plan.values(entry) if entry is not None and entry.state != "fail" else None


def _frozen_trial(arm: Arm, seen: Earlier, plan: SearchPlan) -> optuna.trial.FrozenTrial:
    entry, values = seen.entry, _told(seen, plan)
    state = TrialState.RUNNING if entry is None else STATES[entry.state] if values else TrialState.FAIL
    pruned = entry is not None and state is TrialState.PRUNED and values is not None and not plan.objectives
    return optuna.trial.create_trial(
        state=state,
        values=values if state is TrialState.COMPLETE else None,
        intermediate_values={entry.steps.made: values[0]} if entry is not None and values and pruned else {},
        params=parameters(arm, seen.point),
        distributions=distributions(arm, seen.point),
        constraints=plan.violations(entry) if entry is not None and values and plan.constraints else None,
    )


def startup_point(arm: Arm, index: int, seed: int) -> Point:
    """The point of a scrambled Sobol sequence, whose unit points are the same in every arm."""
    keys = arm.drawn or tuple(arm.nuisance)
    engine = SobolEngine(len(keys), scramble=True, seed=seed)
    unit = dict(zip(keys, engine.draw(index + 1)[index].tolist(), strict=True))
    return applied(arm.nuisance, {key: dimension.at(unit[key]) for key, dimension in arm.nuisance.items()})


def _sampler_seed(arm: Arm, index: int, plan: SearchPlan) -> int:
    """One for all points of a sequence, else one for each trial: one that is made again repeats its first draws."""
    name = (plan.sampler or {}).get("name")
    return _seed(plan.seed, "sequence") if name in ("grid", "qmc") else _seed(plan.seed, arm.name, index)


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")
