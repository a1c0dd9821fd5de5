"""The life of a trial: from a configuration to a record."""

from harness.trial.context import CHECKPOINTS, Report, TrialContext

__all__ = ["CHECKPOINTS", "Report", "TrialContext"]
