"""Trials as CSV files, for programs that read nothing else: tracking/ARM-NUMBER/ in the study's folder."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from harness.config import TrackingConfig
from harness.record import Record
from harness.system.redaction import redact_tree
from harness.trial.tracking.base import Run, Tracker


class CsvTracker(Tracker):
    """curves.csv as step, name, value; summary.csv and config.csv as name, value."""

    kept_in = "tracking"

    def __init__(self, folder: Path, run: Run) -> None:
        self._folder, self._run = folder, run

    @classmethod
    def open(cls, settings: TrackingConfig, run: Run) -> Self:
        folder = run.folder / cls.kept_in / run.name
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "config.csv", ("name", "value"), _flat(redact_tree(run.settings)))
        _write(folder / "curves.csv", ("step", "name", "value"), ())
        return cls(folder, run)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        with open(self._folder / "curves.csv", "a", newline="") as file:
            csv.writer(file).writerows((step, name, value) for name, value in values.items())

    def finish(self, record: Record | None, failed: bool) -> None:
        figures = {} if record is None else redact_tree(self._run.figures(record))
        _write(self._folder / "summary.csv", ("name", "value"), (figures | {"failed": failed}).items())


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([tuple(header), *rows])


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", json.dumps(value)))
    return rows
