"""run=confirm: the finalists and baselines of a study again, with fresh seeds, and the verdicts on test."""

import dataclasses

from harness.commands.checks import check_study
from harness.commands.job import HydraJob
from harness.commands.study import led_study
from harness.config import Config, ConfirmConfig
from harness.config.processes import launched_process_group


def run(job: HydraJob) -> None:
    """Go on with the study, whatever is left of its search, and confirm it."""
    from harness.cluster.study_folder import load_study

    config = _confirming(load_study(job.config.results, job.config.study), job.config)
    started = launched_process_group(config)
    check_study(config)
    with led_study(config, started) as folder:
        if folder is not None:
            from harness.cluster.launchers.registry import launcher_of

            launcher_of(config).run(config, folder)


def _confirming(study: Config, asked: Config) -> Config:
    """The study's own configuration, with what this command says of seeds, margin, launcher and tracking."""
    assert study.sweep is not None
    known = study.sweep.confirm or ConfirmConfig()
    confirm = dataclasses.replace(
        known, top=asked.top or known.top, seeds=asked.seeds or known.seeds, margin=asked.margin or known.margin
    )
    sweep = dataclasses.replace(study.sweep, confirm=confirm)
    return dataclasses.replace(study, run="study", sweep=sweep, launch=asked.launch, tracking=asked.tracking)
