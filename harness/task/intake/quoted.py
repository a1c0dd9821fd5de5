"""Answers that are quoted from a text: out of the cells of a table or SQuAD's own JSON, and where they stand in it."""

import ast
import contextlib
import dataclasses
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.config import ConfigError
from harness.task.intake.labels import is_gap
from harness.task.intake.lists import SHORTENED, holds_dots
from harness.task.intake.table import Table

OWN = "SQuAD's own"
"""How a table is written that is SQuAD's JSON."""

_PARAGRAPHS = "paragraphs"  # the column of SQuAD's own JSON: contexts, each with its questions
_UNPARTED = ("CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "HALFWIDTH", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")

_KEYED = re.compile(r"""\s*\[?\s*\{\s*(['"])(text|answer_start)\1""")
_NUMPY = re.compile(r"array|(np|numpy)\.\w+")


@dataclasses.dataclass(frozen=True)
class Quoted:
    """An answer and the character that it begins at, None where nothing says it."""

    text: str
    offset: int | None

    def stripped(self) -> "Quoted":
        """The quotation without the blanks around it."""
        before = len(self.text) - len(self.text.lstrip())
        return Quoted(self.text.strip(), None if self.offset is None else self.offset + before)


def in_rows(where: str, table: Table) -> Table:
    """The table itself; of SQuAD's own JSON one with a row for each question: id, question, context, answers,
    is_impossible, title.

    Rows are named by their ids, where each has its own, else numbered from 1. Raises ConfigError for what is none.
    """
    if _PARAGRAPHS not in map(str, table.frame.columns):
        return table
    try:
        return _of_articles(table)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _of_articles(table: Table) -> Table:
    titles = list(table.frame["title"]) if "title" in table.frame else [None] * len(table.frame)
    rows: list[dict[str, Any]] = [
        {
            "id": asked.get("id"),
            "question": asked.get("question"),
            "context": paragraph.get("context"),
            "answers": asked.get("answers"),
            "is_impossible": asked.get("is_impossible"),
            "title": title,
        }
        for title, paragraphs in zip(titles, table.frame[_PARAGRAPHS], strict=True)
        for paragraph in _objects(paragraphs, _PARAGRAPHS)
        for asked in _objects(paragraph.get("qas"), "qas")
    ]
    if not rows:
        raise ValueError("no questions in it")
    columns = {name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]}
    ids = [str(row["id"]) for row in rows if not is_gap(row["id"])]
    named = ids if len(set(ids)) == len(rows) else range(1, len(rows) + 1)
    frame = pd.DataFrame(columns).set_axis(named, axis=0)
    return Table(table.path, frame, {**table.format, "layout": OWN})


def _objects(found: object, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise ValueError(f"{name} is {str(found)[:40]!r}; a list of objects is expected, as in SQuAD's JSON")
    return found


def quoted_in(cell: object, starts: object) -> list[Quoted] | None:
    """The answers of a cell, with their beginnings in it or in a cell of their own; None where it is empty, or all that
    it holds is.

    A cell is a text, a list of texts, `{text: […], answer_start: […]}` or a list of `{text, answer_start}`, as lists
    and mappings or written as such. Raises ValueError for what is none.
    """
    found = _parsed(cell)
    if is_gap(found):
        return None
    if isinstance(found, Mapping):
        texts, places = found.get("text"), found.get("answer_start")
        if not isinstance(texts, list | tuple):
            texts, places = [texts], [places]
    elif isinstance(found, list | tuple) and any(isinstance(each, Mapping) for each in found):
        each_of = _objects(list(found), "answers")
        texts, places = [each.get("text") for each in each_of], [each.get("answer_start") for each in each_of]
    else:
        texts = list(found) if isinstance(found, list | tuple) else [found]
        places = _parsed(starts)
        places = [places] if len(texts) == 1 and not isinstance(places, list | tuple) else places
    if texts and all(map(is_gap, texts)):
        return None
    places = [None] * len(texts) if is_gap(places) else places
    if not isinstance(places, list | tuple) or len(places) != len(texts):
        raise ValueError(f"{len(texts)} answers with starts {str(places)[:40]}; one for each is expected")
    return [Quoted(_text(text), _start(place)) for text, place in zip(texts, places, strict=True)]


def _parsed(cell: object) -> Any:
    """A list or a mapping that a table holds as text; others as they are."""
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "{")):
        return cell
    readers: tuple[Callable[[str], Any], ...] = (json.loads, _literal)
    for read in readers:
        found = None
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            found = read(cell.strip())
        if holds_dots(found):
            raise ValueError(f"the cell {_shortened(cell)} {SHORTENED}")
        if isinstance(found, list | dict):
            return found
    if _KEYED.match(cell):
        raise ValueError(
            f"the cell {_shortened(cell)} cannot be read as answers; JSONL and Parquet hold them as they are"
        )
    return cell


