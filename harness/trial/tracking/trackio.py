"""Trials as Trackio runs, where TRACKIO_DIR, TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say, else in the study's folder."""

import contextlib
import io
import os
from collections.abc import Mapping
from typing import Any, Self

from harness.config import TrackingConfig
from harness.record import Record
from harness.system.redaction import redact, redact_tree
from harness.trial.tracking.base import Run, Tracker


class TrackioTracker(Tracker):
    """A run of the project that is called as the study, in the group of its arm; its last point has the figures."""

    kept_in = "trackio"

    def __init__(self, opened: Any, run: Run) -> None:
        self._opened, self._run, self._step = opened, run, 0

    @classmethod
    def open(cls, settings: TrackingConfig, run: Run) -> Self:
        os.environ.setdefault("TRACKIO_DIR", str(run.folder / cls.kept_in))  # it is read when the package is imported
        with _silence():
            import trackio

            opened = trackio.init(
                project=redact(run.study),
                name=run.name,
                group=redact(run.arm),
                config=redact_tree(run.settings),
                auto_log_gpu=settings.system,
                auto_log_cpu=settings.system,
            )
        return cls(opened, run)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._step = step
        self._opened.log(dict(values), step=step)

    def finish(self, record: Record | None, failed: bool) -> None:
        figures = {} if record is None else redact_tree(self._run.figures(record))
        numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
        self._opened.log(numbers | {"failed": int(failed)}, step=self._step)
        with _silence():
            import trackio

            # What is current would be finished once more at the end of the process.
            trackio.context_vars.current_run.set(self._opened)
            trackio.finish()


def _silence() -> contextlib.AbstractContextManager[object]:
    """It prints how to show its pages, for each run."""
    return contextlib.redirect_stdout(io.StringIO())
