"""The progress of one worker: a line for each finished trial, and on a terminal a bar with the time left."""

import sys
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

from tqdm import tqdm

from harness.record import Record, headline_metric


def outcome(entry: Record) -> str:
    """How a trial ended, as the end of a progress line."""
    value = entry.scores.get("val", {}).get(headline_metric(entry))
    score = f"val {value:.4f}" if value is not None else "no score"
    reason = f"  ({entry.reason})" if entry.reason else ""
    return f"{score}  {entry.time.total_s:5.1f} s  {entry.state}{reason}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class Display(Protocol):
    """Shows what a worker does."""

    def begin(self, number: int, arm: str, point: dict[str, Any]) -> None:
        """A trial starts."""

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """An evaluation of the running trial."""

    def end(self, entry: Record, done: int, total: int) -> None:
        """A trial ended; by now all workers have `done` records of `total`."""


class ProgressDisplay:
    """Progress on standard error; in a log file only the lines."""

    def __init__(self, total: int, done: int) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="trial",
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            smoothing=0,
        )
        self._total, self._trial, self._done = total, "", done

    def __enter__(self) -> Self:
        if self._done:
            self._line(f"{self._done} of {self._total} trials are recorded; continuing with the rest")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bar.close()

    def begin(self, number: int, arm: str, point: dict[str, Any]) -> None:
        """A trial starts."""
        values = " ".join(f"{key.rpartition('.')[2]} {_short(value)}" for key, value in point.items())
        self._trial = f"trial {number:3d} {arm:9} {values}"
        self._bar.set_description_str(self._trial)

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """An evaluation of the running trial."""
        self._bar.set_postfix_str(f"step {step} val {scores.get('accuracy', scores['loss']):.4f}")

    def end(self, entry: Record, done: int, total: int) -> None:
        """A trial ended; by now all workers have `done` records of `total`."""
        self._bar.total = total
        self._bar.update(done - self._done)
        self._done, self._total = done, total
        self._line(f"{self._done:3d}/{self._total} {self._trial:48} {outcome(entry)}")

    def _line(self, text: str) -> None:
        with suppress(OSError):  # a lost terminal must not end the study
            self._bar.clear()
            print(text, file=sys.stderr, flush=True)
            self._bar.refresh()
