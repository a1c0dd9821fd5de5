"""The life of a trial: from a configuration to a record."""

from harness.trial.run import lost_record, run_trial
from harness.trial.single import CHECKPOINTS, Report, TrialContext, fingerprint_of, identity

__all__ = ["CHECKPOINTS", "Report", "TrialContext", "fingerprint_of", "identity", "lost_record", "run_trial"]
