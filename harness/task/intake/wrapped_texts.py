"""Texts with something put around them, cut off, or with other accents or letters that look the same.

A few texts of a split begin with one of another by chance: where fewer than 2 % do, or have such a one within, they are
not told. 200,000 texts of 20 words cost 1.2 s.
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from harness.task.intake.hashed_texts import Hashed, may_be_in, table_of, words_of
from harness.task.intake.look_alike import LATIN, without_accents

_FEWEST_WORDS = 6  # of the shorter text
_FEWEST_LETTERS = 5  # words of a text in other letters
_MOST_AROUND = 8  # words before and behind
_FEWEST, _SHARE = 3, 0.02  # of a split; fewer are alike by chance
_TAG = re.compile(r"<[^<>]{1,60}>")


def around(
    earlier: Sequence[str], later: Sequence[str], hashed: tuple[Hashed, Hashed], known: Collection[int]
) -> dict[str, dict[int, int]]:
    """The places of later texts, with those of earlier ones, that are the same in each of these ways; none of those
    that are `known`.
    """
    there = set(earlier)
    out = {*known, *(place for place, text in enumerate(later) if text in there)}
    bare = {place: other for place, other in _other_letters(earlier, later).items() if place not in out}
    found = {long: short for short, long in _begins(earlier, later)} | dict(_begins(later, earlier))
    found |= dict(_within(later, earlier, hashed[1], hashed[0]))
    found |= {short: long for long, short in _within(earlier, later, *hashed)}
    found = {place: other for place, other in found.items() if place not in out and place not in bare}
    if len(found) < max(_FEWEST, _SHARE * len(later)):
        found = {}
    return {
        "but for tags, accents or letters that look alike": bare,
        "with words before or behind them, or cut off": found,
    }


def _other_letters(earlier: Sequence[str], later: Sequence[str]) -> dict[int, int]:
    """Texts that are the same without tags and accents, and in Latin letters for others that look the same."""
    sides = [[_bare(text) for text in texts] for texts in (earlier, later)]
    places = {text: place for place, text in enumerate(sides[0])}
    return {
        place: other
        for place, text in enumerate(sides[1])
        if (other := places.get(text)) is not None and text.count(" ") + 1 >= _FEWEST_LETTERS
    }


def _bare(text: str) -> str:
    if "<" in text:
        text = " ".join(_TAG.sub(" ", text).split())
    return text if text.isascii() else without_accents(text).translate(LATIN)


def _begins(short: Sequence[str], long: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The places of texts that others begin with, which are up to twice as long, and of those."""
    order = sorted(range(len(long)), key=long.__getitem__)
    ordered = [long[place] for place in order]
    for text, place in {text: place for place, text in enumerate(short)}.items():
        at = bisect_right(ordered, text) if text.count(" ") + 1 >= _FEWEST_WORDS else len(ordered)
        while at < len(ordered) and ordered[at].startswith(text):
            if len(ordered[at]) <= 2 * len(text):
                yield place, order[at]
            at += 1


def _within(longer: Sequence[str], shorter: Sequence[str], long: Hashed, short: Hashed) -> Iterator[tuple[int, int]]:
    """The places of texts that are one of the others with words before it, and perhaps behind, and of those."""
    sums, places = np.unique(short.sums, return_index=True)
    many = short.counts[places] >= _FEWEST_WORDS
    sums, places = sums[many], places[many]
    if not len(sums):
        return
    table, ends = table_of(sums), np.cumsum(long.counts)
    for before in range(1, _MOST_AROUND + 1):
        for behind in range(_MOST_AROUND - before + 1):
            more = before + behind
            mine = np.flatnonzero(long.counts - more >= max(_FEWEST_WORDS, 2 * more))
            inside = long.until[ends[mine] - behind] - long.until[ends[mine] - long.counts[mine] + before]
            maybe = may_be_in(table, inside)
            at = np.minimum(np.searchsorted(sums, inside[maybe]), len(sums) - 1)
            hits = sums[at] == inside[maybe]
            for row, place in zip(mine[maybe[hits]].tolist(), places[at[hits]].tolist(), strict=True):
                words = words_of(longer[row])
                if words[before : len(words) - behind] == words_of(shorter[place]):
                    yield row, place
