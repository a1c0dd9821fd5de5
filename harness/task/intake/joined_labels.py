"""Several labels in one cell of text: where they are expected and parted by another mark, and where one class is."""

import re
from collections import Counter
from collections.abc import Collection, Mapping

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.labels import is_written_list

_LISTS = (",", ";", "|")
_SIGNS = ("\n", "\t", "\uff0c", "\u3001", "\uff1b", "/", "+", "&", " and ")  # of Chinese and Japanese, too
_OF_WORDS = (" ", "_", "-")  # which part words of one name, too
_DECIMALS = frozenset(("5", "25", "75"))
_WRITTEN = {"\n": "\\n", "\t": "\\t"}
_CALLED = {"\n": "a line break", "\t": "a tab", " ": "a blank"}
_ANGLED = re.compile(r"<([^<>]+)>")
_TAGS = re.compile(r"\s*(<[^<>]+>\s*)+")
_FEW = 2  # names that words of others may make by chance are fewer


def parted_tags(where: str, cells: Mapping[object, object], separator: str) -> dict[object, object]:
    """The cells, by row, with a list for each text as <a><b>, in which Stack Exchange writes tags, where all are so.

    Raises ConfigError, with the rows, for a `separator` of such signs that leaves others of them in labels.
    """
    signs = not {"<", ">"}.isdisjoint(separator)
    if (signs or separator == ",") and cells and all(map(_tags_of, cells.values())):
        return {row: _ANGLED.findall(str(cell)) for row, cell in cells.items()}
    texts = {row: cell for row, cell in cells.items() if isinstance(cell, str) and signs}
    if torn := [row for row, text in texts.items() if {"<", ">"} & set("".join(text.split(separator)))]:
        said = f"task.labels.separator={separator} leaves < or > in labels (rows {listed(torn)})"
        raise ConfigError(f"{where}: {said}; where all rows are as <a><b>, they are read without it")
    return dict(cells)


def _tags_of(cell: object) -> list[str]:
    """The tags of a text that is as <a> or <a><b>; of others none."""
    return _ANGLED.findall(cell) if isinstance(cell, str) and _TAGS.fullmatch(cell) else []


def refuse_unparted(where: str, name: str, cells: Mapping[object, object], separator: str) -> None:
    """Raise ConfigError where no cell, by row, has the usual separator, but another parts labels that repeat."""
    texts = {row: cell for row, cell in cells.items() if isinstance(cell, str) and not is_written_list(cell)}
    if separator != "," or any("," in text for text in texts.values()):
        return
    for mark in (*_LISTS[1:], *_SIGNS, *_OF_WORDS):
        parts = {text: _parts(text, mark) for text in texts.values() if mark in text}
        whole = [text for text in set(texts.values()) if mark not in text]
        counts = Counter([*whole, *(part for found in parts.values() for part in set(found))])
        if mark in _OF_WORDS and len(counts) >= len(parts) + len(whole):
            continue
        rows = [row for row, text in texts.items() if mark in text and len(set(parts[text])) > 1]
        if any(counts[part] > 1 for row in rows for part in parts[texts[row]]):
            rule = f"{_key(mark)} parts them, one that stands nowhere keeps them whole"
            said = f"{name} has labels with {_called(mark)} in {len(rows)} rows ({listed(rows)})"
            raise ConfigError(f"{where}: {said} whose parts stand elsewhere, and no comma: {rule}")


def refuse_combined(
    where: str, name: str, cells: Mapping[object, str], *, policy: str, classes: int | None
) -> list[str]:
    """Return warnings about classes that are others joined by a character that also separates the words of a name.

    Raises ConfigError, with the rows, for those that are several labels in one cell, each a class of its own, or the
    same ones in another order. With `policy` keep they are classes, as where so many `classes` are asked for.
    """
    names = set(cells.values())
    if policy == "keep" or classes == len(names):
        return []
    tags = list(map(_tags_of, names))
    if all(tags) and any(len(found) > 1 for found in tags):
        how = "task.answer=labels reads several labels a row, task.labels.combined=keep takes each for a class"
        raise ConfigError(f"{where}: the classes of {name} are written as <a><b>, in which tags are joined; {how}")
    for mark in (*_LISTS, *_SIGNS, *_OF_WORDS):
        several = _combined(names, mark)
        if len(several) < (_FEW if mark in _OF_WORDS else 1):
            continue
        rows = [row for row, cell in cells.items() if cell in several]
        rule = "" if mark == "," else f" {_key(mark)}"
        said = f"{len(several)} classes of {name} are others joined by {_called(mark)}, {listed(map(repr, several))}"
        how = f"task.answer=labels{rule} reads several labels a row, task.labels.combined=keep takes each for a class"
        line = f"{said}, in {len(rows)} rows ({listed(rows)}); {how}"
        if mark in _OF_WORDS and not _are_numbers(several, mark):
            return [line]
        raise ConfigError(f"{where}: {line}")
    return []


def _combined(names: Collection[str], mark: str) -> list[str]:
    """Names whose parts are names; of a list also those whose parts stand in another name in another order."""
    parts = {name: _parts(name, mark) for name in names if mark in name}
    alone = {name.strip() for name in names}
    if mark == "," and all(len(part) == 2 and part[0].isdecimal() and part[1] in _DECIMALS for part in parts.values()):
        return []
    if mark in _LISTS:
        orders = Counter(tuple(sorted(found)) for found in parts.values() if len(set(found)) > 1)
    else:
        orders = Counter()
        parts = {name: found for name, found in parts.items() if mark == " " or not all(map(str.isdecimal, found))}
    return sorted(
        name
        for name, found in parts.items()
        if len(set(found)) > 1 and (alone.issuperset(found) or orders[tuple(sorted(found))] > 1)
    )


def _parts(name: str, mark: str) -> list[str]:
    return name.split() if mark == " " else [part.strip() for part in name.split(mark)]


def _are_numbers(names: Collection[str], mark: str) -> bool:
    return all(part.isdecimal() for name in names for part in _parts(name, mark))


def _called(mark: str) -> str:
    return _CALLED.get(mark, repr(mark.strip()))


def _key(mark: str) -> str:
    return f"'task.labels.separator=\"{_WRITTEN.get(mark, mark)}\"'"
