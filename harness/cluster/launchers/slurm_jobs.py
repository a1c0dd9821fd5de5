"""SLURM jobs, queued with submitit. This module imports neither torch nor the worker: every job imports it."""

import contextlib
import dataclasses
import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Resources:
    """The resources of each job of an array; `cpus` are the cores of each of its `tasks`, which share the command."""

    tasks: int
    partition: str | None
    gpus: int
    cpus: int
    memory_gb: int
    minutes: int
    signal_s: int


class Job:
    """A SLURM job that runs an argument vector. It is requeued when its time is up or it is preempted."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)

    def __call__(self) -> int:
        """Run the command. Raises CalledProcessError where it fails other than by a stop signal."""
        code = subprocess.run(self.argv, check=False).returncode
        stops = (signal.SIGTERM, signal.SIGUSR2)
        if code not in (0, *(128 + signum for signum in stops), *(-signum for signum in stops)):
            raise subprocess.CalledProcessError(code, self.argv)
        return code

    def checkpoint(self) -> Any:
        """Called by submitit when the job is to end: the command is signalled and waited for, and the job requeued."""
        from submitit.helpers import DelayedSubmission  # it comes with the extra cluster

        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for child in map(int, children):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGTERM)
                os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Job(self.argv))


def submit(argv: Sequence[str], count: int, resources: Resources, folder: Path, name: str) -> list[str]:
    """Queue an array of `count` jobs that each run the same command; returns their ids."""
    import submitit

    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=1_000_000)
    parameters: dict[str, Any] = {
        "job_name": name,
        "array_parallelism": count,
        "time": resources.minutes,
        "cpus_per_task": resources.cpus,
        "mem": f"{resources.memory_gb}GB",
        "ntasks_per_node": resources.tasks,
        "signal_delay_s": resources.signal_s,
        "srun_args": [f"--cpus-per-task={resources.cpus}"],  # srun of SLURM 22.05 and later does not inherit it
        "additional_parameters": {"requeue": True},
    }
    if resources.partition is not None:
        parameters["partition"] = resources.partition
    if resources.gpus:
        parameters["gpus_per_node"] = resources.gpus
    executor.update_parameters(**parameters)
    with executor.batch():
        jobs = [executor.submit(Job(argv)) for _ in range(count)]
    return [str(job.job_id) for job in jobs]


def waiting_or_running(ids: Sequence[str]) -> list[str]:
    """The jobs that wait or run in SLURM's queue; all of them while SLURM does not answer."""
    arrays = sorted({job.partition("_")[0] for job in ids})
    if not arrays:
        return []
    argv = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"]
    argv.append("--states=PENDING,RUNNING,SUSPENDED,COMPLETING,CONFIGURING,REQUEUED")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:  # it ended so long ago that SLURM has forgotten it
        log.warning("squeue does not answer: %s", " ".join(done.stderr.split()) or f"it ended with {done.returncode}")
        return list(ids)
    queued = set(done.stdout.split())
    return [job for job in ids if job in queued]
