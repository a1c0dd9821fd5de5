"""The device and the precision of a trial's process, and the bytes of what lies there."""

import os
from collections.abc import Iterable

import torch

from harness.config import ConfigError
from harness.config.processes import process_info


def resolve_device(accelerator: str, devices: int) -> torch.device:
    """The device this process trains on; raises ConfigError where there are fewer than a trial asks for."""
    here = -(-devices // process_info().nodes)
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
    local = int(os.environ.get("LOCAL_RANK", process_info().local))
    return torch.device("cuda", local if gpus > 1 else 0)  # srun may show each task its own GPU alone


def resolve_precision(precision: str, device: torch.device, base: str = "float32") -> str:
    """Auto is bf16-mixed on a GPU that has it, 16-mixed on another, 32-true on a CPU, which does not train in 16-mixed.

    With a frozen `base` of float16 it is 16-mixed. Raises ConfigError where a device does not train in what is asked of
    it, and for the fastest one, which steps of the trial must settle first.
    """
    if base == "float16" and device.type == "cpu":
        raise ConfigError("model.dtype=float16: not on a CPU, which scales no loss; model.dtype=bfloat16, or float32")
    if base == "bfloat16" and resolve_half(device) != "bf16-mixed":
        raise ConfigError("model.dtype=bfloat16: this GPU does not compute in it; model.dtype=float16, or float32")
    if precision == "fastest":
        raise ConfigError("trainer.precision=fastest: settled by run=trial and run=study; here bf16-mixed or 32-true")
    if precision == "16-mixed" and device.type == "cpu":  # a CPU scales no loss
        raise ConfigError("trainer.precision=16-mixed: not on a CPU; trainer.precision=bf16-mixed, or 32-true, or auto")
    if precision != "auto":
        return precision
    if device.type == "cpu":
        return "32-true"
    return "16-mixed" if base == "float16" else resolve_half(device)


def resolve_half(device: torch.device) -> str:
    """The half precision that a device trains in."""
    return "bf16-mixed" if device.type == "cpu" or torch.cuda.is_bf16_supported() else "16-mixed"


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of distinct tensors."""
    return sum({id(tensor): tensor.numel() * tensor.element_size() for tensor in tensors}.values())
