"""A dry run of a search before any file is written: one proposal, and the pruner on the worst possible trial."""

import warnings
from collections.abc import Iterator, Sequence

import optuna

from harness.config import Config, ConfigError
from harness.config.arms import Arm
from harness.config.methods import HALVING
from harness.search.methods import (
    PRUNERS,
    SAMPLERS,
    experimental_allowed,
    make_sampler,
    notes_rungs,
    sampler_kind,
    takes,
)
from harness.search.plan import SearchPlan
from harness.search.pruning import judge
from harness.search.space import suggest

STEPS = ("max_steps", "epochs", "batch_size", "accumulate", "evaluations")
"""Keys of the trainer that decide at which steps a trial is scored."""
_TRIED = 4
"""Random trials before the proposal that is tried."""


def try_sampler(config: Config, all_arms: list[Arm]) -> None:
    """Have a sampler that has arguments propose once, from made-up scores. Raises ConfigError where it fails."""
    assert config.sweep is not None
    method, plan = config.sweep.sampler, SearchPlan.of(config)
    arm = next((arm for arm in all_arms if arm.nuisance and takes(sampler_kind(method), arm)), None)
    if arm is None or method is None or method["name"] == "gp" or (len(method) == 1 and method["name"] in SAMPLERS):
        return  # the Gaussian process takes torch, and no number
    study = plan.study()
    with experimental_allowed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for score in range(_TRIED):
            suggest(trial := study.ask(), arm)
            study.tell(trial, [float(score)] * len(study.directions))
        study.sampler = make_sampler(method, arm.nuisance, 0)
        try:
            suggest(study.ask(), arm)
        except Exception as error:  # of whatever kind: a study would end by it
            said = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"sweep.sampler={method['name']}: proposes nothing: {said or type(error).__name__}"
            ) from None


_UNKNOWN_STEPS = 10**6
"""In place of the steps of an arm where they depend on the data: no rung is above."""


def idle_pruner(config: Config, all_arms: Sequence[Arm]) -> Iterator[str]:
    """A pruner that runs every trial to its end."""
    sweep, trainer = config.sweep, config.trainer
    assert sweep is not None
    pruner = sweep.pruner or {"name": "none"}
    if pruner["name"] in ("none", *HALVING) or config.task.in_turn:
        return
    if any(f"trainer.{name}" in (*arm.nuisance, *arm.values) for arm in all_arms for name in STEPS):
        return  # one of them may do
    if trainer.evaluations < 2:
        yield f"sweep.pruner={pruner['name']}: trainer.evaluations=1 is after the last step, too late; 2 or more"
    elif pruner["name"] in PRUNERS:
        last = trainer.max_steps or _UNKNOWN_STEPS
        count = min(trainer.evaluations, last)
        steps = [round(last * part / count) for part in range(1, count + 1)]
        if not _could_end_one(SearchPlan.of(config), sweep.trials, steps):
            yield (
                f"sweep.pruner={pruner['name']}: ends no trial, not even the worst of sweep.trials={sweep.trials} "
                f"(trainer.evaluations={trainer.evaluations}, trainer.max_steps={trainer.max_steps}, "
                f"sweep.prune_after={sweep.prune_after}); other arguments, more evaluations, or sweep.pruner=none"
            )


_WORST_OF = 64
"""Of the trials of an arm, at most: Hyperband draws for each trial how far it must come."""


def _could_end_one(plan: SearchPlan, trials: int, steps: Sequence[int]) -> bool:
    """Return whether a pruner of Optuna's ends the worst possible trial before its last step.

    It is held against trials that are as good as can be, which are evaluated at the same `steps`; worst is the lowest
    score, or the highest, which a threshold may forbid.
    """
    assert plan.pruner is not None
    least = plan.prune_after or 0
    noted, before = notes_rungs(plan.pruner), list[optuna.trial.FrozenTrial]()
    for index in range(min(trials, least + _WORST_OF)):
        if index >= least and (noted or index == trials - 1):
            worst = [{step: end * plan.sign * (1e6 + at) for at, step in enumerate(steps)} for end in (-1, 1)]
            parts = (dict(list(each.items())[:count]) for each in worst for count in range(1, len(steps)))
            if any(judge(plan, before, part)[0] for part in parts):
                return True
        best = {step: plan.sign * (1 + at + index / 1e3) for at, step in enumerate(steps)}
        rungs = dict(judge(plan, before, best)[1]) if noted else {}
        value = plan.sign * max(map(abs, best.values()))
        before.append(optuna.trial.create_trial(value=value, intermediate_values=best, system_attrs=rungs))
    return False
