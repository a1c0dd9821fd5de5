"""Where a study is stored: the address from the environment, its kind, and the settings of a connection."""

import os
import stat
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from harness.config import ConfigError
from harness.system.redaction import redact

StorageKind = Literal["journal", "sqlite", "postgresql"]

# On the server's side, too: a machine that is lost must not hold its locks for hours.
KEEPALIVES = (
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 -c tcp_user_timeout=60000"
)
# A connection that idles through a long trial must still be there for its result, or be known to be gone.
CONNECTION: dict[str, Any] = {
    "connect_timeout": 2,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "options": KEEPALIVES,
}
"""Arguments of psycopg.connect; times in seconds, `tcp_user_timeout` in milliseconds."""


def storage_address() -> str:
    """HARNESS_STORAGE, or the content of the file named by HARNESS_STORAGE_FILE, else `journal`.

    Raises ConfigError for a file that others may read.
    """
    if address := os.environ.get("HARNESS_STORAGE", "").strip():
        return address
    named = os.environ.get("HARNESS_STORAGE_FILE")
    if not named:
        return "journal"
    path = Path(named).expanduser()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigError(f"HARNESS_STORAGE_FILE={path}: mode {mode:04o}, others may read it; chmod 600 {path}")
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"HARNESS_STORAGE_FILE={path}: {error.strerror or error}") from None


def storage_kind(address: str) -> StorageKind:
    """The kind of a storage address. Raises ConfigError for an address of another kind."""
    match address if address == "journal" else urlsplit(address).scheme.partition("+")[0]:
        case "journal" | "sqlite" | "postgresql" as kind:
            return kind
    raise ConfigError(
        f"HARNESS_STORAGE={redact(address)}: no such storage; valid: journal, "
        "postgresql://USER:PASSWORD@HOST/NAME, sqlite:///FILE"
    )


def check_workers(workers: int) -> None:
    """Refuse SQLite for more than one worker, and an address of no known kind, before anything is created."""
    if storage_kind(storage_address()) == "sqlite" and workers > 1:
        raise ConfigError(
            f"launch.workers={workers}: HARNESS_STORAGE is SQLite, which crashes and hands trials out twice when "
            "several processes write; leave it unset for a journal file, or give postgresql://…"
        )


def unreachable(error: Exception) -> ConfigError:
    """One line for a storage that does not answer."""
    reason = redact(" ".join(str(error.__cause__ or error).split()))
    return ConfigError(f"HARNESS_STORAGE={redact(storage_address())}: cannot be opened: {reason[:200]}")
