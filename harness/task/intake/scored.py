"""Data that are read to be scored alone: the classes are those of a trained head, and some of them may have no row."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar


@dataclasses.dataclass(frozen=True)
class Scored:
    """The scope of scoring: the `classes` of a head, none if they have no names. If all rows are scored together, as
    `whole`, nothing is cut: the splits that are not given, which are noted in `uncut`, have all rows of training.
    """

    classes: tuple[str, ...]
    whole: bool = False
    uncut: set[str] = dataclasses.field(default_factory=set)


_SCORED: ContextVar[Scored | None] = ContextVar("what is scored", default=None)


@contextmanager
def read_to_score(classes: Sequence[str], whole: bool = False) -> Iterator[Scored]:
    """Let data be read inside that cannot be learned from."""
    scored = Scored(tuple(classes), whole)
    token = _SCORED.set(scored)
    try:
        yield scored
    finally:
        _SCORED.reset(token)


def scored_alone() -> bool:
    """Return whether the data is read for scoring only, without training."""
    return _SCORED.get() is not None


def left_uncut(splits: Iterable[str]) -> bool:
    """Return whether these splits are not cut off training, but have all of its rows."""
    scored = _SCORED.get()
    if scored is None or not scored.whole:
        return False
    scored.uncut.update(splits)
    return True


def head_classes() -> tuple[str, ...]:
    """The classes that are known before any row is read."""
    scored = _SCORED.get()
    return () if scored is None else scored.classes


def with_head(labels: Iterable[str]) -> set[str]:
    """The classes of labels, and those that the head has beside them; these alone where it lacks one of them."""
    there, known = set(labels), set(head_classes())
    return known if there <= known else there
