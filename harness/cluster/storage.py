"""The storage of a study: its identity in a shared database, and the locks that fit it."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

from harness.cluster.database import storage_address, storage_kind
from harness.cluster.locks import Locks
from harness.cluster.locks.file import FileLocks
from harness.config import ConfigError
from harness.system.redaction import redact

_STORAGE = "storage.json"


def study_id(folder: Path) -> str:
    """What distinguishes this study from others of its name in a shared database.

    Raises ConfigError where the study was begun in another storage: its workers would not know of each other.
    """
    address, path = storage_address(), folder / _STORAGE
    current = {"kind": storage_kind(address), "address": redact(address)}
    if not path.exists():
        staged = folder / f"{_STORAGE}.{os.getpid()}"
        staged.write_text(json.dumps(current | {"id": uuid.uuid4().hex[:12]}))
        try:
            os.link(staged, path)  # the first of several wins
        except FileExistsError:
            pass
        finally:
            staged.unlink()
    stored: dict[str, Any] = json.loads(path.read_text())
    if {key: stored[key] for key in current} != current:
        raise ConfigError(
            f"HARNESS_STORAGE={redact(address)}: study={folder.name} is kept in {stored['address']}; set it to that, "
            f"or move the study: run=rebuild study={folder.name}"
        )
    return str(stored["id"])


def forget_storage(folder: Path) -> None:
    """Let the next command that opens the study choose where it is stored."""
    (folder / _STORAGE).unlink(missing_ok=True)


def open_locks(folder: Path) -> Locks:
    """Kernel locks for workers on one machine, the database's locks where workers are on several machines."""
    scope = study_id(folder)
    if storage_kind(storage_address()) != "postgresql":
        return FileLocks(folder)
    from harness.cluster.locks.postgres import PostgresLocks  # the driver is loaded only where it is used

    return PostgresLocks(storage_address(), folder, scope)
