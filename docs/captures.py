"""Captures of a terminal during the rank sweep, replayed from its records, for docs/how-to/terminal.md."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

import harness
from harness.cluster.display import ended_line
from harness.cluster.monitor import StudyStatus
from harness.cluster.progress import arm_table, summary, work_left
from harness.cluster.screen import wrapped
from harness.cluster.worker_table import drawn
from harness.record import Record
from harness.report.page import read_groups
from harness.report.terminal import answer_text
from tests.commands import compose
from tools.curate import CURATED, unpack

_STUDY = "movie_snippets_rank_sweep"
_ENDED = 13
_BEGAN = 9 * 3600  # the time of day at which the replayed log begins


def capture(words: str) -> str:
    """The capture that a block names, and of how many columns: one_worker/80, four_workers/120, log/80, answer/80."""
    name, _, width = words.partition("/")
    with _study() as (folder, records):
        lines = _CAPTURES[name](folder, records, int(width))
    return "\n".join(["```text", *(line.rstrip() for line in lines), "```"])


@contextmanager
def _study() -> Iterator[tuple[Path, Sequence[Record]]]:
    with tempfile.TemporaryDirectory() as folder:
        study = unpack(_STUDY, Path(folder))
        yield study, sorted(harness.read(study), key=lambda entry: entry.trial)


def _one_worker(_: Path, records: Sequence[Record], width: int) -> list[str]:
    """The table that is redrawn in place, when the first trials have ended and the next one is at work."""
    ended, running = records[:_ENDED], records[_ENDED]
    step, score = running.reports[0]
    table = arm_table(ended, {running.arm: f"step {step:.0f} val {score:.4f}"}, height=30)
    text = summary(ended, len(ended), len(records), _left(ended, len(records)))
    return _printed(Group(table, Text(text)), width)


def _four_workers(_: Path, records: Sequence[Record], width: int) -> list[str]:
    """The same of four workers, as the command that launched them shows it."""
    ended = records[:_ENDED]
    beats = {f"node:{4100 + index}": _beat(index, entry) for index, entry in enumerate(records[_ENDED : _ENDED + 4])}
    left = _left(ended, len(records))
    status = StudyStatus(len(records), _ENDED, Counter(entry.state for entry in ended), beats, left_s=left and left / 4)
    return _printed(drawn(status, ended, height=30), width)


def _beat(index: int, entry: Record) -> dict[str, object]:
    step, score = entry.reports[0]
    began = time.time() - entry.time.total_s / 2
    trial = {"trial": entry.trial, "arm": entry.arm, "attempt": 1, "step": int(step), "score": score, "since": began}
    return {"host": "node", "pid": 4100 + index} | trial


def _left(ended: Sequence[Record], total: int) -> float | None:
    return work_left(compose(["+experiment=sst2_rank_sweep"]), ended, total)


def _printed(table: Group, width: int) -> list[str]:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as found:
        console.print(table)
    return found.get().splitlines()


def _log(_: Path, records: Sequence[Record], width: int) -> Iterator[str]:
    """The lines of a log file, at the times at which one worker that began at nine o'clock would have written them."""
    passed = float(_BEGAN)
    for number in range(1, _ENDED + 1):
        ended = records[:number]
        passed += ended[-1].time.total_s
        clock = time.strftime("%H:%M:%S", time.gmtime(passed))
        line = ended_line(ended[-1], ended, done=number, total=len(records), left=None)
        yield from wrapped(clock + line[len(clock) :], width)


def _answer(folder: Path, records: Sequence[Record], width: int) -> list[str]:
    """Return the lines that run=study and run=report print at the end."""
    pictures = [path.name for path in sorted((CURATED / _STUDY).glob("*.png"))]
    files = ["report.html", "table.md", "table.csv", harness.record.RECORDS, *pictures]
    return answer_text(_STUDY, read_groups(folder), files, Path("results") / _STUDY, width).splitlines()


_CAPTURES: dict[str, Callable[[Path, Sequence[Record], int], Iterable[str]]] = {
    "one_worker": _one_worker,
    "four_workers": _four_workers,
    "log": _log,
    "answer": _answer,
}