def _literal(text: str) -> Any:
    """A literal of Python, also one with arrays of numpy in it, as pandas writes them into a CSV file."""
    return ast.literal_eval(_Unwrapped().visit(ast.parse(text, mode="eval")))


class _Unwrapped(ast.NodeTransformer):
    """Puts what an array or a number of numpy holds in its place."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return node.args[0] if len(node.args) == 1 and _NUMPY.fullmatch(ast.unparse(node.func)) else node


def _text(cell: object) -> str:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float) or is_gap(cell):
        raise ValueError(f"the answer is {str(cell)[:40]!r} ({type(cell).__name__}), no text")
    return str(cell)


def _start(cell: object) -> int | None:
    """A place in a text; what came through a table with gaps in it may be a float."""
    if is_gap(cell):
        return None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        number = float(cell)  # type: ignore[arg-type]
        if number == int(number) and not isinstance(cell, bool):
            return int(number)
    raise ValueError(f"the start {str(cell)[:40]!r} is no number of a character")


def place_of(context: str, answer: Quoted) -> int:
    """Return the position of an answer. Raises ValueError, with its positions, if it is not at its given start, or has
    none and occurs several times, or only inside words.
    """
    places = _candidates(context, answer)
    if answer.offset in places:
        return answer.offset  # type: ignore[return-value]
    if answer.offset is None and len(places) == 1:
        return places[0]
    short = _shortened(answer.text)
    stands = f"it stands at {' and '.join(map(str, places[:3]))}" if places else "it stands nowhere in its context"
    if answer.offset is None and places:
        raise ValueError(f"{short} has no start and stands {len(places)} times in its context; {stands}")
    if answer.offset is None:
        inside = places_of(context, answer.text)
        within = f"only inside words of its context, at {' and '.join(map(str, inside[:3]))}; give its start"
        raise ValueError(f"{short} stands {within if inside else 'nowhere in its context'}")
    if not 0 <= answer.offset < len(context):
        raise ValueError(f"{short} starts at {answer.offset}, its context has {len(context)} characters; {stands}")
    there = _shortened(context[answer.offset : answer.offset + len(answer.text)])
    raise ValueError(f"{short} does not start at {answer.offset}, where there is {there}; {stands}")


def nearest_place(context: str, answer: Quoted) -> int | None:
    """Return the occurrence of an answer nearest to its start, the first if it has none; None if there is no
    occurrence.
    """
    places = _candidates(context, answer)
    return min(places, key=lambda place: abs(place - (answer.offset or 0))) if places else None


def _candidates(context: str, answer: Quoted) -> Sequence[int]:
    """The places where an answer may begin: without a start those alone that are not inside a word."""
    places, size = places_of(context, answer.text), len(answer.text)
    if answer.offset is not None:
        return places
    return [at for at in places if not (in_word(context, at) or in_word(context, at + size))]


def in_word(context: str, at: int) -> bool:
    """Return whether a position is inside a word."""
    return 0 < at < len(context) and _of_word(context[at - 1]) and _of_word(context[at])


def _of_word(character: str) -> bool:
    """Return whether it is a letter, a digit or a mark on one; not of scripts without blanks between words, or with
    particles after them.
    """
    worded = character.isalnum() or unicodedata.category(character).startswith("M")
    return worded and not unicodedata.name(character, "").startswith(_UNPARTED)


def places_of(context: str, text: str) -> Sequence[int]:
    """All places where a text begins in another."""
    found, at = [], context.find(text) if text else -1
    while at >= 0:
        found.append(at)
        at = context.find(text, at + 1)
    return found


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 40 else f"{line[:40]}…")
