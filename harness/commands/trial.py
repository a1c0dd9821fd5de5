"""run=trial: one trial, its record on standard output."""

import logging

from harness.commands.checks import check_runnable, refuse_study_folder, with_data
from harness.commands.devices import leading, one_process_each
from harness.commands.failures import leave
from harness.commands.job import HydraJob
from harness.config.preflight import validate_before_import
from harness.config.processes import launched_process_group

log = logging.getLogger(__name__)


def run(job: HydraJob) -> None:
    """Train what is configured, or look up the trial that was; exits with 70 where it failed."""
    launched_process_group(job.config)
    validate_before_import(job.config)
    check_runnable(job.config)
    from harness.trial.idle_settings import check_idle_settings

    check_idle_settings(job.config)
    refuse_study_folder(job.config.results, job.config.study)
    from harness.cluster.single import TrialProgress, join_single
    from harness.record import find_complete, looked_up, to_json
    from harness.system.signals import graceful_stop
    from harness.trial.adapt import count, method_of
    from harness.trial.fastest import settled
    from harness.trial.fingerprints import environment_of, fingerprint_of
    from harness.trial.run import run_trial
    from harness.trial.tracking import sync_hint

    method = method_of(job.config)
    count(job.config, method)  # on shapes alone, before data and weights are fetched
    config = with_data(job.config, job.words)
    if config is not job.config:
        method = method_of(config)
    config = settled(config)
    with one_process_each(config), leading(config, launched_process_group(config)) as leads:
        if not leads:
            return
        fingerprint = fingerprint_of(config)  # data and weights are read and checked before anything is made
        with join_single(config) as worker:
            record = find_complete(worker.log.records, fingerprint)
            if record is not None:
                told = looked_up(record, environment_of(config))
                log.info("trial %d has the same configuration: %s", record.trial, told)
                print(to_json(record, indent=2))
                return
            with graceful_stop():
                for attempt in worker.attempts(TrialProgress()):
                    with worker.requeued_on_error(attempt):
                        run_trial(attempt.config, attempt.context, attempt.report, attempt.accept, method)
                    break  # this process ends with its trial, whatever became of it
            record = worker.log.get(worker.slots[0].number)
            assert record is not None
            print(to_json(record, indent=2))
            if hint := sync_hint(worker.folder):
                log.info("W&B runs are offline; to upload them: %s", hint)
            if record.state == "fail":
                leave(70, f"trial {record.trial} failed: {record.reason}")
