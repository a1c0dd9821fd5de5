"""Where the workers of a study run."""

from typing import Literal

from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, Count, Natural, Positive, Text


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class HereConfig:
    """One worker, in this process."""

    name: Literal["here"]
    lease_s: Positive

    @property
    def workers(self) -> int:
        return 1


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class LocalConfig:
    """Worker processes on this machine."""

    name: Literal["local"]
    lease_s: Positive
    workers: Count


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class SlurmConfig:
    """An array of SLURM jobs, one a worker, with the GPUs, cores, memory and minutes of each.

    SLURM signals a job `signal_s` seconds before its time is up.
    """

    name: Literal["slurm"]
    lease_s: Positive
    workers: Count
    partition: Text | None
    gpus: Natural
    cpus: Count
    memory_gb: Count
    minutes: Count
    signal_s: Count


LaunchConfig = HereConfig | LocalConfig | SlurmConfig
