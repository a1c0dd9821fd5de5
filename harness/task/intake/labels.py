"""Labels of the user's own as the names of classes: gaps found, lists refused, names that are alike told apart."""

import ast
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from harness.config import ConfigError
from harness.system.paths import listed
from harness.task.intake.lists import Shortened, read_list, read_numpy
from harness.task.intake.look_alike import SELECTORS, drawn_as, repaired, shape_of
from harness.task.intake.number_names import number_readings

_BRACKETS = re.compile(r"\s*(\[.*\]|\{.*\}|\(.*,.*\))\s*", re.DOTALL)
_BARE_LIST = re.compile(r"[\[{](.*,.*|[\d\s.+-]*)[\]}]", re.DOTALL)  # several names without quotes, or numbers
_UNREAD_LIST = re.compile(r"""\[[^\[\]]*[,'"][^\[\]]*\]|\[[\d\s.+-]*\]|\{[^{}]*[,'"][^{}]*\}""")
_NO_LABELS = frozenset(
    (
        *("nan", "na", "n/a", "n.a.", "none", "null", "<na>", "nil", "-", "?", "unknown"),
        *("missing", "undefined", "unlabelled", "unlabeled", "not available"),
        *("todo", "to do", "tbd", "tba", "fixme", "unannotated", "not labelled", "not labeled", "not annotated"),
        *("#n/a", "#ref!", "#value!", "#name?", "#div/0!", "#num!", "#null!"),  # of spreadsheets
    )
)
_OPEN = re.compile(r"\s*[\[{(]")
DECISIONS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
_DOTS = frozenset("ıİ")  # of Turkish, whose small letters of I and İ these and i are
_YES = frozenset(("true", "t", "yes", "y", "1"))
_NO = frozenset(("false", "f", "no", "n", "0"))


