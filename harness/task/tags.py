"""Tags of tokens as spans: BIO (IOB2), BIOES (IOBES) and BILOU sequences checked, mended, and taken apart."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

OUTSIDE = "O"

Span = tuple[str, int, int]
"""Its type, its first token, and the one after its last."""


SCHEMES = {"bio": ("B", "I"), "bioes": ("B", "I", "E", "S"), "bilou": ("B", "I", "L", "U")}
"""The marks of a span: its first token, one inside it, and, beyond BIO, its last one and its only one."""


def is_of(tag: str, scheme: str) -> bool:
    """Return whether a tag is O, or a mark of the scheme with a type."""
    return tag == OUTSIDE or (tag[:1] in SCHEMES[scheme] and tag[1:2] == "-" and len(tag) > len("B-"))


def scheme_of(tags: Iterable[str]) -> str | None:
    """The first scheme that all tags are of; None where they are of none."""
    there = set(tags)
    return next((scheme for scheme in SCHEMES if all(is_of(tag, scheme) for tag in there)), None)


def types_in(rows: Iterable[Sequence[str]]) -> set[str]:
    """Return the types behind the marks of tags, or all tags of the plain scheme."""
    return {tag[2:] if tag[1:2] == "-" else tag for row in rows for tag in row}


def unlike_any(tags: Collection[str]) -> str:
    """Return the end of an error on tags of no known scheme: a setting for BMES, or for types without marks."""
    there = set(tags) - {OUTSIDE}
    if any(tag.startswith("M-") for tag in there) and all(re.match("[BMES]-", tag) for tag in there):
        return "; of BMES write M- as I-, and task.scheme=bioes reads it"
    if there and OUTSIDE in tags and not any(re.match("[A-Z]-", tag) for tag in there):
        return "; to find spans, write I- before each type, and task.broken=begin"
    return ""


def spans(tags: Sequence[str], scheme: str = "bio") -> list[Span]:
    """The spans of a row of tags: of BIO an I- that continues nothing begins one, as conlleval and seqeval read it; of
    BIOES and BILOU those alone that are whole, as seqeval's strict mode reads them.
    """
    return _lenient(tags) if scheme == "bio" else _strict(tags, SCHEMES[scheme])


def _strict(tags: Sequence[str], marks: Sequence[str]) -> list[Span]:
    begin, inside, last, single = marks
    found: list[Span] = []
    first: int | None = None
    for place, tag in enumerate(tags):
        mark, kind = tag[:1], tag[2:]
        if mark in (begin, single):
            first = place
        elif first is not None and not (mark in (inside, last) and tags[first][0] == begin and tags[first][2:] == kind):
            first = None
        if first is not None and mark in (last, single):
            found.append((kind, first, place + 1))
            first = None
    return found


def _lenient(tags: Sequence[str]) -> list[Span]:
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


def broken(tags: Sequence[str], scheme: str = "bio") -> Iterator[int]:
    """The places of I- tags that follow no tag of their type, since IOB2 begins each span with B-; of the other schemes
    those of tags that are in no whole span.
    """
    if scheme != "bio":
        inside = {place for _, first, end in spans(tags, scheme) for place in range(first, end)}
        yield from (place for place, tag in enumerate(tags) if tag != OUTSIDE and place not in inside)
        return
    for place, tag in enumerate(tags):
        if tag[:2] == "I-" and (not place or tags[place - 1][2:] != tag[2:]):
            yield place


def begun(tags: Sequence[str], scheme: str = "bio") -> tuple[str, ...]:
    """The tags with each span begun by B-; other schemes are read with their marks for last and single tokens as I- and
    B-.
    """
    if scheme != "bio":
        return _written(tags, SCHEMES[scheme])
    wrong = set(broken(tags))
    return tuple(f"B-{tag[2:]}" if place in wrong else tag for place, tag in enumerate(tags))


def _written(tags: Sequence[str], marks: Sequence[str]) -> tuple[str, ...]:
    begin, inside, last, single = marks
    made = [OUTSIDE] * len(tags)
    plain = {begin: "B", inside: "I", last: "I", single: "B"}
    for kind, first, end in _lenient([tag if tag == OUTSIDE else f"{plain[tag[0]]}{tag[1:]}" for tag in tags]):
        written = single if end - first == 1 else begin + inside * (end - first - 2) + last
        made[first:end] = [f"{mark}-{kind}" for mark in written]
    return tuple(made)


def span_classes(tags: Sequence[str], scheme: str = "bio") -> tuple[str, ...]:
    """O, and of each type that there is all of its tags."""
    kinds = sorted({tag[2:] for tag in tags if tag != OUTSIDE})
    return (OUTSIDE, *(f"{mark}-{kind}" for kind in kinds for mark in SCHEMES[scheme]))


def rates(right: float, found: float, there: float) -> tuple[float, float, float]:
    """F1, precision and recall of so many spans that are right, were found, and are there; 0 of none."""
    precision = right / found if found else 0.0
    recall = right / there if there else 0.0
    return (2 * precision * recall / (precision + recall) if right else 0.0), precision, recall


def by_type(
    tags: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: str = "bio"
) -> list[list[object]]:
    """Return, for each type of span, how many there are, were found and are right; precision, recall and F1."""
    there, found, right = Counter[str](), Counter[str](), Counter[str]()
    for row, said in zip(tags, predicted, strict=True):
        mine, theirs = set(spans(said, scheme)), set(spans(row, scheme))
        for counter, kept in ((there, theirs), (found, mine), (right, mine & theirs)):
            counter.update(kind for kind, _, _ in kept)
    lines: list[list[object]] = []
    for kind in sorted(there | found):
        counts = there[kind], found[kind], right[kind]
        f1, precision, recall = rates(counts[2], counts[1], counts[0])
        lines.append([kind, *counts, *(f"{rate:.6f}" for rate in (precision, recall, f1))])
    return lines
