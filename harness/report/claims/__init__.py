"""What is said of LoRA, judged by finished studies."""

from harness.report.claims.evidence import Study
from harness.report.claims.page import judge, write_claims

__all__ = ["Study", "judge", "write_claims"]
