"""Texts in two splits of which one has a word more: told, and never refused.

A text is looked up by the sum of its words' hashes, and a longer one by that sum without each of its words, so that the
cost grows with the number of words: 2 to 5 µs a text of 20 words, which takes 14 µs to read from a CSV file. Of 1,821
test sentences of SST-2 one is told; of its training sentences all of five words or more are found with a word more.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np

from harness.system.paths import listed

_FEWEST_WORDS = 5  # of the shorter text; two short ones are alike by chance
_AT_ONCE = 10_000  # texts whose words are held at a time
_BITS = np.uint64(2**22 - 1)


class _Hashed(NamedTuple):
    """The hashes of all words, one text after another; how many words each text has, and the sums of their hashes."""

    words: np.ndarray
    counts: np.ndarray
    sums: np.ndarray


def near_texts(texts: Mapping[str, Sequence[str]], names: Mapping[str, Sequence[object]]) -> list[str]:
    """What is told of normalised texts that are those of an earlier split but for one word more or less."""
    hashed = {split: _hashed(mine) for split, mine in texts.items()}
    told = []
    for first, second in combinations(texts, 2):
        pairs = {later: found[0] for later, found in _one_more(texts, hashed, second, first)}
        for earlier, found in _one_more(texts, hashed, first, second):
            pairs |= dict.fromkeys(found, earlier)
        if pairs:
            said = listed(f"{names[second][later]} and {names[first][place]}" for later, place in sorted(pairs.items()))
            count = f"{len(pairs)} of {len(texts[second])}"
            told.append(f"{count} texts of {second} are those of {first} but for a word (rows {said})")
    return told


def _hashed(texts: Sequence[str]) -> _Hashed:
    parts, counts = [], []
    for begin in range(0, len(texts), _AT_ONCE):
        words = [_words(text) for text in texts[begin : begin + _AT_ONCE]]
        counts += list(map(len, words))
        parts.append(np.fromiter(map(hash, chain.from_iterable(words)), dtype=np.int64).view(np.uint64))
    every = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    ends = np.cumsum([0, *counts])
    until = np.concatenate([np.zeros(1, np.uint64), np.cumsum(every, dtype=np.uint64)])  # beyond 64 bits it wraps
    return _Hashed(every, np.array(counts, dtype=np.int64), until[ends[1:]] - until[ends[:-1]])


def _words(text: str) -> list[str]:
    """Those of two texts parted by a NUL with that between them."""
    return text.replace("\0", " \0 ").split(" ")


def _one_more(
    texts: Mapping[str, Sequence[str]], hashed: Mapping[str, _Hashed], longer: str, shorter: str
) -> Iterator[tuple[int, list[int]]]:
    """The places of texts that are some of the other split with a word more, and of those."""
    long, short = hashed[longer], hashed[shorter]
    known = np.flatnonzero(short.counts >= _FEWEST_WORDS)
    if not len(known):
        return
    known = known[np.argsort(short.sums[known], kind="stable")]
    table = np.zeros(int(_BITS) + 1, dtype=bool)
    table[short.sums[known] & _BITS] = True
    without = np.repeat(long.sums, long.counts) - long.words
    hits = np.flatnonzero(table[without & _BITS])
    begins, ends = (np.searchsorted(short.sums[known], without[hits], side=side).tolist() for side in ("left", "right"))
    rows = np.searchsorted(np.cumsum(long.counts), hits, side="right").tolist()
    same: dict[tuple[str, int], list[int]] = {}  # a text that comes again has the same ones
    for row, begin, end in zip(rows, begins, ends, strict=True):
        key = texts[longer][row], begin
        if key not in same:
            words, alike = _words(key[0]), known[begin:end].tolist()  # of the same words, in whatever order
            same[key] = [place for place in alike if _has_one_more(words, _words(texts[shorter][place]))]
        if same[key]:
            yield row, same[key]


def _has_one_more(long: Sequence[str], short: Sequence[str]) -> bool:
    at = next((place for place, pair in enumerate(zip(long, short, strict=False)) if pair[0] != pair[1]), len(short))
    return list(long[at + 1 :]) == list(short[at:])
