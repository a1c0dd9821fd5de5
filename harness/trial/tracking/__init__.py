"""The mirror of trials in W&B, TensorBoard, MLflow or CSV files."""

from harness.trial.tracking.base import Run, Tracker
from harness.trial.tracking.mirror import Mirror, close, open_run, publish, rebuild, sync_hint
from harness.trial.tracking.wandb import resolve_mode

__all__ = ["Mirror", "Run", "Tracker", "close", "open_run", "publish", "rebuild", "resolve_mode", "sync_hint"]
