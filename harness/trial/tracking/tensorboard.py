"""Trials in TensorBoard's files: tensorboard --logdir results/STUDY/tensorboard."""

import json
from collections.abc import Mapping
from typing import Any, Self

from harness.config import TrackingConfig
from harness.record import Record
from harness.system.redaction import redact_tree
from harness.trial.tracking.base import Run, Tracker


class TensorboardTracker(Tracker):
    """A folder of events for each trial: its curves, its figures at its last step, its configuration as text."""

    kept_in = "tensorboard"

    def __init__(self, writer: Any, run: Run) -> None:
        self._writer, self._run, self._step = writer, run, 0

    @classmethod
    def open(cls, settings: TrackingConfig, run: Run) -> Self:
        from torch.utils.tensorboard import SummaryWriter  # it needs the package tensorboard

        writer = SummaryWriter(str(run.folder / cls.kept_in / run.name))
        text = json.dumps(redact_tree(run.settings), indent=2)
        writer.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()))
        return cls(writer, run)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._step = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, record: Record | None, failed: bool) -> None:
        figures = {} if record is None else redact_tree(self._run.figures(record))
        for name, value in figures.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(f"summary/{name}", value, self._step)
            else:
                self._writer.add_text(f"summary/{name}", str(value))
        self._writer.close()
