"""Names of classes that may be one: a short and a long form, a number with words beside it, accents, dates."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator

from harness.system.paths import listed
from harness.task.intake.look_alike import without_accents

_SHORT_FORMS = frozenset(
    (
        *(("pos", "positive"), ("neg", "negative"), ("neu", "neutral"), ("neut", "neutral"), ("lo", "low")),
        *(("m", "male"), ("f", "female"), ("hi", "high"), ("med", "medium"), ("mod", "moderate"), ("mal", "malignant")),
        *(("norm", "normal"), ("abn", "abnormal"), ("unk", "unknown"), ("per", "person"), ("pers", "person")),
        *(("loc", "location"), ("org", "organization"), ("org", "organisation"), ("misc", "miscellaneous")),
    )
)
_LEAST, _MOST = 2, 4  # letters that a long form has more than a short one; letters of a short one
_NUMBERED = re.compile(r"(?:label|class|category|cluster|topic|target)[\s_#:.-]*(\d+)")
_BEHIND = re.compile(r"(\d+)(?:\s*[:.)=|–-]+\s*|\s+)([^\W\d].*)")
_BEFORE = re.compile(r"(\D*[^\W\d])\s*[(\[:=]\s*(\d+)\s*[)\]]?")
_YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
_YEAR_LAST = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})")
_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_ACCENTED = 4  # letters of a name that another may be with accents: of fewer each is a word


def told_as_one(names: Collection[str], normalise: bool | None = None) -> list[str]:
    """Return warnings about names that may be of one class, unless `normalise` is false, which keeps them."""
    pairs = [] if normalise is False else may_be_one(names)
    if not pairs:
        return []
    said = listed(f"{one!r} and {other!r}" for one, other in pairs)
    rule = "mend the file, or task.labels.normalise=false takes them as they are"
    return [f"{said} may be of one class each: {rule}"]


def may_be_one(names: Collection[str]) -> list[tuple[str, str]]:
    """Names in pairs that may mean one class, each pair once; those alike but for case and blanks are known before."""
    there = {" ".join(name.split()).casefold(): name for name in sorted(names)}
    found = dict[frozenset[str], tuple[str, str]]()
    for rule in _RULES:
        for one, other in rule(there):
            found.setdefault(frozenset((one, other)), (there[one], there[other]))
    return list(found.values())


def _short_forms(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Usual abbreviations, and any if all names, or all but one, have one: mon and monday, tue and tuesday."""
    yield from ((short, long) for short, long in sorted(_SHORT_FORMS) if short in names and long in names)
    long_of: dict[str, list[str]] = {}
    for long in filter(str.isalpha, names):
        for size in range(1, min(_MOST, len(long) - _LEAST) + 1):
            if long[:size] in names:
                long_of.setdefault(long[:size], []).append(long)
    pairs = [(short, found[0]) for short, found in long_of.items() if len(found) == 1]
    if 1 < len(pairs) == len({long for _, long in pairs}) and 2 * len(pairs) >= len(names) - 1:
        yield from pairs


def _numbered(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """0 and LABEL_0, 1 and 1 star, 0 or neg and 0: neg, 0 or neg and neg (0)."""
    for name in names:
        parts = [found for form in (_NUMBERED, _BEHIND, _BEFORE) if (found := form.fullmatch(name))]
        alone = [part.strip() for found in parts for part in found.groups() if part.strip() in names]
        yield from ((part, name) for part in alone[:1])


def _accented(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Names with accents and those without, or with letters in their place, as Größe and Groesse."""
    for name in names:
        if len(name) >= _ACCENTED and not name.isascii():
            others = {without_accents(name), unicodedata.normalize("NFC", name).translate(_LETTERS)}
            yield from ((other, name) for other in sorted(others - {name}) if other.isascii() and other in names)


def _dated(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """2020-01-31 and 31/01/2020."""
    last = {name: sorted(map(int, found.groups())) for name in names if (found := _YEAR_LAST.fullmatch(name))}
    for name in names:
        if found := _YEAR_FIRST.fullmatch(name):
            parts = sorted(map(int, found.groups()))
            yield from ((name, other) for other, mine in last.items() if mine == parts)


_RULES: tuple[Callable[[Collection[str]], Iterator[tuple[str, str]]], ...] = (
    _short_forms,
    _numbered,
    _accented,
    _dated,
)
