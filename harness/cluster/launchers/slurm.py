"""Workers as an array of SLURM jobs, on any number of machines.

The command that queues them may be closed and started again: it finds its jobs by the ids in `jobs.json`.
"""

import json
import logging
import shutil
import time
from contextlib import closing
from pathlib import Path
from typing import cast

from harness.cluster.database import storage_address, storage_kind
from harness.cluster.launchers.slurm_jobs import Resources, submit, waiting_or_running
from harness.cluster.launchers.worker_command import worker_command
from harness.cluster.worker_table import WorkerTable
from harness.config import Config, ConfigError, SlurmConfig
from harness.system.jsonl import replace_text
from harness.system.signals import raise_if_stop_requested

log = logging.getLogger(__name__)

_JOBS = "jobs.json"
_POLL_S = 5.0
_FRUITLESS = 5  # times that jobs are queued again without a new record or a trial requeued with its checkpoint


def check(config: Config) -> None:
    """Refuse what SLURM cannot run: GPUs that do not match the devices, no shared database, no sbatch.

    Raises ConfigError.
    """
    devices, gpus = config.trainer.devices, _settings(config).gpus
    if gpus not in (0, devices) and devices > 1 and config.trainer.accelerator != "cpu":
        raise ConfigError(
            f"launch.gpus={gpus}: a trial has trainer.devices={devices}, each with a GPU of its own; "
            f"launch.gpus={devices}"
        )
    if storage_kind(storage_address()) != "postgresql":
        raise ConfigError(
            "launch=slurm: workers may be on several machines, which share no kernel locks; set "
            "HARNESS_STORAGE=postgresql://USER:PASSWORD@HOST/NAME"
        )
    if shutil.which("sbatch") is None:
        raise ConfigError("launch=slurm: there is no sbatch here; launch=local runs workers on this machine")


def run(config: Config, folder: Path) -> None:
    """Queue the workers that are not queued or running yet, and watch until the study is done.

    Raises RuntimeError where jobs end again and again and no trial advances.
    """
    path, resources = folder / _JOBS, _resources(config)
    fruitless, progress = 0, (-1, 0)
    with closing(WorkerTable(config, folder)) as table:
        while (status := table.update()).done < status.total:
            raise_if_stop_requested()
            queued = waiting_or_running(_read_jobs(path))
            if missing := max(0, min(config.launch.worker_count, status.total - status.done) - len(queued)):
                before, progress = progress, (status.done, status.interrupted)
                fruitless = fruitless + 1 if progress == before else 0
                if fruitless > _FRUITLESS:
                    raise RuntimeError(f"jobs end and no trial is recorded; they wrote to {folder / 'slurm'}")
                raise_if_stop_requested()
                new = submit(
                    worker_command(config.results, config.study), missing, resources, folder / "slurm", config.study
                )
                log.info("queued %s", ", ".join(new))
                replace_text(path, json.dumps([*queued, *new]))
            time.sleep(_POLL_S)


def _settings(config: Config) -> SlurmConfig:
    return cast(SlurmConfig, config.launch)  # the registry calls this module for launch=slurm only


def _resources(config: Config) -> Resources:
    settings = _settings(config)
    return Resources(
        tasks=config.trainer.devices,
        partition=settings.partition,
        gpus=settings.gpus,
        cpus=settings.cpus,
        memory_gb=settings.memory_gb,
        minutes=settings.minutes,
        signal_s=settings.signal_s,
    )


def _read_jobs(path: Path) -> list[str]:
    """The ids of the jobs that were queued. Raises RuntimeError for a file that does not hold them."""
    try:
        known = json.loads(path.read_text()) if path.exists() else []
    except ValueError:
        known = None
    if not isinstance(known, list):
        raise RuntimeError(f"{path} is torn: remove it when squeue shows no job of this study (scancel ends them)")
    return [str(job) for job in known]
