"""Where Optuna keeps a study: a journal file on one machine, PostgreSQL on a cluster, SQLite for one worker."""

import json
import os
import time
import uuid
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from harness.cluster.database import storage_address
from harness.cluster.locks import FileLocks, Locks, wait_for
from harness.config import ConfigError
from harness.system.jsonl import cut_torn_tail
from harness.system.redaction import redact

JOURNAL = "optuna.journal"
_PLACE = "storage.json"
_CONNECT_SECONDS = 2
_PATIENCE_S = 10.0  # with the journal's lock, which is held for milliseconds
# On the server's side, too: a machine that is lost must not hold its locks for hours.
KEEPALIVES = (
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 -c tcp_user_timeout=60000"
)
# A connection that idles through a long trial must still be there for its result, or be seen to be gone.
CONNECTION: dict[str, Any] = {
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "options": KEEPALIVES,
}
_ENGINE = {"pool_pre_ping": True, "pool_recycle": 1800, "connect_args": CONNECTION}


class KernelLock(BaseJournalFileLock):
    """The journal is written by who holds the kernel's lock on it, its torn tail cut before anything is added.

    Optuna's own locks are files, which a killed process leaves behind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock. Raises TimeoutError: who holds it may be stopped, and a mirror must not stop others."""
        self._file = open(self._path, "ab+")  # noqa: SIM115  held until it is released
        until = time.monotonic() + _PATIENCE_S

        def look() -> None:
            if time.monotonic() > until:
                raise TimeoutError(f"{self._path.name} has been locked for {_PATIENCE_S:.0f} s: is a worker stopped?")

        try:
            wait_for(self._file, look)
        except OSError:
            self._file.close()
            raise
        cut_torn_tail(self._file)
        self._file.flush()
        return True

    def release(self) -> None:
        """Let go of the lock."""
        assert self._file is not None
        self._file.close()


def storage_kind(address: str) -> str:
    """journal, sqlite or postgresql. Raises ConfigError for anything else."""
    kind = address if address == "journal" else urlsplit(address).scheme.partition("+")[0]
    if kind not in ("journal", "sqlite", "postgresql"):
        raise ConfigError(
            f"HARNESS_STORAGE={redact(address)}: no such storage; valid: journal, "
            "postgresql://USER:PASSWORD@HOST/NAME, sqlite:///FILE"
        )
    return kind


def check_workers(workers: int) -> None:
    """Refuse SQLite for more than one worker, and an address that is none, before anything is made."""
    if storage_kind(storage_address()) == "sqlite" and workers > 1:
        raise ConfigError(
            f"launch.workers={workers}: HARNESS_STORAGE is SQLite, which crashes and hands trials out twice when "
            "several processes write; leave it unset for a journal file, or give postgresql://…"
        )


def study_id(folder: Path) -> str:
    """What tells this study from others of its name, in a database that many share.

    Raises ConfigError where the study was begun in another storage: its workers would not know of each other.
    """
    address, path = storage_address(), folder / _PLACE
    here = {"kind": storage_kind(address), "address": redact(address)}
    if not path.exists():
        staged = folder / f"{_PLACE}.{os.getpid()}"
        staged.write_text(json.dumps(here | {"id": uuid.uuid4().hex[:12]}))
        try:
            os.link(staged, path)  # the first of several wins
        except FileExistsError:
            pass
        finally:
            staged.unlink()
    kept: dict[str, Any] = json.loads(path.read_text())
    if {key: kept[key] for key in here} != here:
        raise ConfigError(
            f"HARNESS_STORAGE={redact(address)}: study={folder.name} is kept in {kept['address']}; set it to that, or "
            f"move the study: run=rebuild study={folder.name}"
        )
    return str(kept["id"])


def forget_place(folder: Path) -> None:
    """Let the next command that opens the study say where it is kept."""
    (folder / _PLACE).unlink(missing_ok=True)


def open_storage(folder: Path) -> tuple[BaseStorage, str]:
    """Optuna's storage of a study and the study's name there. Raises ConfigError where it cannot be reached."""
    address = storage_address()
    if storage_kind(address) == "journal":
        path = (folder / JOURNAL).absolute()
        lock = KernelLock(path)
        lock.acquire()
        lock.release()
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock)), folder.name
    name = f"{folder.name}-{study_id(folder)}"
    options = _ENGINE if storage_kind(address) == "postgresql" else {}
    try:
        return RDBStorage(address, engine_kwargs=dict(options)), name
    except (SQLAlchemyError, ArgumentError, ImportError, ValueError) as error:
        raise unreachable(error) from None


def close_storage(storage: BaseStorage) -> None:
    """Let go of the storage's connections."""
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


def open_locks(folder: Path) -> Locks:
    """The locks that fit the storage: the kernel's on one machine, the database's where workers are on several."""
    scope = study_id(folder)
    if storage_kind(storage_address()) != "postgresql":
        return FileLocks(folder)
    from harness.cluster.postgres import PostgresLocks  # a driver that one machine does not need

    return PostgresLocks(storage_address(), folder, scope)


def unreachable(error: Exception) -> ConfigError:
    """One line for a storage that does not answer."""
    said = redact(" ".join(str(error.__cause__ or error).split()))
    return ConfigError(f"HARNESS_STORAGE={redact(storage_address())}: cannot be opened: {said[:200]}")
