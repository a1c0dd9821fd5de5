"""Rebuild a study's mirrors from its records: Optuna's study, and W&B's runs."""

from contextlib import closing
from pathlib import Path

from harness.cluster.database import storage_address, storage_kind
from harness.cluster.heartbeat import remove_stale_heartbeats
from harness.cluster.optuna_mirror import OptunaMirror
from harness.cluster.optuna_storage import JOURNAL, create_tables
from harness.cluster.storage import check_storage, forget_storage, open_locks
from harness.cluster.undo import left_as_found
from harness.config import Config, ConfigError
from harness.record import RECORDS, Log
from harness.trial import tracking


def rebuild(config: Config, folder: Path) -> str:
    """Rebuild the mirrors, in the storage that the environment names now; returns a line that says what they hold.

    Raises ConfigError while a worker runs, and where the storage cannot be opened.
    """
    assert config.sweep is not None
    if remove_stale_heartbeats(folder, config.launch.lease_s):
        raise ConfigError(f"study={config.study}: workers are running; stop them first")
    check_storage()
    log = Log(folder)
    with left_as_found(folder):
        forget_storage(folder)
        with closing(open_locks(folder)) as locks, locks.study_lock():
            create_tables()
            if storage_kind(storage_address()) == "journal":
                (folder / JOURNAL).unlink(missing_ok=True)  # however it was damaged
            log.refresh()
            with closing(OptunaMirror(folder, config)) as mirror:
                held = mirror.rebuild(log.records)
    runs = tracking.rebuild(config.tracking, config.study, log.records, folder)
    where = {"wandb": "W&B's mirror"}.get(config.tracking.name, config.tracking.name)
    return f"{folder / RECORDS}: {held} trials in Optuna's study, {runs} runs in {where}"
