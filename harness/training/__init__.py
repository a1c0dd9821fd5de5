"""The training of one trial on Lightning: the module, what watches it, and how it stops."""

from harness.training.callbacks import Curve, Guard, Meters, Pulse, Watch
from harness.training.interrupt import Interrupted, graceful_stop
from harness.training.loop import (
    Plan,
    autocast,
    fit,
    is_follower,
    make_trainer,
    plan,
    resolve_device,
    resolve_precision,
    test,
)
from harness.training.module import Diverged, Pruned, TrialModule, mean_loss
from harness.training.ranks import FallingBudget, NestedRanks
from harness.training.scores import ClassScores, MixtureScores, NumberScores, Scores, TokenScores
from harness.training.writing import text_scores, write

__all__ = [
    "ClassScores",
    "Curve",
    "Diverged",
    "FallingBudget",
    "Guard",
    "Interrupted",
    "Meters",
    "MixtureScores",
    "NestedRanks",
    "NumberScores",
    "Plan",
    "Pruned",
    "Pulse",
    "Scores",
    "TokenScores",
    "TrialModule",
    "Watch",
    "autocast",
    "fit",
    "graceful_stop",
    "is_follower",
    "make_trainer",
    "mean_loss",
    "plan",
    "resolve_device",
    "resolve_precision",
    "test",
    "text_scores",
    "write",
]
