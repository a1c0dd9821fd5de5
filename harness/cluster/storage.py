"""The storage of a study: its identity in a shared database, and the locks that fit it."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

from harness.cluster.database import storage_address, storage_kind
from harness.cluster.heartbeat import any_heartbeat
from harness.cluster.locks import Locks
from harness.cluster.locks.file import FileLocks
from harness.config import ConfigError
from harness.system.redaction import redact
from harness.system.study_files import has_begun

STORAGE = "storage.json"
"""The note of where a study is stored."""


def study_id(folder: Path) -> str:
    """Return the id that distinguishes this study from others of its name in a shared database.

    Raises ConfigError where the study was begun in another storage: its workers would not know of each other.
    """
    address, path = storage_address(), folder / STORAGE
    current = _current()
    if not path.exists():
        check_storage()
        staged = folder / f"{STORAGE}.{os.getpid()}"
        staged.write_text(json.dumps(current | {"id": uuid.uuid4().hex[:12]}))
        try:
            os.link(staged, path)  # the first of several wins
        except FileExistsError:
            pass
        finally:
            staged.unlink()
    stored: dict[str, Any] = json.loads(path.read_text())
    if not current.items() <= stored.items():
        raise ConfigError(
            f"HARNESS_STORAGE={redact(address)}: study={folder.name} is kept in {stored['address']}; set it to that, "
            f"or move the study: run=rebuild study={folder.name}"
        )
    return str(stored["id"])


def _current() -> dict[str, str]:
    address = storage_address()
    return {"kind": storage_kind(address), "address": redact(address)}


def check_storage() -> None:
    """Connect once to the storage that is named, and create nothing. Raises ConfigError where that fails."""
    if storage_kind(storage_address()) != "journal":
        from harness.cluster.connection import check_connection  # SQLAlchemy is loaded only where it is used

        check_connection()


def forget_unused_storage(folder: Path) -> None:
    """Let a study be stored where the environment says now, if no trial was assigned or recorded elsewhere."""
    path = folder / STORAGE
    if not path.exists():
        return
    stored: dict[str, Any] = json.loads(path.read_text())
    begun = has_begun(folder) or any_heartbeat(folder)
    if not begun and not _current().items() <= stored.items():
        forget_storage(folder)


def forget_storage(folder: Path) -> None:
    """Let the next command that opens the study choose where it is stored."""
    (folder / STORAGE).unlink(missing_ok=True)


def open_locks(folder: Path) -> Locks:
    """Kernel locks for workers on one machine, the database's locks where workers are on several machines."""
    scope = study_id(folder)
    if storage_kind(storage_address()) != "postgresql":
        return FileLocks(folder)
    from harness.cluster.locks.postgres import PostgresLocks  # the driver is loaded only where it is used

    return PostgresLocks(storage_address(), folder, scope)
