"""What a person sees while a study runs: a line for each finished trial, and on a terminal a bar with the time left."""

import sys
from contextlib import suppress
from types import TracebackType
from typing import Self

from tqdm import tqdm

from harness.record import Record, headline_metric


def outcome(entry: Record) -> str:
    """What became of a trial, in a line that says more before it."""
    value = entry.scores.get("val", {}).get(headline_metric(entry))
    shown = f"val {value:.4f}" if value is not None else "no score"
    reason = f"  ({entry.reason})" if entry.reason else ""
    return f"{shown}  {entry.time['total_s']:5.1f} s  {entry.state}{reason}"


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
        self._total, self._what, self._done = total, "", done

    def __enter__(self) -> Self:
        if self._done:
            self._line(f"{self._done} of {self._total} trials are recorded; going on with the rest")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bar.close()

    def begin(self, number: int, arm: str, point: dict[str, float]) -> None:
        """A trial starts."""
        values = " ".join(f"{key.rpartition('.')[2]} {value:g}" for key, value in point.items())
        self._what = f"trial {number:3d} {arm:9} {values}"
        self._bar.set_description_str(self._what)

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """An evaluation of the running trial."""
        self._bar.set_postfix_str(f"step {step} val {scores.get('accuracy', scores['loss']):.4f}")

    def end(self, entry: Record, done: int) -> None:
        """A trial ended; `done` of all are recorded by now, whoever made them."""
        self._bar.update(done - self._done)
        self._done = done
        self._line(f"{self._done:3d}/{self._total} {self._what:48} {outcome(entry)}")

    def _line(self, text: str) -> None:
        with suppress(OSError):  # a terminal may go, its study must not
            self._bar.clear()
            print(text, file=sys.stderr, flush=True)
            self._bar.refresh()
