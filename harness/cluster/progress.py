"""The progress of a study in a terminal or a log: a table by arm with the best so far, and the time left."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.cluster.assignments import search_schedule
from harness.config import Config, apply_overrides, to_dict
from harness.record import Record, best_by, direction, headline_metric
from harness.system.figures import figure

_ROOM = 8  # lines of a terminal that are not the table's rows


def outcome(entry: Record) -> str:
    """Describe how a trial ended, for the end of a progress line."""
    value = entry.scores.get("val", {}).get(headline_metric(entry))
    score = f"val {figure(value)}" if value is not None else "no score"
    reason = f"  ({entry.reason})" if entry.reason else ""
    return f"{score}  {entry.time.total_s:.0f} s  {entry.state}{reason}"


def clock() -> str:
    """The time of day, as a line of a log begins."""
    return time.strftime("%H:%M:%S")


def duration(seconds: float) -> str:
    """A time left, as coarse as it is known."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def work_left(config: Config, records: Sequence[Record], total: int) -> float | None:
    """Seconds that one worker needs for the rest of `total` trials; None where none has trained yet.

    A trial takes as long as those of its phase did. Until one that confirms has ended, those take longer than the
    complete trials of the search by as much as they have more steps.
    """
    assert config.sweep is not None
    ended = {phase: [entry for entry in records if entry.phase == phase] for phase in ("search", "confirm")}
    search, confirm = map(_mean_seconds, ended.values())
    if search is None:
        return None
    if confirm is None:
        whole = [entry for entry in ended["search"] if entry.state == "complete"]
        confirm = (_mean_seconds(whole) or search) * _longer(config, whole)
    searching = len(search_schedule(config.sweep))
    confirming = max(0, total - searching - len(ended["confirm"]))
    return search * max(0, searching - len(ended["search"])) + confirm * confirming


def _mean_seconds(records: Sequence[Record]) -> float | None:
    known = [entry.time.total_s for entry in records if entry.time.total_s > 0]
    return statistics.fmean(known) if known else None


def _longer(config: Config, searched: Sequence[Record]) -> float:
    """Return the ratio of the steps of a confirming trial to those of the search; 1 if that is unknown."""
    assert config.sweep is not None
    known = next((entry for entry in searched if entry.steps.planned and _epoch(entry)), None)
    if config.sweep.confirm is None or known is None:
        return 1.0
    trainer = apply_overrides(to_dict(config), config.sweep.confirm.set)["trainer"]
    passes = trainer["epochs"] * _epoch(known)
    return float(min(passes, trainer["max_steps"] or passes) / known.steps.planned)


def _epoch(entry: Record) -> float:
    """The steps of one pass over the training rows; 0 where the record does not say."""
    return entry.data.rows.get("train", 0) / (entry.optimizer.batch_size or math.inf)


class Pace:
    """The time left by how much was trained since the beginning, whichever worker did it."""

    def __init__(self, earlier: Sequence[Record]) -> None:
        self._began, self._earlier = time.monotonic(), len(earlier)

    def left(self, records: Sequence[Record], work: float | None) -> float | None:
        """Seconds that all workers together need for this much work of one; until two trials have ended, that of one.

        A trial that others had begun earlier counts with what may have been trained since.
        """
        ended, passed = records[self._earlier :], time.monotonic() - self._began
        if work is None or len(ended) < 2:
            return work
        return work * passed / max(1e-3, sum(min(entry.time.total_s, passed) for entry in ended))


def is_best(entry: Record, records: Sequence[Record]) -> bool:
    """Return whether no trial of the study has a better validation score so far."""
    best = best_by((other for other in records if other.phase == entry.phase), lambda _: None).get(None)
    return best is not None and best.trial == entry.trial


def summary(records: Sequence[Record], done: int, total: int, left: float | None) -> str:
    """One line: how many trials ended how, and the time left."""
    states = [entry.state for entry in records]
    counts = {"complete": "complete", "pruned": "pruned", "fail": "failed"}
    ended = ", ".join(f"{states.count(state)} {word}" for state, word in counts.items() if state in states)
    said = f"{done} of {total} trials{f' ({ended})' if ended else ''}"
    return said + (f"; about {duration(left)} left" if left is not None and done < total else "")


def arm_table(records: Sequence[Record], running: Mapping[str, str], height: int) -> RenderableType:
    """A row for each arm that has a trial, best first, as many as the terminal has room for.

    `running` says by arm what is at work on it.
    """
    best = best_by((entry for entry in records if entry.phase == "search"), lambda entry: entry.arm)
    names = dict.fromkeys([*(entry.arm for entry in records), *running])
    ordered = sorted(names, key=lambda arm: -_goodness(best[arm]) if arm in best else float("inf"))
    shown = ordered[: max(3, height - _ROOM)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("arm", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("trials", justify="right", no_wrap=True)
    table.add_column("best val", justify="right", no_wrap=True)
    table.add_column("of trial", justify="right", no_wrap=True)
    table.add_column("now", no_wrap=True, overflow="ellipsis", max_width=22)
    for place, arm in enumerate(shown):
        mine = [entry for entry in records if entry.arm == arm]
        found = best.get(arm)
        cells = [figure(_score(found)), str(found.trial)] if found else ["", ""]
        style = "bold" if place == 0 and found else ""
        table.add_row(*map(Text, [arm, str(len(mine)), *cells, running.get(arm, "")]), style=style)
    rest = len(ordered) - len(shown)
    return Group(table, Text(f"and {rest} more arms")) if rest else table


def _score(entry: Record) -> float:
    return entry.score("val", headline_metric(entry))


def _goodness(entry: Record) -> float:
    return direction(headline_metric(entry)) * _score(entry)
