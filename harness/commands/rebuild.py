"""run=rebuild: Optuna's study and W&B's runs again, from the records."""

import logging

from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob

log = logging.getLogger(__name__)


def run(job: HydraJob) -> None:
    """Make the study's mirrors again."""
    refuse_several_processes("rebuild")
    from harness.cluster.rebuild import rebuild
    from harness.cluster.study_folder import load_study, study_folder

    config = load_study(job.config.results, job.config.study)
    log.info(rebuild(config, study_folder(config.results, config.study)))
