"""What LoRA is said to leave alone: what the base and earlier tasks knew before."""

from harness.report.claims.evidence import Study
from harness.report.claims.rules import Judgement, untested


def forgets_less(study: Study) -> Judgement:
    """From a sequence of tasks."""
    rule = "to be written"
    return Judgement("forgetting reduced", rule, (untested(study, "not yet"),))
