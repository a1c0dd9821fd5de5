"""The mirror of a trial in the tracker that is configured. It can be off, and it never fails a trial."""

import csv
import importlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from harness.config import TrackingConfig
from harness.record import Record, trial_path
from harness.system.study_files import CONFIG, CURVE
from harness.trial.tracking.base import Run, Tracker
from harness.trial.tracking.wandb import short

log = logging.getLogger(__name__)

_TRACKERS = {
    "wandb": ("W&B", "wandb:WandbTracker"),
    "tensorboard": ("TensorBoard", "tensorboard:TensorboardTracker"),
    "mlflow": ("MLflow", "mlflow:MlflowTracker"),
    "trackio": ("Trackio", "trackio:TrackioTracker"),
    "csv": ("CSV", "csv_files:CsvTracker"),
}
"""How a tracker is called, and its class in this package, imported when it is used."""


class Mirror:
    """One run of a tracker. An error in it is logged once, and the trial continues without it."""

    def __init__(self, tracker: Tracker | None, called: str = "W&B") -> None:
        self._tracker, self._called = tracker, called

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One point of the curves, at the trainer's own step."""
        self._try(lambda tracker: tracker.log(step, values))

    def finish(self, record: Record | None, failed: bool) -> None:
        """Write the record's figures and close the run; None where the trial left no record that counts."""
        self._try(lambda tracker: tracker.finish(record, failed))

    def _try(self, action: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            action(self._tracker)
        except Exception as error:  # a mirror that breaks must not take the trial with it
            log.warning("%s stopped: %s; the record and the curves on disk are complete", self._called, short(error))
            self._tracker = None


def open_run(settings: TrackingConfig, run: Run) -> Mirror:
    """Open a run in the tracker that `settings` name. Mode auto is online where a key of W&B is found, else offline."""
    called, kind = _TRACKERS[settings.name][0], _tracker(settings)
    if kind.is_off(settings.mode):
        return Mirror(None, called)
    try:
        return Mirror(kind.open(settings, run), called)
    except Exception as error:  # a full disk, a database that is away: none of it is the trial's business
        log.warning("%s: %s; the trial goes on without it", called, short(error))
        return Mirror(None, called)


def _tracker(settings: TrackingConfig) -> type[Tracker]:
    module, _, name = _TRACKERS[settings.name][1].partition(":")
    kind: type[Tracker] = getattr(importlib.import_module(f"harness.trial.tracking.{module}"), name)
    return kind


def close() -> None:
    """End W&B's own process, which would outlive a process that replaces itself."""
    if "wandb" in sys.modules:
        import wandb

        wandb.teardown()


def rebuild(settings: TrackingConfig, study: str, records: Sequence[Record], folder: Path) -> int:
    """Make a study's runs again from its records and curves; offline runs take the place of those that are there.

    Returns how many were made.
    """
    kind = _tracker(settings)
    if kind.is_off(settings.mode):
        return 0
    for path in folder.glob(kind.kept_in):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for entry in records:
        trial = folder / trial_path(entry.trial)
        tree = yaml.safe_load((trial / CONFIG).read_text()) if (trial / CONFIG).exists() else {}
        run = Run(study=study, trial=entry.trial, arm=entry.arm, phase=entry.phase, config=tree, folder=folder)
        mirror = open_run(settings, run)
        for step, values in _curves(trial, entry.continual.tasks):
            mirror.log(step, values)
        mirror.finish(entry, failed=entry.state == "fail")
    publish(settings, study, records, folder)
    return len(records)


def publish(settings: TrackingConfig, study: str, records: Sequence[Record], folder: Path) -> None:
    """Show a study as a whole, where the tracker has a run for that."""
    _tracker(settings).publish(settings, study, records, folder)


def _curves(trial: Path, tasks: Sequence[str]) -> Iterator[tuple[int, dict[str, float]]]:
    """A trial's curve, or those of the tasks that it learned one after another, on one axis of steps."""
    yield from _curve(trial / CURVE)
    before = 0
    for task in tasks:
        last = 0
        for last, values in _curve(trial / f"metrics_{task}.csv"):
            yield before + last, {f"{task}/{name}": value for name, value in values.items()}
        before += last


def _curve(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    if not path.exists():
        return
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            yield step, {name: float(value) for name, value in row.items() if value}


def sync_hint(folder: Path) -> str | None:
    """The command that uploads W&B's offline runs under `folder`, if there are any."""
    runs = folder / "wandb"
    return f"wandb sync {runs}/offline-run-*" if any(runs.glob("offline-run-*")) else None
