"""Offline runs of W&B, read by its own reader: the program behind `wandb leet inspect`, without a Python around it."""

import subprocess
from pathlib import Path

from wandb.util import get_core_path


def inspect(run: Path, *options: str) -> str:
    """What the reader prints of a run's folder as JSON."""
    (file,) = run.glob("run-*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *options, "--run-file", file]
    return subprocess.run([*command, run.parent], capture_output=True, text=True, check=True).stdout
