"""run=study: search, table, pictures."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.commands.checks import check_study, with_data
from harness.commands.devices import leading
from harness.commands.job import HydraJob
from harness.config import Config
from harness.config.preflight import validate_before_import
from harness.config.processes import ProcessInfo, launched_process_group

log = logging.getLogger(__name__)


def run(job: HydraJob) -> None:
    """Run every trial of the study that has no record yet, and print its report."""
    started = launched_process_group(job.config)
    validate_before_import(job.config)
    check_study(job.config)
    train_study(with_data(job.config, job.words), started)


def train_study(config: Config, started: ProcessInfo | None) -> None:
    """Run every trial that has no record yet, and print the report."""
    with leading(config, started) as leads:
        if leads:
            from harness.cluster.launchers.registry import launcher_of

            with opened_study(config) as folder:
                launcher_of(config).run(config, folder)


@contextmanager
def opened_study(config: Config) -> Iterator[Path]:
    """Begin the study or take it up; inside, its trials are run, and in the end its report is printed."""
    from harness.cluster.restart import restart_when_unhealthy
    from harness.cluster.study import begin_study, input_identity
    from harness.report import write_report
    from harness.system.signals import graceful_stop
    from harness.trial.tracking import sync_hint

    input_identity(config)  # data and weights are read and checked before anything is made
    folder = begin_study(config)
    with restart_when_unhealthy(config.study, config.trainer.devices), graceful_stop():
        yield folder
    print(write_report(folder))
    if hint := sync_hint(folder):
        log.info("W&B runs are offline; to upload them: %s", hint)
