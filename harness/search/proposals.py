"""Proposals: the nuisance values of an arm's next trial, from a Sobol sequence first and from TPE afterwards."""

import hashlib
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState
from torch.quasirandom import SobolEngine

from harness.config.arms import Arm, Point
from harness.record import Record, direction
from harness.search.space import distributions, from_unit, round_in_range


def propose(arm: Arm, index: int, seed: int, startup: int, objective: str, history: Sequence[Record]) -> Point:
    """Nuisance values of the arm's trial number `index`: a function of the arguments alone, so a resumed study agrees.

    The first `startup` trials take a scrambled Sobol sequence, the same unit points in every arm, so that arms are
    compared on like draws. Later ones take Optuna's TPE, fed with the arm's own finished trials. `history` holds the
    records of the arm.
    """
    if not arm.nuisance:
        return {}
    if index < startup:
        return _sobol(arm, index, seed)
    sampler = optuna.samplers.TPESampler(seed=_seed(seed, arm.name, index), n_startup_trials=1)
    study = optuna.create_study(sampler=sampler, direction="maximize" if direction(objective) > 0 else "minimize")
    study.add_trials(
        [_frozen_trial(arm, entry, objective) for entry in history if entry.state != "fail" and "val" in entry.scores]
    )
    params = study.ask(distributions(arm)).params
    return {key: round_in_range(value, arm.nuisance[key]) for key, value in params.items()}


def _frozen_trial(arm: Arm, entry: Record, objective: str) -> optuna.trial.FrozenTrial:
    value = entry.score("val", objective)
    complete = entry.state == "complete"
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        value=value if complete else None,
        intermediate_values={} if complete else {entry.steps.made: value},
        params=entry.point,
        distributions=distributions(arm),
    )


def _sobol(arm: Arm, index: int, seed: int) -> Point:
    engine = SobolEngine(len(arm.nuisance), scramble=True, seed=seed)
    unit = engine.draw(index + 1)[index].tolist()
    return {
        key: from_unit(fraction, bounds) for fraction, (key, bounds) in zip(unit, arm.nuisance.items(), strict=True)
    }


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")
