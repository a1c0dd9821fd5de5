"""Studies: what is compared, what is tuned for each of it, and a loop that can be stopped and resumed."""

from harness.search.ledger import Ledger, open_ledger
from harness.search.space import Arm, arms
from harness.search.study import check_study, run_study

__all__ = ["Arm", "Ledger", "arms", "check_study", "open_ledger", "run_study"]
