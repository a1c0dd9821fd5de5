"""Start commands as processes of this machine or as SLURM jobs. What the commands do is not known here."""

import contextlib
import dataclasses
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class Process:
    """A command in a session of its own: it lives on when who started it ends, and Ctrl-C does not reach it twice."""

    def __init__(self, argv: Sequence[str], extra: Mapping[str, str], log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                list(argv),
                env=os.environ | dict(extra),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the command, and of its session."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; nothing while it runs."""
        return self._process.poll()

    def stop(self, signum: int) -> None:
        """Ask it to end."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)

    def last_words(self) -> str:
        """The last line it wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else ""


def started_at(pid: int) -> int | None:
    """When a process of this machine was started, in ticks since the machine was; nothing where that cannot be known.

    With its number it names a process for good: numbers are given again.
    """
    stat = _stat(pid)
    return int(stat[19]) if stat else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on (proc(5)); none where there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class ForeignProcess:
    """A process of this machine that another command started, and when it did, as `started_at` says."""

    def __init__(self, pid: int, started: int | None) -> None:
        self._pid, self._started = pid, started

    @property
    def code(self) -> int | None:
        """0 once it is gone, however it ended; nothing while it runs."""
        try:
            os.kill(self._pid, 0)
        except (ProcessLookupError, PermissionError):  # another user's is none of ours
            return 0
        stat = _stat(self._pid)
        if not stat:
            return None
        ended = stat[0] == "Z"  # it stays in the table until who started it looks
        return 0 if ended or self._started not in (None, int(stat[19])) else None

    def stop(self, signum: int) -> None:
        """Ask it to end."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._pid, signum)


def stop_all(processes: Sequence[Process | ForeignProcess], signum: int, within_s: float) -> None:
    """Ask all to end, wait, and kill what is still there."""
    for process in processes:
        process.stop(signum)
    until = time.monotonic() + within_s
    while any(process.code is None for process in processes) and time.monotonic() < until:
        time.sleep(0.05)
    for process in processes:
        process.stop(signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class Resources:
    """What each job of an array gets; the cores are those of each of its tasks, which run the command together."""

    tasks: int
    partition: str | None
    gpus: int
    cpus: int
    memory_gb: int
    minutes: int
    signal_s: int


class Job:
    """What a SLURM job runs: an argument vector. When its time is up or it is preempted, the job is queued again."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)

    def __call__(self) -> int:
        """Run the command; its own failure is the job's."""
        code = subprocess.run(self.argv, check=False).returncode
        told = (signal.SIGTERM, signal.SIGUSR2)
        if code not in (0, *(128 + signum for signum in told), *(-signum for signum in told)):
            raise subprocess.CalledProcessError(code, self.argv)
        return code

    def checkpoint(self) -> Any:
        """Called by submitit when the job was told to end: the command is told, too, and later the same again."""
        from submitit.helpers import DelayedSubmission

        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for child in map(int, children):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGTERM)
                os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Job(self.argv))


def submit(argv: Sequence[str], count: int, resources: Resources, folder: Path, name: str) -> list[str]:
    """Queue an array of jobs that run the same command each; returns their ids."""
    import submitit

    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=1_000_000)
    asked: dict[str, Any] = {
        "job_name": name,
        "array_parallelism": count,
        "time": resources.minutes,
        "cpus_per_task": resources.cpus,
        "mem": f"{resources.memory_gb}GB",
        "ntasks_per_node": resources.tasks,
        "signal_delay_s": resources.signal_s,
        "srun_args": [f"--cpus-per-task={resources.cpus}"],  # SLURM 22.05 and later do not hand it on
        "additional_parameters": {"requeue": True},
    }
    if resources.partition is not None:
        asked["partition"] = resources.partition
    if resources.gpus:
        asked["gpus_per_node"] = resources.gpus
    executor.update_parameters(**asked)
    with executor.batch():
        jobs = [executor.submit(Job(argv)) for _ in range(count)]
    return [str(job.job_id) for job in jobs]


def waiting_or_running(ids: Sequence[str]) -> list[str]:
    """Those of the jobs that SLURM has in its queue, waiting or running; all of them while it does not answer."""
    arrays = sorted({job.partition("_")[0] for job in ids})
    if not arrays:
        return []
    asked = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"]
    asked.append("--states=PENDING,RUNNING,SUSPENDED,COMPLETING,CONFIGURING,REQUEUED")
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:  # which means: ended so long ago that it is forgotten
        log.warning("squeue does not answer: %s", " ".join(done.stderr.split()) or f"it ended with {done.returncode}")
        return list(ids)
    there = set(done.stdout.split())
    return [job for job in ids if job in there]
