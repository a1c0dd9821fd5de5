"""Trials as MLflow runs, where MLFLOW_TRACKING_URI says, else in mlflow.db in the study's folder."""

import os
from collections.abc import Mapping
from typing import Any, Self

from harness.config import TrackingConfig
from harness.record import Record
from harness.system.redaction import redact, redact_tree
from harness.trial.tracking.base import Run, Tracker

_LONGEST = 500  # of a parameter's text, in MLflow's database


class MlflowTracker(Tracker):
    """A run in the experiment that is called as the study."""

    kept_in = "mlflow.db"

    def __init__(self, client: Any, number: str, run: Run) -> None:
        self._client, self._number, self._run, self._step = client, number, run, 0

    @classmethod
    def open(cls, settings: TrackingConfig, run: Run) -> Self:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.folder / cls.kept_in}")
        name = redact(run.study)
        known = client.get_experiment_by_name(name)
        experiment = known.experiment_id if known is not None else client.create_experiment(name)
        tags = {"arm": run.arm, "phase": run.phase}
        begun = client.create_run(experiment, run_name=run.name, tags=redact_tree(tags))
        for key, value in _flat(redact_tree(run.settings)).items():
            client.log_param(begun.info.run_id, key, value[:_LONGEST])
        return cls(client, begun.info.run_id, run)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._step = step
        for name, value in values.items():
            self._client.log_metric(self._number, name, value, step=step)

    def finish(self, record: Record | None, failed: bool) -> None:
        figures = {} if record is None else redact_tree(self._run.figures(record))
        for name, value in figures.items():
            if isinstance(value, int | float):
                self._client.log_metric(self._number, name, value, step=self._step)
            else:
                self._client.set_tag(self._number, name, str(value))
        self._client.set_terminated(self._number, "FAILED" if failed else "FINISHED")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": str(value)}
    return found
