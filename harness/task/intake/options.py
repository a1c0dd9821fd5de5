"""The options of multiple-choice rows, and which of them each label means."""

import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.files import unwritable
from harness.task.intake.labels import is_gap
from harness.task.intake.tokens import items_of

_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\].:]{0,2}")
_WHOLE = re.compile(r"\d+(?:\.0)?")


@dataclass(frozen=True)
class Options:
    """The texts of a row's options; `names` are the labels that a data set gives them, empty where there are none."""

    texts: tuple[str, ...]
    names: tuple[str, ...] = ()


def options_of(cell: object, where: str, column: str) -> Options:
    """A list of texts, or of text and label as in ARC: {"text": […], "label": […]}, or a list of such pairs, or
    texts by their labels: {"A": …, "B": …}.

    Raises ConfigError for what is none.
    """
    if isinstance(cell, str) and cell.strip().startswith("{"):
        try:
            cell = json.loads(cell)
        except ValueError as error:
            raise ConfigError(f"{where}: {column} is no JSON, {error}") from None
    if isinstance(cell, Mapping):
        named = {name: text for name, text in cell.items() if text is not None}  # of a struct some may be null
        if (
            "text" not in cell
            and len(named) > 1
            and all(isinstance(text, str | int | float) for text in named.values())
        ):
            return _paired(list(named.values()), list(named), where, column)
        if "text" not in cell:
            raise ConfigError(f"{where}: {column} has no text; its keys: {listed(map(str, cell)) or 'none'}")
        return _paired(items_of(cell["text"], where, column), items_of(cell.get("label"), where, column), where, column)
    items = items_of(cell, where, column)
    if items and all(isinstance(item, Mapping) and "text" in item for item in items):
        pairs: list[Mapping[str, object]] = [item for item in items if isinstance(item, Mapping)]
        names = [item["label"] for item in pairs if "label" in item]
        return _paired([item["text"] for item in pairs], names, where, column)
    return Options(tuple(_text(item, where, column) for item in items))


def _paired(texts: Sequence[object], names: Sequence[object], where: str, column: str) -> Options:
    if names and len(names) != len(texts):
        raise ConfigError(f"{where}: {column} has {len(texts)} texts and {len(names)} labels")
    return Options(tuple(_text(text, where, column) for text in texts), tuple(str(name).strip() for name in names))


def _text(item: object, where: str, column: str) -> str:
    if is_gap(item):
        return ""
    if isinstance(item, str | int | float) and not isinstance(item, bool):
        if said := unwritable(str(item)):
            raise ConfigError(f"{where}: {column} has {said}")
        return str(item)
    raise ConfigError(f"{where}: {column} has {str(item)[:40]!r} ({type(item).__name__}) in it, no text")


def right_options(
    where: str, column: str, rows: Mapping[str, tuple[Options, object]], label_as: str | None
) -> dict[str, int]:
    """The number, from 0, of the right option of each row, by what its label says.

    Without `label_as` the way of naming is found: one that fits every row. Raises ConfigError, with the rows, where
    none does, or two that mean different options.
    """
    ways = _WAYS if label_as is None else {label_as: _WAYS[label_as]}
    found = {
        way: {row: read(options, _said(cell)) for row, (options, cell) in rows.items()} for way, read in ways.items()
    }
    fitting = {way: places for way, places in found.items() if None not in places.values()}
    if not fitting:
        _, places = min(found.items(), key=lambda item: sum(place is None for place in item[1].values()))
        bad = [row for row, place in places.items() if place is None]
        options, cell = rows[bad[0]]
        as_what = f" (task.label_as={label_as})" if label_as else ""
        raise ConfigError(
            f"{where}: {column} names none of the options in {len(bad)} rows ({listed(bad)}){as_what}, as "
            f"{_said(cell)[:40]!r} of {len(options.texts)} options"
        )
    first, *others = fitting
    if rivals := [way for way in others if fitting[way] != fitting[first]]:
        rule = " or ".join(f"task.label_as={way}" for way in (first, *rivals))
        odd = [row for row in rows if any(fitting[way][row] != fitting[first][row] for way in rivals)]
        raise ConfigError(f"{where}: {column} can be read in several ways (rows {listed(odd)}); {rule}")
    return {row: place for row, place in fitting[first].items() if place is not None}


def _said(cell: object) -> str:
    return str(cell).strip()


def _named(options: Options, said: str) -> int | None:
    letter = _letter_of(said)
    return _only(options.names, said) if letter is None else _only(list(map(str.upper, options.names)), letter)


def _only(texts: Sequence[str], said: str) -> int | None:
    return texts.index(said) if texts.count(said) == 1 else None


def _letter_of(said: str) -> str | None:
    """The letter that a label is, as in A, a, (A) or A)."""
    found = _LETTER.fullmatch(said)
    return found[1].upper() if found else None


def _counted_from(first: int) -> Callable[[Options, str], int | None]:
    def read(options: Options, said: str) -> int | None:
        place = int(float(said)) - first if _WHOLE.fullmatch(said) else -1
        return place if 0 <= place < len(options.texts) else None

    return read


def _by_letter(options: Options, said: str) -> int | None:
    letter = _letter_of(said)
    place = string.ascii_uppercase.find(letter) if letter else -1
    return place if 0 <= place < len(options.texts) else None


def _by_text(options: Options, said: str) -> int | None:
    texts = [text.strip() for text in options.texts]
    found = _only(texts, said)
    return _only([text.casefold() for text in texts], said.casefold()) if found is None else found


_WAYS: Mapping[str, Callable[[Options, str], int | None]] = {
    "named": _named,
    "index": _counted_from(0),
    "position": _counted_from(1),
    "letter": _by_letter,
    "text": _by_text,
}
