"""Optuna's storage of a study: a journal file on one machine, PostgreSQL on a cluster, SQLite for one worker."""

import time
from pathlib import Path
from typing import IO

from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from sqlalchemy.pool import NullPool

from harness.cluster.connection import FAILURES, engine_options
from harness.cluster.database import storage_address, storage_kind, unreachable
from harness.cluster.locks.file import acquire_flock
from harness.cluster.storage import study_id
from harness.system.jsonl import cut_torn_tail

JOURNAL = "optuna.journal"
_TIMEOUT_S = 10.0  # for the journal's lock, which is held for milliseconds
# OptunaError also comes of tables that another version of Optuna made.
_FAILURES = (*FAILURES, OptunaError)


class KernelLock(BaseJournalFileLock):
    """The lock of Optuna's journal: a kernel lock on the journal itself. A torn tail is cut before anything is added.

    Optuna's own locks are files, which a killed process leaves behind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock. Raises TimeoutError: its holder may be suspended, and a mirror must not stop others."""
        self._file = open(self._path, "ab+")  # noqa: SIM115  held until it is released
        until = time.monotonic() + _TIMEOUT_S

        def check_timeout() -> None:
            if time.monotonic() > until:
                raise TimeoutError(f"{self._path.name} has been locked for {_TIMEOUT_S:.0f} s: is a worker stopped?")

        try:
            acquire_flock(self._file, check_timeout)
        except OSError:
            self._file.close()
            raise
        cut_torn_tail(self._file)
        self._file.flush()
        return True

    def release(self) -> None:
        assert self._file is not None
        self._file.close()


def open_storage(folder: Path) -> tuple[BaseStorage, str]:
    """Optuna's storage of a study and the study's name in it. Raises ConfigError where it cannot be reached."""
    address = storage_address()
    if storage_kind(address) == "journal":
        path = (folder / JOURNAL).absolute()
        lock = KernelLock(path)
        lock.acquire()
        lock.release()
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock)), folder.name
    name = f"{folder.name}-{study_id(folder)}"
    try:
        return RDBStorage(address, engine_kwargs=engine_options(address)), name
    except _FAILURES as error:
        raise unreachable(error) from None


def create_tables() -> None:
    """Have Optuna create its tables, under the study's lock. Raises ConfigError for a user who may not."""
    address = storage_address()
    if storage_kind(address) == "journal":
        return
    try:  # without a pool, which would keep connections open that nobody can close if it fails
        close_storage(RDBStorage(address, engine_kwargs=engine_options(address) | {"poolclass": NullPool}))
    except _FAILURES as error:
        raise unreachable(error) from None


def close_storage(storage: BaseStorage) -> None:
    """Close the storage's connections."""
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()
