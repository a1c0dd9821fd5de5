"""Launchers of a study's workers."""

from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, Count, Natural, Positive, Text


class Launch:
    """The interface of launchers. `pack` is how many trials a worker trains at once."""

    extra: ClassVar[str | None] = None
    """The extra of pyproject.toml that it needs."""
    in_this_process: ClassVar[bool] = False
    """Whether the command itself is the worker."""
    trains_remotely: ClassVar[bool] = False
    """Whether workers run on machines that this one knows nothing about."""
    shares_cores: ClassVar[bool] = False
    """Whether its workers share the cores of this machine."""
    process_each_device: ClassVar[bool] = False
    """Whether it starts a process for each device of a worker's trials."""

    @property
    def worker_count(self) -> int:
        """The number of workers; one if that is yet to be settled."""
        raise NotImplementedError


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class HereConfig(Launch):
    """One worker, in this process."""

    in_this_process = True

    name: Literal["here"]
    lease_s: Positive
    pack: Count = 1

    @property
    def worker_count(self) -> int:
        return 1


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class LocalConfig(Launch):
    """Worker processes on this machine."""

    shares_cores = True

    name: Literal["local"]
    lease_s: Positive
    pack: Count = 1
    workers: Count | Literal["auto"]
    per_gpu: Count = 1

    @property
    def worker_count(self) -> int:
        return 1 if self.workers == "auto" else self.workers


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SlurmConfig(Launch):
    """An array of SLURM jobs, one a worker, with the GPUs, cores, memory and minutes of each.

    SLURM signals a job `signal_s` seconds before its time is up.
    """

    extra = "cluster"
    trains_remotely = True
    process_each_device = True

    name: Literal["slurm"]
    lease_s: Positive
    pack: Count = 1
    workers: Count
    partition: Text | None
    gpus: Natural
    cpus: Count
    memory_gb: Count
    minutes: Count
    signal_s: Count

    @property
    def worker_count(self) -> int:
        return self.workers


LaunchConfig = HereConfig | LocalConfig | SlurmConfig
