"""Secrets come from the environment or from a file that is the user's alone."""

import os
import stat
from pathlib import Path

from harness.config import ConfigError


def storage_address() -> str:
    """Where studies are kept: HARNESS_STORAGE, or what the file named by HARNESS_STORAGE_FILE holds; else `journal`.

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
