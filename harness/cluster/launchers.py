"""The workers of a study, wherever they run, and what a person sees of them.

The command that starts them may be closed and started again: they are found by their signs of life, and by their jobs.
"""

import json
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from harness.cluster import REPLACED, StudyMonitor, StudyStatus, WorkerUnhealthy, join
from harness.cluster.assignments import CLAIMS
from harness.cluster.database import storage_address
from harness.cluster.display import outcome
from harness.cluster.storage import storage_kind
from harness.config import Config, ConfigError, HereConfig, LocalConfig, SlurmConfig
from harness.devices import resolve_device
from harness.system.jsonl import JsonlLog, replace_text
from harness.system.processes import ForeignProcess, Process, Resources, stop_all, submit, waiting_or_running
from harness.system.signals import Interrupted, on_second_interrupt, raise_if_stop_requested
from harness.trial import tracking

log = logging.getLogger(__name__)

_JOBS = "jobs.json"
_LOOK_S = 0.5
_STOP_S = 20.0
_ASK_SLURM_S = 5.0
_KILLED = 5  # times that each worker is killed without a new record; a trial that does it is given up before
_IN_VAIN = 5  # times that jobs are queued again without a new record or a trial put back with its checkpoint


def run_workers(config: Config, folder: Path) -> None:
    """Have every trial of the study run, and return when all of them have a record.

    Raises Interrupted when a stop was asked for; workers of this machine are stopped first, SLURM's go on.
    """
    match config.launch:
        case HereConfig():
            with join(config, folder) as worker:
                worker.work()
        case LocalConfig(workers=workers):
            _run_local(config, folder, workers)
        case SlurmConfig():
            _run_slurm(config, folder, config.launch)


@contextmanager
def restart_when_unhealthy(config: Config) -> Iterator[None]:
    """Inside, a worker that is worn out is replaced: the same command starts again in this process, nothing is lost.

    A process that shares its trials with others ends instead, and so do they.
    """
    try:
        yield
    except WorkerUnhealthy as worn:
        if config.trainer.devices > 1:
            raise
        log.warning("study %s: this worker replaced itself because of %s", config.study, worn)
        tracking.close()
        os.environ[REPLACED] = f"{os.environ.get(REPLACED, '')} {config.study}".strip()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  as this process was started


def command(config: Config) -> list[str]:
    """What starts one more worker of a study."""
    results = str(Path(config.results).absolute()).replace("\\", "\\\\").replace("'", "\\'")
    return [sys.executable, "-m", "harness", "run=worker", f"study={config.study}", f"results='{results}'"]


def check_launch(config: Config) -> None:
    """Say what cannot be launched before anything is made. Raises ConfigError."""
    devices, gpus = config.trainer.devices, getattr(config.launch, "gpus", 0)
    if gpus not in (0, devices) and devices > 1 and config.trainer.accelerator != "cpu":
        raise ConfigError(
            f"launch.gpus={gpus}: a trial has trainer.devices={devices}, each with a GPU of its own; "
            f"launch.gpus={devices}"
        )
    if isinstance(config.launch, SlurmConfig):
        if storage_kind(storage_address()) != "postgresql":
            raise ConfigError(
                "launch=slurm: workers may be on several machines, which share no kernel locks; set "
                "HARNESS_STORAGE=postgresql://USER:PASSWORD@HOST/NAME"
            )
        if shutil.which("sbatch") is None:
            raise ConfigError("launch=slurm: there is no sbatch here; launch=local runs workers on this machine")
    if isinstance(config.launch, LocalConfig):
        device = resolve_device(config.trainer.accelerator, config.trainer.devices)
        if device.type == "cuda" and config.launch.workers > len(_gpus()):
            raise ConfigError(
                f"launch.workers={config.launch.workers}: a worker has a GPU of its own, and there are {len(_gpus())}; "
                "trainer.accelerator=cpu runs without"
            )


def _gpus() -> list[str]:
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]


