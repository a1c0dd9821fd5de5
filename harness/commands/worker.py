"""run=worker: one more worker, on a study that was begun."""

import dataclasses
import logging

from harness.commands.checks import check_installed
from harness.commands.devices import leading
from harness.commands.job import HydraJob
from harness.config.processes import launched_process_group
from harness.system.study_files import CONFIG

log = logging.getLogger(__name__)


def run(job: HydraJob) -> None:
    """Run trials of the study until none is left; its own file says what it is."""
    from harness.cluster.restart import restart_when_unhealthy
    from harness.cluster.study_folder import load_study, study_folder
    from harness.cluster.worker import join
    from harness.system.signals import graceful_stop

    config = dataclasses.replace(load_study(job.config.results, job.config.study), run="worker")
    check_installed(config)
    folder = study_folder(config.results, config.study)
    words = [word for word in job.words if not word.startswith(("run=", "study=", "results="))]
    if words:
        log.info("run=worker takes its configuration from %s; ignored: %s", folder / CONFIG, " ".join(words))
    with (
        leading(config, launched_process_group(config)) as leads,
        restart_when_unhealthy(config.study, config.trainer.devices),
        graceful_stop(),
    ):
        if leads:
            with join(config, folder) as worker:
                worker.work()
