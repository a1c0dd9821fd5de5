"""The command that starts one more worker of a study."""

import sys
from pathlib import Path

from harness.config import Config


def worker_command(config: Config) -> list[str]:
    """The argument vector; the results folder is absolute and quoted for Hydra."""
    results = str(Path(config.results).absolute()).replace("\\", "\\\\").replace("'", "\\'")
    return [sys.executable, "-m", "harness", "run=worker", f"study={config.study}", f"results='{results}'"]