class LocalWorkerPool:
    """The workers of this machine: those that this command started, and those of an earlier one, which it found."""

    def __init__(self, argv: Sequence[str], folder: Path, workers: int, gpus: Sequence[str]) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = str(max(1, cores // workers))
        self._argv, self._folder, self._workers, self._gpus = argv, folder, workers, gpus
        self.started: list[Process] = []
        self._found: dict[int, ForeignProcess] = {}
        self._sees: dict[int, str] = {}  # the GPUs of each process
        self._done, self._killed_before = 0, 0

    def keep(self, standing: StudyStatus) -> None:
        """Start those that are missing. One that failed is not replaced, one that was killed is.

        Raises RuntimeError where they are killed again and again, and no trial ends.
        """
        killed = [process for process in self.started if (process.code or 0) < 0]
        if standing.done != self._done:
            self._done, self._killed_before = standing.done, len(killed)
        if len(killed) - self._killed_before > _KILLED * self._workers:
            raise RuntimeError(f"workers are killed again and again, the last after: {killed[-1].last_words()}")
        for _ in range(len(self.started) - len(killed) + self.others(standing), self._workers):
            self._start()

    def stop(self, signum: int, within_s: float) -> None:
        """End all of them."""
        stop_all([*self.started, *self._found.values()], signum, within_s)

    def others(self, standing: StudyStatus) -> int:
        """How many are there that others started. One that replaces itself gives no sign for a moment."""
        own = {process.pid for process in self.started}
        near = [sign for sign in standing.workers.values() if sign.get("host") == socket.gethostname()]
        signs = {sign["pid"]: sign for sign in near if sign["pid"] not in own}
        self._sees |= {pid: sign.get("gpus", "") for pid, sign in signs.items()}
        known = self._found | {pid: ForeignProcess(pid, sign.get("started")) for pid, sign in signs.items()}
        self._found = {pid: stranger for pid, stranger in known.items() if pid in signs or stranger.code is None}
        return len(standing.workers) - len(near) + len(self._found)

    def _start(self) -> None:
        mine = self._free_gpu()
        extra = {"OMP_NUM_THREADS": self._threads, "CUDA_VISIBLE_DEVICES": mine}
        log_file = self._folder / "workers" / f"{len(self.started):02d}-{os.getpid()}.log"
        self.started.append(Process(self._argv, extra, log_file))
        self._sees[self.started[-1].pid] = mine

    def _free_gpu(self) -> str:
        """The first that no worker has; where others have them all, one that the fewest have."""
        running = [process.pid for process in self.started if process.code is None]
        taken = [gpu for pid in (*running, *self._found) for gpu in self._sees[pid].split(",")]
        return min(self._gpus, key=taken.count, default="")


def _run_local(config: Config, folder: Path, workers: int) -> None:
    """Keep so many workers going, those of an earlier command included, until the study is done."""
    gpus = _gpus() if resolve_device(config.trainer.accelerator, 1).type == "cuda" else []
    crew = LocalWorkerPool(command(config), folder, workers, gpus)
    with closing(WorkerTable(config, folder)) as board:
        on_second_interrupt(lambda: crew.stop(signal.SIGKILL, 0))
        try:
            while not _settled(standing := board.show(), crew.started):
                crew.others(standing)  # they are to be stopped, too
                raise_if_stop_requested()
                if standing.done < standing.total:
                    crew.keep(standing)
                time.sleep(_LOOK_S)
        except Interrupted as stop:
            crew.stop(stop.exit_code - 128, _STOP_S)
            raise
        except RuntimeError:
            crew.stop(signal.SIGTERM, _STOP_S)
            raise


def _settled(standing: StudyStatus, started: Sequence[Process]) -> bool:
    """Whether the study is done. Raises RuntimeError where nobody is left to go on with it."""
    running = any(process.code is None for process in started)
    if standing.done == standing.total:
        return not running
    failed = [process for process in started if (process.code or 0) > 0]
    if failed and not running and not standing.workers:
        raise RuntimeError(f"all workers ended, the last with: {failed[-1].last_words()}")
    return False


def _run_slurm(config: Config, folder: Path, settings: SlurmConfig) -> None:
    """Queue the workers that are not queued or running yet, and watch until the study is done."""
    path = folder / _JOBS
    resources = Resources(
        tasks=config.trainer.devices,
        partition=settings.partition,
        gpus=settings.gpus,
        cpus=settings.cpus,
        memory_gb=settings.memory_gb,
        minutes=settings.minutes,
        signal_s=settings.signal_s,
    )
    in_vain, progress = 0, (-1, 0)
    claims, back = JsonlLog(folder / CLAIMS), 0
    with closing(WorkerTable(config, folder)) as board:
        while (standing := board.show()).done < standing.total:
            raise_if_stop_requested()
            there = waiting_or_running(_read_jobs(path))
            if missing := max(0, min(settings.workers, standing.total - standing.done) - len(there)):
                back += sum(line["event"] == "back" and "why" not in line for line in claims.new())
                before, progress = progress, (standing.done, back)
                in_vain = in_vain + 1 if progress == before else 0
                if in_vain > _IN_VAIN:
                    raise RuntimeError(f"jobs end and no trial is recorded; they wrote to {folder / 'slurm'}")
                raise_if_stop_requested()
                new = submit(command(config), missing, resources, folder / "slurm", config.study)
                log.info("queued %s", ", ".join(new))
                replace_text(path, json.dumps([*there, *new]))
            time.sleep(_ASK_SLURM_S)


def _read_jobs(path: Path) -> list[str]:
    """The ids of the jobs that were queued. Raises RuntimeError for a file that does not say them."""
    try:
        known = json.loads(path.read_text()) if path.exists() else []
    except ValueError:
        known = None
    if not isinstance(known, list):
        raise RuntimeError(f"{path} is torn: remove it when squeue shows no job of this study (scancel ends them)")
    return [str(job) for job in known]


class WorkerTable:
    """What a person sees of all workers: a line for each trial that ended, and on a terminal a table that is alive."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._lookout = StudyMonitor(config, folder)
        self._told: set[tuple[int, int]] | None = None
        self._height = 0

    def show(self) -> StudyStatus:
        """Look, and show what is new."""
        standing = self._lookout.look()
        records = self._lookout.log.records
        news = [entry for entry in records if self._told is not None and (entry.trial, entry.attempt) not in self._told]
        first = self._told is None
        self._told = {(entry.trial, entry.attempt) for entry in records}
        lines = [f"trial {entry.trial:3d} {entry.arm:24} {outcome(entry)}" for entry in news]
        table = standing.lines() if first or sys.stderr.isatty() else []
        if lines or table:
            back = f"\x1b[{self._height}F\x1b[J" if self._height else ""
            with suppress(OSError):  # nobody looks any more; the workers go on
                print(back + "\n".join(lines + table), file=sys.stderr, flush=True)
        self._height = len(table) if sys.stderr.isatty() else 0
        return standing

    def close(self) -> None:
        """Look no more."""
        self._lookout.close()
