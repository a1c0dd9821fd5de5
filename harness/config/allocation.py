"""The ways to allocate ranks to layers under a budget of parameters; what each does is in harness.trial.profiles."""

from typing import Literal, get_args

Allocation = Literal["uniform", "eva", "gradient", "spectrum", "truncate", "adalora"]
ALLOCATIONS: tuple[str, ...] = get_args(Allocation)
OF_A_TRIAL = ("spectrum", "truncate", "adalora")
"""The methods that look at a finished trial."""
