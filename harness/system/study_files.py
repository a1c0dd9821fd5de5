"""The names of the files in a study's folder that several rooms read."""

from pathlib import Path

CONFIG = "config.yaml"
ATTEMPTS = "attempts.jsonl"
_FORMER_ATTEMPTS = "claims.jsonl"


def attempts_path(folder: Path) -> Path:
    """The log of attempts: `claims.jsonl` in a study begun while it had that name, else `attempts.jsonl`.

    It is not renamed: a worker of the former version that is still running would begin the old file anew.
    """
    former = folder / _FORMER_ATTEMPTS
    return former if former.exists() else folder / ATTEMPTS
