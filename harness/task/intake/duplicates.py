"""Rows that stand in a table twice, or in two splits: exactly, but for blanks, or but for case and punctuation."""

import itertools
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from harness.config import ConfigError
from harness.system.paths import listed

_SHARE_ALLOWED = 0.01  # of a held-out split: SST-2 as published has 2 of 1,821
_ENOUGH = 20  # rows, of which one may be shared


def joined_blanks(text: str) -> str:
    """Return a text with blanks and line ends unified: a tokenizer reads most such texts alike."""
    return " ".join(text.split())


def normalised(text: str) -> str:
    """Return a text without differences in case, blanks, punctuation and character form (NFKC).

    Signs beside digits are no punctuation: 12-4 is not 12/4.
    """
    folded = joined_blanks(unicodedata.normalize("NFKC", text).casefold())
    if not folded.isascii():
        folded = "".join(c if c.isascii() else _plain(c) for c in folded)
    spaced = _SIGNS.sub(" ", folded) if _DIGIT.search(folded) else folded.translate(_BLANKS)
    words = " ".join(spaced.split())
    return words or joined_blanks(text)


def _plain(character: str) -> str:
    """A dash for all dashes, and a blank for other punctuation, blanks and what is not seen."""
    category = unicodedata.category(character)
    return "-" if category == "Pd" else " " if category[0] in "PZC" else character


def normalised_row(content: str) -> str:
    """A row of one sentence, or of two separated by a NUL, with each of them `normalised`."""
    return "\0".join(map(normalised, content.split("\0")))


_COUNTS = r"[-(.](?=\d)|(?<=\d)[,:](?=\d)|[*/](?= ?\d)|(?<=\d)[*/%]|(?<=\d )(?:[*/]|-(?= \d))"
"""Signs beside a digit that make another number or sum of it."""

_PUNCTUATION = "!\"#%&'()*,-./:;?@[\\]_{}"  # of ASCII; $ + < = > ^ ` | ~ are symbols
_SIGNS = re.compile(rf"(?!{_COUNTS})[{re.escape(_PUNCTUATION)}]")
_BLANKS = str.maketrans(dict.fromkeys(_PUNCTUATION, " "))
_DIGIT = re.compile(r"\d")


def contradictions(keys: Sequence[Hashable], labels: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    """The places of keys that have more than one label."""
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return {key: at for key, at in places.items() if len(at) > 1 and len({labels[place] for place in at}) > 1}


def settled(
    where: str,
    *,
    keys: Sequence[Hashable],
    labels: Sequence[Hashable],
    rows: Sequence[object],
    policy: str,
    what: str,
    named: str = "labels",
) -> tuple[list[int], list[str]]:
    """The places to keep, and warnings about labels that are lost with others. Raises ConfigError where `policy` is
    refuse.

    `what` stands twice, and its labels are `named`.
    `policy` first keeps the first row of those that contradict each other, leave_out none of them, keep all of them.
    """
    found = contradictions(keys, labels)
    if not found or policy == "keep":
        return list(range(len(keys))), []
    if policy == "refuse":
        said = listed(" and ".join(str(rows[place]) for place in places[:4]) for places in found.values())
        rule = "task.duplicates=first keeps the first of them, leave_out none, keep all"
        raise ConfigError(f"{where}: the same {what} with different {named}, {len(found)} times (rows {said}); {rule}")
    dropped = {place for places in found.values() for place in places[policy == "first" :]}
    kept = [place for place in range(len(keys)) if place not in dropped]
    return kept, lost(labels, [labels[place] for place in kept], policy)


def lost(labels: Iterable[Hashable], kept: Iterable[Hashable], policy: str) -> list[str]:
    """Messages about labels that keep no row once contradictions are settled by `policy`."""
    gone = sorted(map(repr, set(labels).difference(kept)))
    return [f"nothing of {listed(gone)} is left: task.duplicates={policy} leaves all of it out"] if gone else []


def repeats(
    splits: Mapping[str, Sequence[tuple[Hashable, Hashable]]], names: Mapping[str, Sequence[object]], policy: str
) -> tuple[dict[str, list[int]], list[str]]:
    """The places of rows that stand in their split before, which are left out, and warnings about those that stay.

    Each row has its input, its label and its name. With `policy` keep rows repeat others where both are
    the same, and held-out splits stay as they are: a published one is scored as others score it.
    """
    out: dict[str, list[int]] = {}
    told = []
    for split, rows in splits.items():
        keys = [row if policy == "keep" else row[0] for row in rows]
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        out[split] = [place for place, key in enumerate(keys) if first[key] != place]
        if policy == "keep" and split != "train" and out[split]:
            said = f"{len(out[split])} rows repeat others (rows {listed(names[split][place] for place in out[split])})"
            told.append(f"{split}: {said} and stay, as task.duplicates=keep says")
            out[split] = []
    return out, told


def shared_keys(splits: Mapping[str, Sequence[Hashable]]) -> dict[str, list[int]]:
    """The places, in the later of two splits, of what stands in the earlier one too; by the names of both."""
    known = {name: set(keys) for name, keys in splits.items()}
    found = {
        f"{first} and {second}": [place for place, key in enumerate(splits[second]) if key in known[first]]
        for first, second in itertools.combinations(splits, 2)
    }
    return {names: places for names, places in found.items() if places}


def are_too_many(shared: int, rows: int) -> bool:
    """Return whether too many rows of a held-out split are in an earlier one: one is allowed, unless there are few."""
    return shared > max(_SHARE_ALLOWED * rows, rows >= _ENOUGH)


def near_counts(splits: Mapping[str, Sequence[Hashable]]) -> dict[str, int]:
    """Count the rows of a split that duplicate others in it, and those that duplicate rows of an earlier split."""
    found = {name: len(keys) - len(set(keys)) for name, keys in splits.items()}
    found |= {names: len(places) for names, places in shared_keys(splits).items()}
    return {names: count for names, count in found.items() if count}


def refuse_leaks(
    where: str,
    splits: Mapping[str, Sequence[str]],
    rows: Mapping[str, Sequence[object]],
    key: Callable[[str], Hashable],
    rule: str,
    what: str = "sentences",
) -> dict[str, int]:
    """Count the texts of a split that are in an earlier one, by both names; more than a few raise a ConfigError.

    `rule` ends its line with what settles it; `what` texts are.
    """
    shared = shared_keys({name: [key(text) for text in texts] for name, texts in splits.items()})
    for names, places in shared.items():
        first, _, second = names.partition(" and ")
        if rule and are_too_many(len(places), len(splits[second])):
            named = listed(rows[second][place] for place in places)
            raise ConfigError(
                f"{where}: {len(places)} of {len(splits[second])} {second} {what} stand in {first} too (rows "
                f"{named}){rule}"
            )
    return {names: len(places) for names, places in shared.items()}
