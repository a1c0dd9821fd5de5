"""The detection of a header in the first row of a table whose columns are named by a setting."""

import re
from collections.abc import Sequence

_USUAL_NAMES = """
text texts label labels sentiment source target src tgt question questions answer answers context prompt response
completion instruction input output title class category id sentence sentence1 sentence2 premise hypothesis review
tweet comment content body q passage file path filename image audio transcript transcription speaker date time token
tokens tag tags word words translation summary document article score rating value user assistant english german
french spanish italian portuguese dutch russian polish turkish arabic chinese japanese korean hindi en de fr
"""
_USUAL = frozenset(_USUAL_NAMES.split())
_MANY = 10  # rows from which a first one may differ by its length
_TIMES = 3  # so many times as long as the first cell of a column are all others at least
_LONG = 20  # characters of these

Row = Sequence[str]


def is_header(columns: Row, rows: Sequence[Row]) -> bool:
    """Return whether the first of the rows has a name of `columns` up to case, several usual names of columns, or
    numbers from 0 on as pandas writes them, none of them again in its column; or is far shorter than all others in two
    columns.

    A name of one letter may be an answer.
    """
    if len(rows) < 2:
        return False
    first, rest = rows[0], rows[1:]
    once = [cell for place, cell in enumerate(first) if all(row[place] != cell for row in rest)]
    names, given = set(map(_name, once)), {_name(column) for column in columns if len(column) > 1}
    if names & given or len(names & _USUAL) >= min(2, len(first)):
        return True
    if once == [str(place) for place in range(len(first))]:
        return True
    return len(rest) >= _MANY and sum(_is_short(first, rest, place) for place in range(len(first))) > 1


def _is_short(first: Row, rest: Sequence[Row], place: int) -> bool:
    return bool(first[place]) and min(len(row[place]) for row in rest) >= max(_LONG, _TIMES * len(first[place]))


def _name(cell: str) -> str:
    return re.sub(r"[\s_-]+", " ", cell).strip().casefold().removesuffix(" id")
