"""One worker, in this process."""

from pathlib import Path

from harness.cluster.worker import join
from harness.config import Config


def check(config: Config) -> None:
    """Every machine can run one worker."""


def run(config: Config, folder: Path) -> None:
    """Work on the study until it is done."""
    with join(config, folder) as worker:
        worker.work()
