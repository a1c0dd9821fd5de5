"""The training of one trial: its loop on Lightning Fabric, module, callbacks, checkpoints, distributed processes."""

from harness.task.metrics import ClassMetrics, Metrics, MixtureMetrics, RegressionMetrics, TokenMetrics
from harness.training.accumulation import in_parts, in_parts_of
from harness.training.callbacks import (
    BestCheckpoint,
    CheckpointCallback,
    DivergenceCheck,
    MetricsCsvLogger,
    PruningCallback,
    RankScheduleCallback,
    ResourceMeter,
    TaskGradientsCallback,
    UnusedParameterCheck,
)
from harness.training.checkpoint import Checkpoints, random_state, set_random_state
from harness.training.distributed import (
    ProcessDesync,
    all_reduce_max,
    broadcast_object,
    final_barrier,
    process_group,
    receive_object,
)
from harness.training.fabric import autocast, make_fabric
from harness.training.generation import generate_texts, scored_texts, text_scores
from harness.training.loop import EVALUATION_PATIENCE_S, Callback, Trainer
from harness.training.module import Diverged, Pruned, TrialModule, mean_loss, recurrent_backward, task_losses
from harness.training.packing import Pack, PackCallback, PackKey, PackMember, check_packable
from harness.training.plan import Plan, plan
from harness.training.sharding import gather_full_model

__all__ = [
    "EVALUATION_PATIENCE_S",
    "BestCheckpoint",
    "Callback",
    "CheckpointCallback",
    "Checkpoints",
    "ClassMetrics",
    "Diverged",
    "DivergenceCheck",
    "Metrics",
    "MetricsCsvLogger",
    "MixtureMetrics",
    "Pack",
    "PackCallback",
    "PackKey",
    "PackMember",
    "Plan",
    "ProcessDesync",
    "Pruned",
    "PruningCallback",
    "RankScheduleCallback",
    "RegressionMetrics",
    "ResourceMeter",
    "TaskGradientsCallback",
    "TokenMetrics",
    "Trainer",
    "TrialModule",
    "UnusedParameterCheck",
    "all_reduce_max",
    "autocast",
    "broadcast_object",
    "check_packable",
    "final_barrier",
    "gather_full_model",
    "generate_texts",
    "in_parts",
    "in_parts_of",
    "make_fabric",
    "mean_loss",
    "plan",
    "process_group",
    "random_state",
    "receive_object",
    "recurrent_backward",
    "scored_texts",
    "set_random_state",
    "task_losses",
    "text_scores",
]
