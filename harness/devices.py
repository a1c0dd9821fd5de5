"""Which processes a trial runs in, and the device of each of them."""

import dataclasses
import os
from typing import TYPE_CHECKING, Literal

from harness.config import Config, ConfigError

if TYPE_CHECKING:  # how many processes there are is answered before torch is imported
    import torch


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process among those that were started together: its number, how many there are, on how many machines."""

    rank: int
    world: int
    local: int
    nodes: int
    by: Literal["", "torchrun", "srun"]


def ranks() -> Ranks:
    """What torchrun or srun says of this process; one alone where neither started it."""
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        world, on_node = int(told["WORLD_SIZE"]), int(told["LOCAL_WORLD_SIZE"])
        return Ranks(int(told["RANK"]), world, int(told["LOCAL_RANK"]), world // on_node, "torchrun")
    # Only a step has this; a batch script alone has a process number too, but no others beside it.
    world = int(told.get("SLURM_STEP_NUM_TASKS", "1"))
    if world > 1 and "SLURM_PROCID" in told:
        nodes = int(told.get("SLURM_STEP_NUM_NODES", "1"))
        return Ranks(int(told["SLURM_PROCID"]), world, int(told["SLURM_LOCALID"]), nodes, "srun")
    return Ranks(0, 1, 0, 1, "")


def together(config: Config) -> Ranks | None:
    """The processes that share every trial of this command, where they were all started before it.

    Raises ConfigError where they are not as many as the devices of a trial, and where a study would have to start
    them: each would then draw trials of its own. Tasks of srun that run trials on one device each share none.
    """
    found, devices = ranks(), config.trainer.devices
    if config.run == "study" and devices > 1 and config.launch.name != "here":
        _check_launched(config, found)
        return None
    if found.world == devices > 1:
        return found
    if found.by == "torchrun" or (found.by and devices > 1):
        raise ConfigError(f"trainer.devices={devices}: {found.by} started {found.world} processes, one a device")
    if devices > 1 and config.run not in ("trial", "count", "report"):
        raise ConfigError(
            f"trainer.devices={devices}: all processes of a study are started first, by torchrun --nproc-per-node "
            f"{devices} -m harness, or by srun --ntasks={devices} python -m harness"
        )
    return None


def elsewhere(config: Config) -> bool:
    """Whether this command trains nothing itself and knows nothing of the machines that do."""
    return config.run == "study" and config.launch.name == "slurm"


def _check_launched(config: Config, found: Ranks) -> None:
    """Workers that are started by this command: SLURM starts all processes of each."""
    if config.launch.name == "local":
        raise ConfigError(
            f"trainer.devices={config.trainer.devices}: launch=local starts a process for each worker, not one for "
            "each device; launch=slurm does, or launch=here with all of them started first, by torchrun or srun"
        )
    if found.world > 1:
        raise ConfigError(f"launch=slurm: one process queues the jobs; {found.by} started {found.world}")


def resolve_device(accelerator: str, devices: int) -> "torch.device":
    """The device this process trains on; raises ConfigError where there are fewer than a trial asks for."""
    import torch

    here = -(-devices // ranks().nodes)
    gpus = torch.cuda.device_count()
    if accelerator == "cpu" or (accelerator == "auto" and gpus == 0):
        cores = os.cpu_count() or 1
        if here > cores:
            raise ConfigError(f"trainer.devices={devices}: there are {cores} CPU cores, one for each process at least")
        return torch.device("cpu")
    if gpus == 0:
        raise ConfigError("trainer.accelerator=gpu: no GPU was found; trainer.accelerator=cpu runs without one")
    if here > gpus:
        raise ConfigError(f"trainer.devices={devices}: there are {gpus}")
    local = int(os.environ.get("LOCAL_RANK", ranks().local))
    return torch.device("cuda", local if gpus > 1 else 0)  # srun may show each task its own GPU alone


def resolve_precision(precision: str, device: "torch.device") -> str:
    """Auto is bf16-mixed on a GPU that has it, 16-mixed on another, 32-true on a CPU."""
    if precision != "auto":
        return precision
    if device.type == "cpu":
        return "32-true"
    import torch

    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
