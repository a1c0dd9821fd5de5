"""The command that starts one more worker of a study."""

import sys
from pathlib import Path


def worker_command(results: str, study: str) -> list[str]:
    """The argument vector; the results folder is absolute and quoted for Hydra."""
    folder = str(Path(results).absolute()).replace("\\", "\\\\").replace("'", "\\'")
    return [sys.executable, "-m", "harness", "run=worker", f"study={study}", f"results='{folder}'"]
