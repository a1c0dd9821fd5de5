"""Texts in two splits that differ by one added word: reported, never refused.

A text is looked up by the sum of its words' hashes, and a longer one by that sum without each of its words, so that the
cost grows with the number of words: 2 to 5 µs a text of 20 words, which takes 14 µs to read from a CSV file. Of 1,821
test sentences of SST-2 one is told; of its training sentences all of five words or more are found with a word more.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from harness.system.paths import listed
from harness.task.intake.hashed_texts import Hashed, hashed, may_be_in, table_of, words_of
from harness.task.intake.wrapped_texts import around

_FEWEST_WORDS = 5  # of the shorter text; two short ones are alike by chance


def near_texts(texts: Mapping[str, Sequence[str]], names: Mapping[str, Sequence[object]]) -> list[str]:
    """Return warnings about normalised texts that differ from those of an earlier split by at most one word."""
    words = {split: hashed(mine) for split, mine in texts.items()}
    told = []
    for first, second in combinations(texts, 2):
        pairs = {later: found[0] for later, found in _one_more(texts, words, second, first)}
        for earlier, found in _one_more(texts, words, first, second):
            pairs |= dict.fromkeys(found, earlier)
        more = around(texts[first], texts[second], (words[first], words[second]), pairs)
        for how, places in {"but for a word": pairs, **more}.items():
            if places:
                said = listed(f"{names[second][at]} and {names[first][to]}" for at, to in sorted(places.items()))
                count = f"{len(places)} of {len(texts[second])}"
                told.append(f"{count} texts of {second} are those of {first} {how} (rows {said})")
    return told


def _one_more(
    texts: Mapping[str, Sequence[str]], every: Mapping[str, Hashed], longer: str, shorter: str
) -> Iterator[tuple[int, list[int]]]:
    """The places of texts that are some of the other split with a word more, and of those."""
    long, short = every[longer], every[shorter]
    known = np.flatnonzero(short.counts >= _FEWEST_WORDS)
    if not len(known):
        return
    known = known[np.argsort(short.sums[known], kind="stable")]
    without = np.repeat(long.sums, long.counts) - long.words
    hits = may_be_in(table_of(short.sums[known]), without)
    begins, ends = (np.searchsorted(short.sums[known], without[hits], side=side).tolist() for side in ("left", "right"))
    rows = np.searchsorted(np.cumsum(long.counts), hits, side="right").tolist()
    same: dict[tuple[str, int], list[int]] = {}  # a text that comes again has the same ones
    for row, begin, end in zip(rows, begins, ends, strict=True):
        key = texts[longer][row], begin
        if key not in same:
            words, alike = words_of(key[0]), known[begin:end].tolist()  # of the same words, in whatever order
            same[key] = [place for place in alike if _has_one_more(words, words_of(texts[shorter][place]))]
        if same[key]:
            yield row, same[key]


def _has_one_more(long: Sequence[str], short: Sequence[str]) -> bool:
    at = next((place for place, pair in enumerate(zip(long, short, strict=False)) if pair[0] != pair[1]), len(short))
    return list(long[at + 1 :]) == list(short[at:])
