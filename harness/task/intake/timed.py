"""The latest rows are held out, with messages about their times."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import pandas as pd

from harness.task.intake.cuts import SplitRows
from harness.task.intake.moments import cut_by_time
from harness.task.intake.odd_times import odd_times


class Timed(Protocol):
    """The settings of the column by whose times splits are cut, and of their format."""

    @property
    def time(self) -> str | None: ...

    @property
    def time_format(self) -> str | None: ...


def latest_held_out(
    where: str, config: Timed, cells: Mapping[str, object], shares: Mapping[str, float]
) -> tuple[SplitRows, dict[str, str], Sequence[str]]:
    """The places of each split's rows; when each begins and ends, as DataFindings.format has it; what is told of times.

    `cells` are the times of rows by their names. Raises ConfigError for times whose order is not certain.
    """
    column = str(config.time)
    times = pd.Series(list(cells.values()), index=list(cells), dtype=object)
    parts, spans = cut_by_time(where, column, times, shares, config.time_format)
    formats = {f"{split}.time": said for split, said in spans.items()}
    return parts, formats, odd_times(column, [times], config.time_format)
