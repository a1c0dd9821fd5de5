"""The learning rate as a share of its peak, step by step, by the name of the schedule."""

import math
from collections.abc import Callable, Mapping


def rate(schedule: str, step: int, *, steps: int, warmup_steps: int, decay: float) -> float:
    """The share at a step (from 0) of so many: a linear warm-up, then what the schedule says.

    `decay` is the share of all steps in which warmup-stable-decay comes down to zero (Hu et al., 2024).
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return SCHEDULES[schedule](step, steps, warmup_steps, decay)


def _linear(step: int, steps: int, warmup_steps: int, _: float) -> float:
    return max(0.0, (steps - step) / max(1, steps - warmup_steps))


def _cosine(step: int, steps: int, warmup_steps: int, _: float) -> float:
    done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * done))


def _constant(*_: float) -> float:
    return 1.0


def _stable_then_decay(step: int, steps: int, warmup_steps: int, decay: float) -> float:
    last = max(1, round(decay * steps))
    return min(1.0, max(0.0, (steps - step) / last))


SCHEDULES: Mapping[str, Callable[[int, int, int, float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "constant": _constant,
    "warmup-stable-decay": _stable_then_decay,
}
"""What follows the warm-up, of the step, all steps, those of the warm-up and the share of the decay."""
