"""run=study: search, table, pictures."""

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness import record
from harness.commands.checks import check_runnable, check_study, with_data
from harness.commands.devices import leading
from harness.commands.importance import write_importances
from harness.commands.job import HydraJob, key_of
from harness.config import Config
from harness.config.former import as_begun
from harness.config.preflight import validate_before_import
from harness.config.processes import ProcessInfo, launched_process_group
from harness.record import Data
from harness.system.cores import usable_cores
from harness.system.study_files import has_begun

log = logging.getLogger(__name__)


def run(job: HydraJob) -> None:
    """Run every trial of the study that has no record yet, and print its report."""
    named = [key_of(word) for word in job.words]
    asked = as_begun(job.config, named)
    started = launched_process_group(asked)
    validate_before_import(asked)
    from harness.search.checks import check_search

    check_search(asked)
    if asked.task.fallback is None:  # which may be what was trained on
        from harness.cluster.history import read_history

        read_history(asked)
    check_runnable(asked)
    if not has_begun(job.study_folder):  # as it was begun, it goes on
        from harness.trial.idle_settings import check_idle_settings

        check_idle_settings(asked)
    from harness.cluster.study import with_kept_confirmation
    from harness.trial.fastest import settled
    from harness.trial.layer_ranks import with_rank_groups
    from harness.trial.profiles import with_profiles
    from harness.trial.searched_ranks import with_prices

    with_groups = with_rank_groups(asked, before_data=True)
    check_search(with_groups)
    check_study(with_groups)
    config = settled(with_kept_confirmation(with_rank_groups(as_begun(with_data(asked, job.words), named))))
    config = with_profiles(with_prices(config))
    if config.sweep is not None and config.sweep.profiles is not None:
        check_study(config)
    with led_study(config, started) as run_trials:
        run_trials()


@contextmanager
def led_study(config: Config, started: ProcessInfo | None) -> Iterator[Callable[[], None]]:
    """Open the study in the leading process and yield the function that runs its trials with the launcher's workers.

    In processes that have taken part in all of its trials it does nothing.
    """
    from harness.cluster.launchers.registry import launcher_of

    launcher = launcher_of(config)
    config = launcher.settle(config)
    with leading(config, started) as leads:
        if not leads:
            yield lambda: None
            return
        with opened_study(config) as folder:
            yield partial(launcher.run, config, folder)


@contextmanager
def opened_study(config: Config) -> Iterator[Path]:
    """Begin the study or take it up; inside, its trials are run, and in the end its report is printed."""
    from harness.cluster.restart import restart_when_unhealthy
    from harness.cluster.study import begin_study, input_identity
    from harness.report import report_for_terminal
    from harness.search.notices import notices
    from harness.system.signals import graceful_stop
    from harness.trial.tracking import publish, sync_hint

    found = input_identity(config)  # data and weights are read and checked before anything is made
    log_expected_power(config)
    for notice in notices(config, on_cpu=found.get("device") == "cpu"):
        log.warning("WARNING: %s", notice)
    folder = begin_study(sharing_cores(config))
    with restart_when_unhealthy(config.study, config.trainer.devices), graceful_stop():
        yield folder
    write_importances(folder)
    print(report_for_terminal(folder, shutil.get_terminal_size().columns))
    publish(config.tracking, config.study, record.read(folder), folder)
    if hint := sync_hint(folder):
        log.info("W&B runs are offline; to upload them: %s", hint)


def sharing_cores(config: Config) -> Config:
    """With no more threads for each worker than its share of this machine's cores, where workers share them."""
    asked, workers, cores = config.trainer.threads, config.launch.worker_count, usable_cores()
    share = max(1, cores // workers)
    if not config.launch.shares_cores or asked is None or asked <= share:
        return config
    log.info("%d workers share %d cores: threads of each %d, in place of %d", workers, cores, share, asked)
    return dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, threads=share))


def log_expected_power(config: Config) -> None:
    """Log which differences the confirmation could find, before it costs anything."""
    assert config.sweep is not None
    confirm = config.sweep.confirm
    if confirm is None or confirm.seeds < 3 or config.trainer.objective != "accuracy":
        return
    from harness.cluster.assignments import confirmed_arms
    from harness.report.planning import SPREADS, difference_found
    from harness.task import build_task

    arms, items = confirmed_arms(config.sweep), Data.of(build_task(config.task).describe()).rows["test"]
    if arms < 2:
        return
    said = ", and ".join(
        f"{100 * difference_found(arms, confirm.seeds, items, run_sd=spread):.1f} points, if runs spread by "
        f"{100 * spread:.1f} points over seeds ({where})"
        for where, spread in SPREADS.items()
    )
    log.info(
        "confirmation: %d arms, %d seeds, %s test rows. The difference with a power of 80 %% is at least %s.",
        *(arms, confirm.seeds, f"{items:,}", said),
    )
