"""The detection of the word column in a file of one token a line: the first, or one after numbers and documents."""

import re
from collections.abc import Sequence

from harness.config import ConfigError
from harness.task.intake.tokens import TokenLine

_NUMBER = re.compile(r"\d+([-.:]\d+)?")
_RANGE = re.compile(r"\d+[-.]\d+")
_SIGNS = re.compile(r"[#=%@]{2,}(?=\w)")
_TAG = re.compile(r"O|[BIESLU]-\S+")
_WORDS_AND_INDEX = 10  # columns of CoNLL-X and CoNLL-U

Rows = Sequence[tuple[str, Sequence[TokenLine]]]


def places_of_both(where: str, rows: Rows, tokens: str, tags: str) -> tuple[int, int]:
    """The places of the columns of words and of tags; these are the last, but for those that `tags` numbers, from 1.

    Raises ConfigError where they are one, where there is none of that number, where the first one has the tags, and for
    a line of one column.
    """
    if short := next((line for _, row in rows for line in row if len(line.cells) < 2), None):
        cell = short.cells[0]
        mark = _SIGNS.match(cell)
        rule = f"; where such lines are no tokens, `grep -v '^{mark[0]}' FILE` leaves them out" if mark else ""
        raise ConfigError(f"{where}: line {short.number}: {cell!r} has no tag behind it{rule}")
    lines = [line.cells for _, row in rows for line in row]
    width = min(map(len, lines))
    if not tags.isdecimal():
        if _are_tags(lines, 0) and not _are_tags(lines, -1):
            rule = "task.tokens=2 task.tags=1 reads them" if width == 2 else "task.tags=1 task.tokens=NUMBER reads them"
            raise ConfigError(f"{where}: its first column has the tags, and no words; {rule}")
        return place_of_words(where, rows, tokens), -1
    words = place_of_words(where, rows, tokens, tagged=False)
    if not 0 < int(tags) <= width or words == int(tags) - 1:
        rule = f"another column than that of the words, {words + 1}, is expected, 1 to {width}; task.tokens numbers it"
        raise ConfigError(f"{where}: task.tags={tags}: its lines have {width} columns; {rule}")
    return words, int(tags) - 1


def _are_tags(lines: Sequence[Sequence[str]], place: int) -> bool:
    """Return whether a column has tags of spans only, and at least one."""
    found = {cells[place] for cells in lines}
    return len(found) > 1 and all(map(_TAG.fullmatch, found))


def place_of_words(where: str, rows: Rows, asked: str, *, tagged: bool = True) -> int:
    """The place of the column of words, from 0, the one that `asked` says from 1 where it is a number.

    Columns in front that are numbers in every line, or one value in each row, hold none. The next one holds the words
    where no other has more different values; the last one has the tags of rows that are `tagged`. Raises ConfigError
    where this is not certain.
    """
    lines = [line.cells for _, row in rows for line in row]
    width = min(map(len, lines))
    last = width - 1 if tagged else width
    if asked.isdecimal():
        if not 0 < int(asked) <= last:
            rule = f"a column of words is expected, 1 to {last}" + (", before that of the tags" if tagged else "")
            raise ConfigError(f"{where}: task.tokens={asked}: its lines have {width} columns; {rule}")
        return int(asked) - 1
    if width < 2:
        return 0
    place = next((place for place in range(width) if not _is_no_word(rows, place)), width)
    if place == 0:
        return 0
    rule = "task.tokens=NUMBER says which column has the words, from 1"
    said = f"{where}: its first column is no word, as {', '.join(repr(cells[0]) for cells in lines[:3])}"
    if width == _WORDS_AND_INDEX and any(_RANGE.fullmatch(cells[0]) for cells in lines):
        raise ConfigError(f"{said}, and some are of two words or of none; a file of the ending .conllu is read so")
    different = [len({cells[at] for cells in lines}) for at in range(last)]
    if place >= last or different[place] < max(different[place + 1 :], default=0):
        raise ConfigError(f"{said}; {rule}")
    return place


def _is_no_word(rows: Rows, place: int) -> bool:
    """Return whether a column is a number in every line, or constant in each row, with rows of several lines."""
    columns = [[line.cells[place] for line in row] for _, row in rows]
    if all(_NUMBER.fullmatch(cell) for column in columns for cell in column):
        return True
    several = [set(column) for column in columns if len(column) > 1]
    return bool(several) and all(len(set(column)) == 1 for column in columns)
