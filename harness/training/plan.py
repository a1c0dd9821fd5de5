"""The number of steps of a training, and the steps that an evaluation follows."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Plan:
    """The number of optimiser steps, and after which of them there is an evaluation; the last is one of them."""

    steps: int
    evaluate_after: tuple[int, ...]


def plan(batches: int, epochs: float, max_steps: int | None, evaluations: int, *, round_up: bool = False) -> Plan:
    """The steps of `epochs` (a fraction is fine) of `batches` each, or `max_steps` if fewer.

    Rounded up to a multiple of `evaluations` as far as `max_steps` allows; else they are spread over the steps as
    evenly as whole numbers can be. With `round_up` past `max_steps`, too, as was done before.
    """
    steps = max(1, round(epochs * batches))
    if max_steps is not None and round_up:
        steps = min(steps, max_steps)
    parts = min(evaluations, steps)
    rounded = -(-steps // parts) * parts
    if max_steps is not None and rounded > max_steps and not round_up:
        rounded = max_steps
        parts = min(evaluations, rounded)
    return Plan(rounded, tuple(round(rounded * part / parts) for part in range(1, parts + 1)))
