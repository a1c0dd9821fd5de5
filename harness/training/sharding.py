"""Sharding a base over several devices (FSDP2, Zhao et al., 2023): each holds a shard of every layer's weights."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from harness.model import Network


def shard(model: Network, mesh: DeviceMesh) -> None:
    """Shard a model's weights over the mesh; each block of its base is gathered on its own when it is needed.

    A second call does nothing. Modules that share a weight may not be in a block.
    """
    if isinstance(model, FSDPModule):
        return
    for block in _blocks(model.base):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    # By default the outermost weights stay gathered after an evaluation: reads and writes would miss the shards.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    for name in model.forward_methods:
        register_fsdp_forward_method(model, name)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists of modules: a transformer's layers, the blocks or stages of timm's."""
    for child in module.children():
        if isinstance(child, nn.ModuleList) or (isinstance(child, nn.Sequential) and len({*map(type, child)}) == 1):
            yield from child
        else:
            yield from _blocks(child)


def to_full(tensor: Tensor) -> Tensor:
    """The full tensor, on the CPU. For a sharded tensor a collective."""
    full = tensor.detach()
    if isinstance(full, DTensor):
        full = full.full_tensor()
    return full.cpu()


def to_local(tensor: Tensor) -> Tensor:
    """This device's shard of a tensor, or the tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, full: Tensor) -> Tensor:
    """Shard `full`, which every device has, as `tensor` is sharded, if it is."""
    if isinstance(tensor, DTensor):
        return distribute_tensor(full.to(tensor.device), tensor.device_mesh, tensor.placements)
    return full


@torch.no_grad()
def copy_into(tensor: Tensor, full: Tensor) -> None:
    """Copy `full` into a tensor, sharded or not."""
    tensor.copy_(shard_like(tensor, full))


@torch.no_grad()
def gather_full_model(sharded: nn.Module, model: nn.Module) -> None:
    """Copy the trained weights and all buffers of a sharded model into the same model on one device."""
    for (name, theirs), (same, mine) in zip(sharded.named_parameters(), model.named_parameters(), strict=True):
        assert name == same
        if mine.requires_grad:
            mine.copy_(to_full(theirs))
    for (name, moved), (same, kept) in zip(sharded.named_buffers(), model.named_buffers(), strict=True):
        assert name == same
        kept.copy_(to_full(moved))
