"""Studies: what is compared, what is tuned for each of it, and workers that share the trials."""

from harness.cluster.ledger import Ledger, open_ledger
from harness.cluster.monitor import StudyMonitor, StudyStatus, standing
from harness.cluster.rebuild import rebuild
from harness.cluster.storage import check_workers
from harness.cluster.study import REPLACED, begin_study, check_study, input_identity, load_study, study_folder
from harness.cluster.worker import Worker, WorkerUnhealthy, join

__all__ = [
    "REPLACED",
    "Ledger",
    "StudyMonitor",
    "StudyStatus",
    "Worker",
    "WorkerUnhealthy",
    "begin_study",
    "check_study",
    "check_workers",
    "input_identity",
    "join",
    "load_study",
    "open_ledger",
    "rebuild",
    "standing",
    "study_folder",
]
