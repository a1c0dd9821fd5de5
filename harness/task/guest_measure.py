"""Measures of the user's own: what such a class has to be, and how it is found."""

import inspect
from abc import ABC, abstractmethod

from torch import Tensor

from harness.config import ConfigError
from harness.config.guests import load_guest, make_guest


class GuestMeasure(ABC):
    """Subclass it, and name the subclass as `trainer.objective=package.module:Name`.

    A higher score is better, in the choice of weights, in pruning and in a search; of an error, return the negative.
    The constructor takes no arguments.
    """

    @abstractmethod
    def score(self, labels: Tensor, logits: Tensor) -> float:
        """The score of a whole split, a finite number.

        For classes, `labels` (N) are their numbers and `logits` (N, C) are not normalised; of numbers, `labels` (N) and
        `logits` (N, 1) are in the labels' own unit. Both are on the CPU; `logits` are float32, or float64 of numbers.
        """


def read_measure(path: str) -> GuestMeasure:
    """The measure that a dotted path names. Raises ConfigError where it is none."""
    key = "trainer.objective"
    kind = load_guest(key, path, GuestMeasure)  # type: ignore[type-abstract]
    if inspect.isabstract(kind):
        raise ConfigError(f"{key}={path}: {kind.__name__} has no score(labels, logits); higher is better")
    try:
        return make_guest(f"{key}={path}", kind, {})
    except ConfigError:
        raise
    except Exception as error:  # the user's constructor may fail in any way
        raise ConfigError(f"{key}={path}: {kind.__name__}() failed, {type(error).__name__}: {error}") from error
