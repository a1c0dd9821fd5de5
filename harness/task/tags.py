"""Tags of tokens as spans: BIO (IOB2) sequences checked, mended, and taken apart."""

from collections import Counter
from collections.abc import Iterator, Sequence

OUTSIDE = "O"

Span = tuple[str, int, int]
"""Its type, its first token, and the one after its last."""


def is_bio(tag: str) -> bool:
    """Whether a tag is O, B-TYPE or I-TYPE."""
    return tag == OUTSIDE or (tag[:2] in ("B-", "I-") and len(tag) > len("B-"))


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of a row of BIO tags, an I- that continues nothing beginning one, as conlleval and seqeval read it."""
    found: list[Span] = []
    for place, tag in enumerate(tags):
        if tag == OUTSIDE:
            continue
        kind = tag[2:]
        continues = place and tag[0] == "I" and tags[place - 1][2:] == kind
        if continues:
            first = found[-1][1]
            found[-1] = (kind, first, place + 1)
        else:
            found.append((kind, place, place + 1))
    return found


def broken(tags: Sequence[str]) -> Iterator[int]:
    """The places of I- tags that follow no tag of their type: IOB2 begins each span with B-."""
    for place, tag in enumerate(tags):
        if tag[:2] == "I-" and (not place or tags[place - 1][2:] != tag[2:]):
            yield place


def begun(tags: Sequence[str]) -> tuple[str, ...]:
    """The same spans, each beginning with B-."""
    wrong = set(broken(tags))
    return tuple(f"B-{tag[2:]}" if place in wrong else tag for place, tag in enumerate(tags))


def bio_classes(tags: Sequence[str]) -> tuple[str, ...]:
    """O, and of each type that there is both of its tags."""
    kinds = sorted({tag[2:] for tag in tags if tag != OUTSIDE})
    return (OUTSIDE, *(f"{mark}-{kind}" for kind in kinds for mark in "BI"))


def rates(right: float, found: float, there: float) -> tuple[float, float, float]:
    """F1, precision and recall of so many spans that are right, were found, and are there; 0 of none."""
    precision = right / found if found else 0.0
    recall = right / there if there else 0.0
    return (2 * precision * recall / (precision + recall) if right else 0.0), precision, recall


def by_type(tags: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> list[list[object]]:
    """Of each type of span, by name: how many are there, were found and are right; precision, recall and F1."""
    there, found, right = Counter[str](), Counter[str](), Counter[str]()
    for row, said in zip(tags, predicted, strict=True):
        mine, theirs = set(spans(said)), set(spans(row))
        for counter, kept in ((there, theirs), (found, mine), (right, mine & theirs)):
            counter.update(kind for kind, _, _ in kept)
    lines: list[list[object]] = []
    for kind in sorted(there | found):
        counts = there[kind], found[kind], right[kind]
        f1, precision, recall = rates(counts[2], counts[1], counts[0])
        lines.append([kind, *counts, *(f"{rate:.6f}" for rate in (precision, recall, f1))])
    return lines
