"""The callbacks of a trial's training, one a file."""

from harness.training.callbacks.best_checkpoint import BestCheckpoint
from harness.training.callbacks.checkpoint import CheckpointCallback
from harness.training.callbacks.divergence import DivergenceCheck
from harness.training.callbacks.metrics_csv import MetricsCsvLogger
from harness.training.callbacks.pruning import PruningCallback, Report
from harness.training.callbacks.rank_schedule import RankScheduleCallback
from harness.training.callbacks.resource_meter import ResourceMeter
from harness.training.callbacks.task_gradients import TaskGradientsCallback
from harness.training.callbacks.unused_parameters import UnusedParameterCheck

__all__ = [
    "BestCheckpoint",
    "CheckpointCallback",
    "DivergenceCheck",
    "MetricsCsvLogger",
    "PruningCallback",
    "RankScheduleCallback",
    "Report",
    "ResourceMeter",
    "TaskGradientsCallback",
    "UnusedParameterCheck",
]
