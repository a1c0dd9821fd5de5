"""The training of one trial on Lightning: the module, what watches it, and how it stops."""

from harness.training.callbacks import Curve, Guard, Meters, Pulse, Watch
from harness.training.company import OutOfStep, agree, close_ranks, company, hear, tell
from harness.training.interrupt import Interrupted, end_if_asked, graceful_stop, when_asked_twice
from harness.training.keeper import Keeper
from harness.training.loop import (
    Plan,
    autocast,
    fit,
    is_follower,
    make_trainer,
    plan,
    test,
)
from harness.training.module import Diverged, Pruned, TrialModule, mean_loss
from harness.training.ranks import FallingBudget, NestedRanks
from harness.training.resume import Checkpoints, random_state, set_random_state
from harness.training.scores import ClassScores, MixtureScores, NumberScores, Scores, TokenScores
from harness.training.sharding import gather
from harness.training.writing import text_scores, write

__all__ = [
    "Checkpoints",
    "ClassScores",
    "Curve",
    "Diverged",
    "FallingBudget",
    "Guard",
    "Interrupted",
    "Keeper",
    "Meters",
    "MixtureScores",
    "NestedRanks",
    "NumberScores",
    "OutOfStep",
    "Plan",
    "Pruned",
    "Pulse",
    "Scores",
    "TokenScores",
    "TrialModule",
    "Watch",
    "agree",
    "autocast",
    "close_ranks",
    "company",
    "end_if_asked",
    "fit",
    "gather",
    "graceful_stop",
    "hear",
    "is_follower",
    "make_trainer",
    "mean_loss",
    "plan",
    "random_state",
    "set_random_state",
    "tell",
    "test",
    "text_scores",
    "when_asked_twice",
    "write",
]
