"""Proposals: the nuisance values of an arm's next trial, from a Sobol sequence first and from TPE afterwards."""

import hashlib
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState
from torch.quasirandom import SobolEngine

from harness.config.arms import Arm, Point
from harness.config.space import applied
from harness.record import Record, direction
from harness.search.space import distributions, parameters, suggest


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
    return suggest(study.ask(), arm)


def _frozen_trial(arm: Arm, entry: Record, objective: str) -> optuna.trial.FrozenTrial:
    value = entry.score("val", objective)
    complete = entry.state == "complete"
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        value=value if complete else None,
        intermediate_values={} if complete else {entry.steps.made: value},
        params=parameters(arm, entry.point),
        distributions=distributions(arm, entry.point),
    )


def _sobol(arm: Arm, index: int, seed: int) -> Point:
    engine = SobolEngine(len(arm.nuisance), scramble=True, seed=seed)
    unit = engine.draw(index + 1)[index].tolist()
    dimensions = zip(unit, arm.nuisance.items(), strict=True)
    return applied(arm.nuisance, {key: dimension.at(fraction) for fraction, (key, dimension) in dimensions})


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")
