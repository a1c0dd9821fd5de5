"""Make a study's mirrors again from its records: Optuna's study, and W&B's runs."""

from contextlib import closing
from pathlib import Path

from harness.cluster.database import storage_address
from harness.cluster.locks import remove_dead_signs
from harness.cluster.optuna_mirror import OptunaMirror
from harness.cluster.storage import JOURNAL, forget_place, open_locks, storage_kind
from harness.config import Config, ConfigError
from harness.record import RECORDS, Log
from harness.search.space import arms
from harness.trial import tracking


def rebuild(config: Config, folder: Path) -> str:
    """Make the mirrors again, in whatever storage is named now; returns a line that says what they hold.

    Raises ConfigError while a worker is there.
    """
    assert config.sweep is not None
    if remove_dead_signs(folder, config.launch.lease_s):
        raise ConfigError(f"study={config.study}: workers are running; stop them first")
    forget_place(folder)
    with closing(open_locks(folder)) as locks, locks.mutex():
        if storage_kind(storage_address()) == "journal":
            (folder / JOURNAL).unlink(missing_ok=True)  # however it was damaged
        log = Log(folder)
        log.refresh()
        with closing(OptunaMirror(folder, config.trainer.objective, arms(config.sweep))) as mirror:
            held = mirror.rebuild(log.records)
    runs = tracking.rebuild(config.tracking, config.study, log.records, folder)
    return f"{folder / RECORDS}: {held} trials in Optuna's study, {runs} runs in W&B's mirror"
