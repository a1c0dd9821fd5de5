"""Columns of a table of recordings that say which part of its file a row is: they are not read, and that is said."""

from collections.abc import Iterable

import pandas as pd

from harness.config import ConfigError
from harness.task.intake.labels import is_gap
from harness.task.intake.table import Table

_UNITS = ("", "_s", "_sec", "_seconds", "_time", "_ms")
_BEGINS = {f"{name}{unit}" for name in ("start", "begin", "onset", "offset", "segment_start") for unit in _UNITS}
_ENDS = {f"{name}{unit}" for name in ("end", "stop", "duration", "segment_end") for unit in _UNITS}


def of_segments(where: str, table: Table, digests: Iterable[str], *, settled: bool) -> list[str]:
    """What is told of columns of segments, `digests` being of rows' recordings; nothing where all begin at 0.

    Raises ConfigError, unless it is `settled`, where rows are segments of one recording: each would be the whole of it.
    """
    if not (columns := _columns(table)):
        return []
    every = list(digests)
    said = f"columns {' and '.join(columns)} are not read: a row is the whole of its recording"
    if len(set(every)) < len(every) and not settled:
        files = f"{len(every)} rows are of {len(set(every))} recordings"
        rule = "write each segment to a file of its own, or leave these columns out"
        raise ConfigError(f"{where}: {said}, and {files}; {rule}")
    return [said]


def _columns(table: Table) -> list[str]:
    """The column where a segment begins and the one where it ends, or says how long it is."""
    named = {str(name).strip().lower().replace(" ", "_"): place for place, name in enumerate(table.frame.columns)}
    begins, ends = ([place for name, place in named.items() if name in known] for known in (_BEGINS, _ENDS))
    if not begins or not ends or _are_zero(table.frame.iloc[:, begins[0]]):
        return []
    return [str(table.frame.columns[place]) for place in (begins[0], ends[0])]


def _are_zero(cells: pd.Series) -> bool:
    numbers = pd.to_numeric(cells[[not is_gap(cell) for cell in cells]], errors="coerce")
    return bool(len(numbers)) and bool((numbers == 0).all())
