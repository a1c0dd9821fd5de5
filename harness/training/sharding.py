"""A base spread over several devices (FSDP2, Zhao et al., 2023): each holds a part of every layer's weights."""

from collections.abc import Iterator

import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


def strategy_of(name: str, devices: int) -> Strategy | str:
    """Lightning's strategy for so many devices."""
    if devices == 1:
        return "auto"
    if name == "fsdp":
        return ModelParallelStrategy(data_parallel_size=devices, tensor_parallel_size=1)
    return DDPStrategy()


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Spread a model's weights over the mesh, every block of its base gathered by itself when it is needed.

    Called again it does nothing. A weight that two modules share must not have one of them in a block.
    """
    if isinstance(model, FSDPModule):
        return
    for block in _blocks(model.get_submodule("base")):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    # By default the outermost weights stay gathered after an evaluation: what is then read or set is not the shards.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    if hasattr(model, "generate"):
        register_fsdp_forward_method(model, "generate")


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists of modules: a transformer's layers."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)


def to_full(tensor: Tensor) -> Tensor:
    """All of a tensor, on the CPU. Where it is spread over devices each of them must ask."""
    full = tensor.detach()
    if isinstance(full, DTensor):
        full = full.full_tensor()
    return full.cpu()


def to_local(tensor: Tensor) -> Tensor:
    """What this device holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, full: Tensor) -> Tensor:
    """What every device has all of, spread over them as `tensor` is, if it is."""
    if isinstance(tensor, DTensor):
        return distribute_tensor(full.to(tensor.device), tensor.device_mesh, tensor.placements)
    return full


@torch.no_grad()
def copy_into(tensor: Tensor, full: Tensor) -> None:
    """Set a tensor, spread or not, to what `full` holds."""
    tensor.copy_(shard_like(tensor, full))


@torch.no_grad()
def gather_full_model(spread: nn.Module, model: nn.Module) -> None:
    """Bring what was trained of a spread model back into the same model on one device, buffers too."""
    for (name, theirs), (same, mine) in zip(spread.named_parameters(), model.named_parameters(), strict=True):
        assert name == same
        if mine.requires_grad:
            mine.copy_(to_full(theirs))
    for (name, moved), (same, kept) in zip(spread.named_buffers(), model.named_buffers(), strict=True):
        assert name == same
        kept.copy_(to_full(moved))
