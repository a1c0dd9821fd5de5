"""The words of texts as numbers, whose sums are compared at once."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

_AT_ONCE = 10_000  # texts whose words are held at a time
_BITS = np.uint64(2**22 - 1)


class Hashed(NamedTuple):
    """The hashes of all words, one text after another; how many words each text has, and the sums of their hashes;
    `until` are the sums of all words before each, and of all.
    """

    words: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    until: np.ndarray


def hashed(texts: Sequence[str]) -> Hashed:
    """The words of normalised texts."""
    parts, counts = [], []
    for begin in range(0, len(texts), _AT_ONCE):
        words = [words_of(text) for text in texts[begin : begin + _AT_ONCE]]
        counts += list(map(len, words))
        parts.append(np.fromiter(map(hash, chain.from_iterable(words)), dtype=np.int64).view(np.uint64))
    every = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    ends = np.cumsum([0, *counts])
    until = np.concatenate([np.zeros(1, np.uint64), np.cumsum(every, dtype=np.uint64)])  # beyond 64 bits it wraps
    return Hashed(every, np.array(counts, dtype=np.int64), until[ends[1:]] - until[ends[:-1]], until)


def words_of(text: str) -> list[str]:
    """The words of a text; two texts separated by a NUL have it between their words."""
    return text.replace("\0", " \0 ").split(" ")


def table_of(sums: np.ndarray) -> np.ndarray:
    """Return a table that rules out most sums that are not among these."""
    table = np.zeros(int(_BITS) + 1, dtype=bool)
    table[sums & _BITS] = True
    return table


def may_be_in(table: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The places of sums that may be some of those in a table."""
    return np.flatnonzero(table[sums & _BITS])
