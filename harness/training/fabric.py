"""The devices of a trial, their arithmetic and how they share the work, by Lightning Fabric."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.fabric.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import nn
from torch.distributed import destroy_process_group
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule

from harness.config.processes import process_info
from harness.model import Network
from harness.training.sharding import shard

logging.getLogger("lightning.fabric").setLevel(logging.WARNING)


def make_fabric(
    device: torch.device, precision: str, *, devices: int = 1, strategy: str = "auto", in_part: bool = False
) -> Fabric:
    """The devices of a trial; this process drives one, and the processes of several find each other.

    `in_part` says that a step may leave some of the trained weights alone, which several devices have to know.
    """
    nodes = process_info().nodes if devices > 1 else 1
    plugins: list[Any] = [] if precision == "32-true" else [_Mixed(precision, device.type)]  # type: ignore[arg-type]
    if devices == 1:
        plugins.append(LightningEnvironment())  # Fabric would take a SLURM job's tasks for processes of this trial
    elif process_info().by == "srun":
        plugins.append(SLURMEnvironment(auto_requeue=False))
    with quiet():
        fabric = Fabric(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=[device.index or 0] if devices == 1 and device.type == "cuda" else devices // nodes,
            num_nodes=nodes,
            strategy=_strategy(strategy, devices, in_part),
            plugins=plugins,
        )
    fabric.launch()
    return fabric


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context of the trainer's precision, for passes outside of it."""
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "32-true")


class _Mixed(MixedPrecision):
    """Casts a weight anew each time it is read, so that the gradients of all its uses are added up in float32."""

    def forward_context(self) -> torch.autocast:
        return torch.autocast(self.device, self._desired_input_dtype, cache_enabled=False)


def _strategy(name: str, devices: int, in_part: bool) -> Strategy | str:
    if devices == 1:
        return "auto"
    if name == "fsdp":
        return ModelParallelStrategy(_sharded, data_parallel_size=devices, tensor_parallel_size=1)
    return DDPStrategy(find_unused_parameters=in_part)


def _sharded(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """A trial's module, its network sharded over all devices.

    The mesh's other dimension, of one device, has a process group for each mesh: after some 250 trainings its sockets
    would be too many.
    """
    shard(cast(Network, module.get_submodule("model")), mesh["data_parallel"])
    destroy_process_group(mesh.get_group("tensor_parallel"))
    return module


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings that a user cannot act on."""
    with warnings.catch_warnings():
        # A recurrent layer's adapted weights are computed, not stored contiguously.
        warnings.filterwarnings("ignore", message=".*not part of single contiguous chunk.*")
        # A trial is one process on purpose; on a cluster its worker is what srun starts.
        warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
        # With several tasks a step may well train all weights.
        warnings.filterwarnings("ignore", message=".*find_unused_parameters.* was specified in DDP.*")
        yield


@contextmanager
def freed_afterwards(fabric: Fabric, module: nn.Module) -> Iterator[None]:
    """A device is for others before and after; of a network that is sharded each device keeps its part."""
    fabric.accelerator.teardown()  # it gives back what was kept for further use
    try:
        yield
    finally:
        if not isinstance(module.get_submodule("model"), FSDPModule):
            module.cpu()
        fabric.accelerator.teardown()
