"""Samplers of a user's own that cannot be used."""

import optuna


class Seedless(optuna.samplers.RandomSampler):
    """Draws otherwise each time."""

    def __init__(self) -> None:
        super().__init__()


class Broken(optuna.samplers.RandomSampler):
    """Fails once it has scores to learn from."""

    def sample_independent(self, study, trial, param_name, param_distribution):
        if study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
            raise ZeroDivisionError
        return super().sample_independent(study, trial, param_name, param_distribution)
