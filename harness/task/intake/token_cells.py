"""Tables of tokens that have no lists: texts parted at blanks, or a token a row and a column of sentences."""

import dataclasses
from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import TypeGuard

import pandas as pd

from harness.config import ConfigError
from harness.task.intake.labels import is_gap
from harness.task.intake.table import Table

_SENTENCE = ("sent", "line", "doc", "id")  # what the name of a column of sentences has in it


def with_lists(
    where: str, table: Table, columns: tuple[str, str], named: tuple[str | None, str | None], *, numbered: bool
) -> Table:
    """The table with a list of tokens and a list of tags in each row, of its `columns` of both; tags are numbers where
    they are `numbered`. `named` are the columns of sentences and of groups.

    Texts are parted at blanks where both columns have as many words in every row, and more than one in some. Rows
    that are alike in the column of sentences, one behind another, are one, and an empty cell goes on as the one before.
    Raises ConfigError for a token a row without sentences, and for a sentence that comes back.
    """
    tokens, tags = columns
    sentence, group = named
    words, marks = table.column("task.tokens", tokens), table.column("task.tags", tags)
    if sentence is not None:
        found = _by_sentence(where, table, words, marks, sentences(where, table, sentence, group), numbered)
        return dataclasses.replace(found, format={**table.format, "tokens": f"of the rows of a {sentence}"})
    cells = [(word, mark) for word, mark in zip(words, marks, strict=True) if not (is_gap(word) and is_gap(mark))]
    if not cells or not all(is_text(word) and is_text(mark) for word, mark in cells):
        return table
    counts = [(len(str(word).split()), len(str(mark).split())) for word, mark in cells]
    if all(count == (1, 1) for count in counts):
        names = [str(name) for name in table.frame.columns if any(part in str(name).casefold() for part in _SENTENCE)]
        key = f"'task.sentence=\"{names[0]}\"'" if names else "task.sentence=COLUMN, of the names of sentences,"
        raise ConfigError(f"{where}: {tokens} and {tags} have a token a row; {key} makes a row of each sentence")
    if any(first != second for first, second in counts):
        return table
    found = table.with_cells(words.name, [_parted(cell, False) for cell in words])
    found = found.with_cells(marks.name, [_parted(cell, numbered) for cell in marks])
    return dataclasses.replace(found, format={**table.format, "tokens": f"{tokens} and {tags} parted at blanks"})


def is_text(cell: object) -> TypeGuard[str]:
    """Return whether a cell is a text and not a list written as one."""
    return isinstance(cell, str) and not cell.lstrip().startswith("[")


def _parted(cell: object, numbered: bool) -> object:
    return cell if is_gap(cell) else _numbers(str(cell).split(), numbered)


def _numbers(marks: Sequence[object], numbered: bool) -> list[object]:
    return [int(mark) if numbered and isinstance(mark, str) and mark.isdecimal() else mark for mark in marks]


def sentences(where: str, table: Table, sentence: str, group: str | None) -> list[list[int]]:
    """The places of the rows of each sentence; those of one name in several groups are several. Raises ConfigError."""
    named = _filled(table.column("task.sentence", sentence))
    grouped = group is not None and group in map(str, table.frame.columns)
    groups = _filled(table.column("task.group", str(group))) if grouped else [None] * len(named)
    found = dict[Hashable, list[int]]()
    for key, run in groupby(range(len(named)), lambda place: (groups[place], named[place])):
        places = list(run)
        if key in found:
            rule = "sort the rows" if grouped else "task.group=COLUMN of documents keeps those of one name apart"
            row = table.frame.index[places[0]]
            raise ConfigError(
                f"{where}: task.sentence={sentence}: {key[1]!r} comes back in row {row}, behind others; {rule}"
            )
        found[key] = places
    return list(found.values())


def _by_sentence(
    where: str, table: Table, words: pd.Series, marks: pd.Series, parts: Sequence[Sequence[int]], numbered: bool
) -> Table:
    """A row for each sentence, of the cells of its first token. Raises ConfigError where each row is one."""
    if len(parts) == len(words):
        raise ConfigError(f"{where}: task.sentence: each row has a value of its own there, and is no sentence")
    short = dataclasses.replace(table, frame=table.frame.iloc[[places[0] for places in parts]])
    tokens = short.with_cells(words.name, [[words.iloc[place] for place in places] for places in parts])
    return tokens.with_cells(
        marks.name, [_numbers([marks.iloc[place] for place in places], numbered) for places in parts]
    )


def _filled(cells: pd.Series) -> list[Hashable]:
    """Each cell, or the last one before it that is not empty."""
    found, last = list[Hashable](), None
    for cell in cells:
        last = last if is_gap(cell) else str(cell)
        found.append(last)
    return found
