"""Worker processes on this machine.

The command that starts them may be closed and started again: it finds the workers that run by their heartbeats.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from harness.cluster.assignments import search_schedule
from harness.cluster.database import storage_address, storage_kind
from harness.cluster.launchers.worker_command import worker_command
from harness.cluster.monitor import StudyStatus, study_status
from harness.cluster.worker_table import WorkerTable
from harness.config import Config, ConfigError
from harness.config.launch import LocalConfig
from harness.devices import resolve_device
from harness.system.cores import free_cores, usable_cores
from harness.system.out_of_memory import free_memory
from harness.system.processes import ForeignProcess, Process, stop_all
from harness.system.signals import Interrupted, on_second_interrupt, raise_if_stop_requested
from harness.system.study_files import CONFIG
from harness.trial.adapt import base_parameters

_POLL_S = 0.5
_STOP_S = 20.0
_KILLED = 5  # times that each worker is killed without a new record; a trial that causes it fails before
# What a worker on a CPU is taken to need: what it imports and computes in, and of each weight of its base four numbers
# (itself, its gradient and the two moments of AdamW), as full fine-tuning does.
_WORKER_BYTES, _BYTES_A_WEIGHT = 2 * 2**30, 4 * 4

log = logging.getLogger(__name__)


def settle(config: Config) -> Config:
    """With a number in place of launch.workers=auto: the workers that gain something by running side by side here.

    On GPUs as many as launch.per_gpu allows. On a CPU one for each core that is idle now or has a worker of the study,
    as far as the memory goes: workers of one thread each do more than one worker of as many threads. Never more than
    the trials, or packs of them, that can begin at once. Their threads hang on the machine and the study alone, not on
    what is idle: the same study is begun, and gone on with, with the same.
    """
    launch = _settings(config)
    if launch.workers != "auto":
        return config
    assert config.sweep is not None
    slots = search_schedule(config.sweep)
    at_once = -(-sum(slot.arm.may_begin(slot.index, 0) for slot in slots) // launch.pack)
    on_gpus = resolve_device(config.trainer.accelerator, config.trainer.devices).type == "cuda"
    here = [(len(_gpus()) * launch.per_gpu, "the GPUs")] if on_gpus else _on_cores(config)
    rooms = [(at_once, "the trials that can begin at once"), *here]
    if storage_kind(storage_address()) == "sqlite":
        rooms.append((1, "HARNESS_STORAGE, which is SQLite"))
    found, why = min(rooms)
    log.info("launch.workers=auto: %d, by %s", found, why)
    config = replace(config, launch=replace(launch, workers=found))
    if on_gpus or config.trainer.threads is None:
        return config
    threads = min(config.trainer.threads, max(1, usable_cores() // at_once))
    return replace(config, trainer=replace(config.trainer, threads=threads))


def _on_cores(config: Config) -> list[tuple[int, str]]:
    """Return how many workers fit the cores and the memory, those of the study that already run included."""
    there = _running(config)
    need = _WORKER_BYTES + _BYTES_A_WEIGHT * base_parameters(config) * config.launch.pack
    memory = f"memory, {need / 2**30:.1f} GiB each"
    return [(there + free_cores(there), "the cores that are idle"), (max(1, there + free_memory() // need), memory)]


def _running(config: Config) -> int:
    """Return how many workers of the study already run on this machine."""
    folder = Path(config.results) / config.study
    if not (folder / CONFIG).exists():
        return 0
    workers = study_status(config, folder).workers.values()
    return sum(beat.get("host") == socket.gethostname() for beat in workers)


def check(config: Config) -> None:
    """Refuse more workers than the GPUs take. Raises ConfigError."""
    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    workers, each, gpus = config.launch.worker_count, _settings(config).per_gpu, len(_gpus())
    if device.type == "cuda" and workers > each * gpus:
        raise ConfigError(
            f"launch.workers={workers}: there are {gpus} GPUs, with launch.per_gpu={each} workers each; "
            f"launch.per_gpu={-(-workers // gpus)} shares them, trainer.accelerator=cpu runs without"
        )


def run(config: Config, folder: Path) -> None:
    """Keep `launch.workers` workers running, those of an earlier command included, until the study is done."""
    gpus = _gpus() if resolve_device(config.trainer.accelerator, 1).type == "cuda" else []
    pool = LocalWorkerPool(worker_command(config.results, config.study), folder, config.launch.worker_count, gpus)
    with closing(WorkerTable(config, folder)) as table:
        on_second_interrupt(lambda: pool.stop(signal.SIGKILL, 0))
        try:
            while not _finished(status := table.update(), pool.started):
                pool.count_foreign(status)  # they are to be stopped, too
                raise_if_stop_requested()
                if status.done < status.total:
                    pool.replenish(status)
                time.sleep(_POLL_S)
        except Interrupted as stop:
            pool.stop(stop.exit_code - 128, _STOP_S)
            raise
        except RuntimeError:
            pool.stop(signal.SIGTERM, _STOP_S)
            raise


def _settings(config: Config) -> LocalConfig:
    return cast(LocalConfig, config.launch)  # the registry calls this module for launch=local only


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]


class LocalWorkerPool:
    """The workers of this machine: those that this command started, and those that an earlier one started."""

    def __init__(self, argv: Sequence[str], folder: Path, workers: int, gpus: Sequence[str]) -> None:
        self._threads = str(max(1, usable_cores() // workers))
        self._argv, self._folder, self._workers, self._gpus = argv, folder, workers, gpus
        self.started: list[Process] = []
        self._foreign: dict[int, ForeignProcess] = {}
        self._gpus_of: dict[int, str] = {}  # by process id
        self._done, self._killed_before = 0, 0

    def replenish(self, status: StudyStatus) -> None:
        """Start the workers that are missing. One that failed is not replaced, one that was killed is.

        Raises RuntimeError where they are killed again and again, and no trial ends.
        """
        killed = [process for process in self.started if (process.code or 0) < 0]
        if status.done != self._done:
            self._done, self._killed_before = status.done, len(killed)
        if len(killed) - self._killed_before > _KILLED * self._workers:
            raise RuntimeError(f"workers are killed again and again, the last after: {killed[-1].last_line()}")
        for _ in range(len(self.started) - len(killed) + self.count_foreign(status), self._workers):
            self._start()

    def stop(self, signum: int, within_s: float) -> None:
        """Stop all of them."""
        stop_all([*self.started, *self._foreign.values()], signum, within_s)

    def count_foreign(self, status: StudyStatus) -> int:
        """The number of workers that others started. One that restarts itself has no heartbeat for a moment."""
        own = {process.pid for process in self.started}
        local = [beat for beat in status.workers.values() if beat.get("host") == socket.gethostname()]
        beats = {beat["pid"]: beat for beat in local if beat["pid"] not in own}
        self._gpus_of |= {pid: beat.get("gpus", "") for pid, beat in beats.items()}
        known = self._foreign | {pid: ForeignProcess(pid, beat.get("started")) for pid, beat in beats.items()}
        self._foreign = {pid: process for pid, process in known.items() if pid in beats or process.code is None}
        return len(status.workers) - len(local) + len(self._foreign)

    def _start(self) -> None:
        gpu = self._free_gpu()
        environment = {"OMP_NUM_THREADS": self._threads, "CUDA_VISIBLE_DEVICES": gpu}
        log_file = self._folder / "workers" / f"{len(self.started):02d}-{os.getpid()}.log"
        self.started.append(Process(self._argv, environment, log_file))
        self._gpus_of[self.started[-1].pid] = gpu

    def _free_gpu(self) -> str:
        """The first GPU that no worker has; where all are taken, one that the fewest workers have."""
        running = [process.pid for process in self.started if process.code is None]
        taken = [gpu for pid in (*running, *self._foreign) for gpu in self._gpus_of[pid].split(",")]
        return min(self._gpus, key=taken.count, default="")


def _finished(status: StudyStatus, started: Sequence[Process]) -> bool:
    """Return whether the study is done. Raises RuntimeError if no worker is left to continue it."""
    running = any(process.code is None for process in started)
    if status.done == status.total:
        return not running
    failed = [process for process in started if (process.code or 0) > 0]
    if failed and not running and not status.workers:
        raise RuntimeError(f"all workers ended, the last with: {failed[-1].last_line()}")
    return False