def is_gap(cell: object) -> bool:
    """Return whether a cell is empty: None, NaN, pandas.NA, or blanks."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return cell.strip() == "" if isinstance(cell, str) else isinstance(cell, float) and math.isnan(cell)


def refuse_lists(where: str, name: str, cells: Mapping[object, object]) -> None:
    """Raise ConfigError where labels, by row, are lists, also those that a table holds as text."""
    rows = [row for row, cell in cells.items() if _is_list(cell)]
    if rows:
        first = str(cells[rows[0]])[:60]
        rule = "one label a row is expected; task.answer=labels takes several"
        if all(isinstance(cell, list | tuple) and len(cell) == 1 for cell in cells.values()):
            rule = f"all have one item, which 'task.label=\"{{{name}[0]}}\"' takes; task.answer=labels takes several"
        raise ConfigError(f"{where}: {name} is a list, {first}, in {len(rows)} rows ({listed(rows)}); {rule}")


def _is_list(cell: object) -> bool:
    if isinstance(cell, str):
        return _BRACKETS.fullmatch(cell) is not None and _is_written_list(cell.strip())
    return isinstance(cell, list | tuple | dict | set | bytes) or (hasattr(cell, "tolist") and hasattr(cell, "__len__"))


def _is_written_list(text: str) -> bool:
    """Return whether the text in brackets is a list; [OOS] and (Sports, outdoors) are names."""
    try:
        return isinstance(ast.literal_eval(text), list | tuple | dict | set)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return _BARE_LIST.fullmatch(text) is not None


def label_set(cell: object, separator: str, field: str | None = None) -> tuple[str, ...]:
    """The labels of a cell that may hold several, a list, a mapping of each to 0 or 1, or a text, each once and in
    order; of a list of mappings the `field` of each. Raises ValueError for a list that cannot be read, was shortened,
    or holds what is no label.
    """
    items = _items(read_cell(cell), separator)
    if field is not None:
        items = [item[field] if isinstance(item, dict) and field in item else item for item in items]
    for item in items:
        if isinstance(item, list | tuple | set | dict):
            raise ValueError(f"{str(item)[:40]} in a list of labels is no label")
        if item != "" and is_gap(item):
            raise ValueError(f"a gap stands among the labels, {str(items)[:40]}")
    return tuple(sorted(set(map(str, items)) - {""}))


def read_cell(cell: object) -> object:
    """A cell of labels, or the list that it holds as text. Raises ValueError for one that cannot be read."""
    if isinstance(cell, str) and (cell.strip() == "set()" or is_written_list(cell)):
        return _written_list(cell)
    return cell


def _items(cell: object, separator: str) -> list[object]:
    if isinstance(cell, str):
        return [part.strip() for part in cell.split(separator)]
    if isinstance(cell, dict):
        return _chosen(cell)
    return list(cell) if isinstance(cell, list | tuple | set) else [cell]


def _chosen(cell: Mapping[object, object]) -> list[object]:
    """The labels that a mapping has with a 1."""
    if not all(isinstance(value, int | float) and value in (0, 1) for value in cell.values()):
        raise ValueError(f"{str(cell)[:40]} is a mapping, and its values are not all 0 or 1")
    return [name for name, value in cell.items() if value]


def _written_list(cell: str) -> object:
    """The list, set or mapping that a text holds, or the text where it is a name in brackets, as [OOS]."""
    try:
        found = read_list(cell)
    except Shortened as error:
        raise ValueError(f"the list {cell.strip()[:40]!r} {error}") from None
    if isinstance(found, str) and (items := read_numpy(found)) is not None:
        return items
    if isinstance(found, str) and _UNREAD_LIST.fullmatch(cell.strip()):
        raise ValueError(f"{cell.strip()[:40]!r} cannot be read as a list; write it as JSON")
    return found if isinstance(found, list | tuple | set | dict) else cell


def is_written_list(cell: str) -> bool:
    """Return whether a text begins as a list, a set or a mapping."""
    return _OPEN.match(cell) is not None


def are_decisions(cells: Sequence[object], separator: str) -> bool:
    """Return whether each cell has a 0 or a 1 for every label, and none the labels themselves."""
    if any(isinstance(cell, dict) for cell in cells):
        return False
    rows = [[DECISIONS.get(str(item).lower()) for item in _items(read_cell(cell), separator)] for cell in cells]
    if len({len(row) for row in rows}) != 1 or any(None in row for row in rows):
        return False
    return any(len(row) > len(set(row)) for row in rows)


def label_key(label: str) -> str:
    """Return a label without differences in blanks, case, invisible characters and number format."""
    return _readings(label)[0]


def _readings(label: str) -> list[str]:
    """Return the normalised forms of a label: 1.000 may be one or a thousand."""
    seen = unicodedata.normalize("NFKC", repaired(label))
    plain = "".join(" " if c.isspace() else c for c in seen if not _invisible(c))
    if not _DOTS.isdisjoint(plain):
        plain = plain.translate({ord("I"): "ı", ord("İ"): "i"})
    plain = " ".join(plain.split()).casefold()
    return number_readings(plain) or [plain]


def _invisible(character: str) -> bool:
    """Marks of direction, and those that choose between two pictures of a character, as of an emoji."""
    return ord(character) in SELECTORS or (unicodedata.category(character) in ("Cf", "Cc") and not character.isspace())


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Groups of labels that are alike, or look so, the most frequent of each first. Of more than two that are all words
    for yes or no, those for one of both are alike.
    """
    counts = Counter(labels)
    readings = {label: _readings(label) for label in counts}
    certain = {found[0] for found in readings.values() if len(found) == 1}
    keys = {
        label: next((reading for reading in found if len(found) == 1 or reading in certain), " or ".join(sorted(found)))
        for label, found in readings.items()
    }
    if len(set(keys.values())) > 2 and set(keys.values()) <= _YES | _NO:
        keys = {label: "yes" if key in _YES else "no" for label, key in keys.items()}
    keys = _with_shapes(keys)
    groups: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda name: (-counts[name], name)):
        groups.setdefault(keys[label], []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _with_shapes(keys: Mapping[str, str]) -> dict[str, str]:
    """One key for labels that look alike, and for all that have the key of one of them."""
    first: dict[str, str] = {}
    for label, key in keys.items():
        shape = shape_of(label)
        found = first.get(key, first.get(shape, key))
        first |= {name: found for name in (key, shape) if name not in first}
    return {label: first[key] for label, key in keys.items()}


def settle_alike(
    where: str, labels: Sequence[str], rows: Sequence[object], normalise: bool | None, unit: str = "rows"
) -> dict[str, str]:
    """The name that each label goes by. Raises ConfigError for labels that are alike where `normalise` is None.
    `unit` is what a label is of: rows, folders.

    With it, labels that are alike are one class under the name of the most frequent of them, without outer blanks.
    """
    names = {label: label for label in labels}
    groups = alike(labels)
    if normalise is None and groups:
        said = "; ".join(_described(group, labels, rows, unit) for group in groups[:5])
        rule = "task.labels.normalise=true makes them one class, false keeps them apart"
        keys = [set(map(label_key, group)) for group in groups]
        words = any(len(found) > 1 and found <= _YES | _NO for found in keys)
        how = "say yes or no in several words" if words else "differ in blanks, case or number format"
        if not words and any(map(_look_alike, groups)):
            how = "look alike, are one word as programs change it, or one number in digits and in words"
        raise ConfigError(f"{where}: labels that {how}: {said}; {rule}")
    if normalise:
        names = {label: " ".join(label.split()) for label in names}
        for group in groups:
            names |= dict.fromkeys(group, names[group[0]])
    return names


def _look_alike(group: Sequence[str]) -> bool:
    """Return whether names of one class differ in more than blanks, case and number format."""
    if len(set(map(label_key, group))) > len(set(map(shape_of, group))):
        return True
    return any(repaired(name) != name and not number_readings(name.casefold()) for name in group)


def _described(group: Sequence[str], labels: Sequence[str], rows: Sequence[object], unit: str) -> str:
    found = {name: [row for row, label in zip(rows, labels, strict=True) if label == name] for name in group}
    same = len(set(map(drawn_as, group))) < len(group)
    said = {name: f"{name!r}, {name!a}" if same and not name.isascii() else repr(name) for name in group}
    return " and ".join(f"{said[name]} ({len(where)} {unit}: {listed(where)})" for name, where in found.items())


def of_every_row(rows: Sequence[Iterable[str]]) -> list[str]:
    """Return warnings about labels that every row has."""
    shared = set.intersection(*map(set, rows)) if rows else set()
    return [
        f"{label!r} is a label of every row of training: there is nothing to tell apart" for label in sorted(shared)
    ]


def suspicious(labels: Iterable[str]) -> list[str]:
    """Classes that may be no classes: those that differ in signs alone; and classes of a single row."""
    labels_told = list(labels)
    plain: dict[str, dict[str, str]] = {}
    for name in sorted(set(labels_told)):
        plain.setdefault(_without_signs(name), {}).setdefault(label_key(name), name)
    told = [
        f"{' and '.join(map(repr, list(names.values())[:4]))} differ in signs alone"
        for names in plain.values()
        if len(names) > 1
    ]
    return told + many_classes(labels_told)


def many_classes(labels: Collection[str]) -> list[str]:
    """Return warnings about labels that are unlikely to be names of classes."""
    count = len(set(labels))
    many = count > 20 and count > len(labels) / 2
    return [f"{count} classes in {len(labels)} rows: is it a text or a number?"] if many else []


def says_none(name: str) -> bool:
    """Return whether a name often means that there is none: −1, and words for a missing value."""
    return label_key(name) == "-1" or is_no_label(name)


def is_no_label(name: str) -> bool:
    """Return whether a class has the name of a word for a missing value."""
    return " ".join(name.split()).strip("()[]").casefold() in _NO_LABELS


def _without_signs(label: str) -> str:
    """Return a label without word separators and final signs, except in numbers; C#, C++ and A- are names."""
    if any(character.isdigit() for character in label):
        return label
    return "".join(re.sub(r"-(?!-*$)|[_/.,;:!?'\"()]+", " ", label_key(label)).split()) or label
