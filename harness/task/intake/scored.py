"""Data that are read to be scored alone: the classes are those of a trained head, and some of them may have no row."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_HEAD: ContextVar[tuple[str, ...] | None] = ContextVar("classes of the head that is scored", default=None)


@contextmanager
def read_to_score(classes: Sequence[str]) -> Iterator[None]:
    """Let data be read inside that cannot be learned from; `classes` are the head's, none where nothing names them."""
    token = _HEAD.set(tuple(classes))
    try:
        yield
    finally:
        _HEAD.reset(token)


def scored_alone() -> bool:
    """Whether nothing is learned from what is read."""
    return _HEAD.get() is not None


def head_classes() -> tuple[str, ...]:
    """The classes that are known before any row is read."""
    return _HEAD.get() or ()


def with_head(labels: Iterable[str]) -> set[str]:
    """The classes of labels, and those that the head has beside them; these alone where it lacks one of them."""
    there, known = set(labels), set(head_classes())
    return known if there <= known else there
