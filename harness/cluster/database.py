"""The storage of a study: the address from the environment, its kind, and the connection settings."""

import os
import re
import stat
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from harness.cluster import address
from harness.config import ConfigError
from harness.system.redaction import redact, remember

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

    Raises ConfigError for a file that others may read, and for an address whose form is wrong, without showing it.
    """
    if text := os.environ.get("HARNESS_STORAGE", "").strip():
        return _checked(text, "HARNESS_STORAGE")
    named = os.environ.get("HARNESS_STORAGE_FILE")
    if not named:
        return "journal"
    path = Path(named).expanduser()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigError(f"HARNESS_STORAGE_FILE={path}: mode {mode:04o}, others may read it; chmod 600 {path}")
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"HARNESS_STORAGE_FILE={path}: {_reason(error)}") from None
    return _checked(text, f"HARNESS_STORAGE_FILE={path}")


def _checked(text: str, where: str) -> str:
    remember(text)
    if rule := address.mistake(text):
        raise ConfigError(f"{where}: {rule}")
    return text


def _reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not UTF-8 text"  # the error itself holds the bytes


def storage_kind(url: str) -> StorageKind:
    """The kind of a storage address. Raises ConfigError for an address of another kind."""
    match url if url == "journal" else urlsplit(url).scheme.partition("+")[0]:
        case "journal" | "sqlite" | "postgresql" as kind:
            return kind
    raise ConfigError(f"HARNESS_STORAGE={redact(url)}: no such storage; valid: {address.VALID}")


def check_workers(workers: int) -> None:
    """Refuse SQLite for more than one worker, and an address of no known kind, before anything is created."""
    if storage_kind(storage_address()) == "sqlite" and workers > 1:
        raise ConfigError(
            f"launch.workers={workers}: HARNESS_STORAGE is SQLite, which crashes and hands trials out twice when "
            "several processes write; leave it unset for a journal file, or give postgresql://…"
        )


def unreachable(error: Exception) -> ConfigError:
    """One line for a storage that does not answer."""
    url = storage_address()
    reason = redact(" ".join(str(error.__cause__ or error).split()))
    for word in re.findall(r"\w{3,}", url.partition("password=")[2]):  # an & in it, and libpq names what follows
        reason = reason.replace(word, "***")
    return ConfigError(f"HARNESS_STORAGE={redact(url)}: cannot be opened: {reason[:200]}")
