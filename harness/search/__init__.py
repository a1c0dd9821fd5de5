"""Studies: what is compared, what is tuned for each of it, and workers that share the trials."""

from harness.search.ledger import Ledger, open_ledger
from harness.search.rebuild import rebuild
from harness.search.space import Arm, arms
from harness.search.status import Lookout, Standing, standing
from harness.search.storage import check_workers
from harness.search.study import REPLACED, begin_study, check_study, found_here, load_study, study_folder
from harness.search.worker import Worker, WornOut, join

__all__ = [
    "REPLACED",
    "Arm",
    "Ledger",
    "Lookout",
    "Standing",
    "Worker",
    "WornOut",
    "arms",
    "begin_study",
    "check_study",
    "check_workers",
    "found_here",
    "join",
    "load_study",
    "open_ledger",
    "rebuild",
    "standing",
    "study_folder",
]
