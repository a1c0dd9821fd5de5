"""The processes of one trial: which of them this one is, and whether they were all started."""

import dataclasses
import os
from typing import Literal

from harness.config.schema import SHAPES_ALONE, Config
from harness.config.tree import ConfigError


@dataclasses.dataclass(frozen=True)
class ProcessInfo:
    """This process in its launch: its index, all processes, its index on this machine, all machines."""

    process_index: int
    world: int
    local: int
    nodes: int
    by: Literal["", "torchrun", "srun"]


def process_info() -> ProcessInfo:
    """The launch by torchrun or srun that this process is part of; a single process where neither started it."""
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        world, on_node = int(told["WORLD_SIZE"]), int(told["LOCAL_WORLD_SIZE"])
        return ProcessInfo(int(told["RANK"]), world, int(told["LOCAL_RANK"]), world // on_node, "torchrun")
    # Only a step has this; a batch script alone has a process number too, but no others beside it.
    world = int(told.get("SLURM_STEP_NUM_TASKS", "1"))
    if world > 1 and "SLURM_PROCID" in told:
        nodes = int(told.get("SLURM_STEP_NUM_NODES", "1"))
        return ProcessInfo(int(told["SLURM_PROCID"]), world, int(told["SLURM_LOCALID"]), nodes, "srun")
    return ProcessInfo(0, 1, 0, 1, "")


def launched_process_group(config: Config) -> ProcessInfo | None:
    """The processes that share every trial of this command, where they were all started before it.

    Raises ConfigError where they are not as many as the devices of a trial, and where a study would have to start
    them: each would then draw trials of its own. Tasks of srun that run trials on one device each share none.
    """
    found, devices = process_info(), config.trainer.devices
    if config.run == "study" and devices > 1 and not config.launch.in_this_process:
        _check_launched(config, found)
        return None
    if found.world == devices > 1:
        return found
    if found.by == "torchrun" or (found.by and devices > 1):
        raise ConfigError(f"trainer.devices={devices}: {found.by} started {found.world} processes, one a device")
    if devices > 1 and config.run not in ("trial", "report", *SHAPES_ALONE):
        raise ConfigError(
            f"trainer.devices={devices}: all processes of a study are started first, by torchrun --nproc-per-node "
            f"{devices} -m harness, or by srun --ntasks={devices} python -m harness"
        )
    return None


def trains_remotely(config: Config) -> bool:
    """Return whether this command trains nothing itself and knows nothing of the machines that do."""
    return config.run == "study" and config.launch.trains_remotely


def _check_launched(config: Config, found: ProcessInfo) -> None:
    """Workers that are started by this command: SLURM starts all processes of each."""
    if not config.launch.process_each_device:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices}: launch={config.launch.name} starts a process for each worker, "
            "not one for each device; launch=slurm does, or launch=here with all of them started first, by torchrun or "
            "srun"
        )
    if found.world > 1:
        raise ConfigError(f"launch={config.launch.name}: one process queues the jobs; {found.by} started {found.world}")
