"""The training of one trial on Lightning: the module, what watches it, and how it stops."""

from harness.training.callbacks import (
    BestCheckpoint,
    DivergenceCheck,
    MetricsCsvLogger,
    ResourceMeter,
    UnusedParameterCheck,
)
from harness.training.checkpoint import Checkpoints, random_state, set_random_state
from harness.training.checkpoint_callback import CheckpointCallback
from harness.training.generation import generate_texts, text_scores
from harness.training.loop import (
    Plan,
    autocast,
    fit,
    is_follower,
    make_trainer,
    plan,
    test,
)
from harness.training.metrics import ClassMetrics, Metrics, MixtureMetrics, RegressionMetrics, TokenMetrics
from harness.training.module import Diverged, Pruned, TrialModule, mean_loss
from harness.training.process_group import (
    ProcessDesync,
    all_reduce_max,
    broadcast_object,
    final_barrier,
    process_group,
    receive_object,
)
from harness.training.rank_schedules import FallingBudget, NestedRanks
from harness.training.sharding import gather_full_model

__all__ = [
    "BestCheckpoint",
    "CheckpointCallback",
    "Checkpoints",
    "ClassMetrics",
    "Diverged",
    "DivergenceCheck",
    "FallingBudget",
    "Metrics",
    "MetricsCsvLogger",
    "MixtureMetrics",
    "NestedRanks",
    "Plan",
    "ProcessDesync",
    "Pruned",
    "RegressionMetrics",
    "ResourceMeter",
    "TokenMetrics",
    "TrialModule",
    "UnusedParameterCheck",
    "all_reduce_max",
    "autocast",
    "broadcast_object",
    "final_barrier",
    "fit",
    "gather_full_model",
    "generate_texts",
    "is_follower",
    "make_trainer",
    "mean_loss",
    "plan",
    "process_group",
    "random_state",
    "receive_object",
    "set_random_state",
    "test",
    "text_scores",
]
