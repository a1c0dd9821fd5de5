"""The distributed processes of one trial: the first tells the others what to do, and all act on what one finds.

All of it uses a separate process group on the CPU, so that it never waits for a GPU and never mixes with the trainer's
collectives.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from harness.config.processes import ProcessInfo
from harness.system.signals import Interrupted, stop_signal

_IDLE = timedelta(days=30)  # followers wait for the first process, which may wait for a trial to come free
_BARRIER = timedelta(seconds=120)  # for the slowest process to reach the end of a trial

_group: Any = None
_broken = False


class ProcessDesync(Exception):
    """One process of the trial failed alone: the others wait for it in a collective, and only a restart helps."""


@contextmanager
def process_group(info: ProcessInfo, device: torch.device) -> Iterator[None]:
    """Join the process group of a launch by torchrun or srun; inside, all processes take part in every trial."""
    if info.by == "srun":
        from lightning.fabric.plugins.environments import SLURMEnvironment

        # Fabric needs it, and srun --ntasks alone does not set it.
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(info.world // info.nodes))
        place = SLURMEnvironment(auto_requeue=False)
        os.environ |= {"MASTER_ADDR": place.main_address, "MASTER_PORT": str(place.main_port)}
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=info.process_index, world_size=info.world)
    try:
        _control()
        yield
    finally:
        if info.process_index == 0 and not _broken:
            broadcast_object(None)  # however the first process ends, the others must not wait for it
        _leave()


def _leave() -> None:
    global _group, _broken
    _group, _broken = None, False
    dist.destroy_process_group()


def _control() -> Any:
    """The CPU group of this trial's processes, None for a single process. Fabric's launcher initialises late."""
    global _group
    if _group is None and dist.is_available() and dist.is_initialized():
        _group = dist.new_group(backend="gloo", timeout=_IDLE)
    return _group


def all_reduce_max(code: int) -> int:
    """The maximum of all processes' codes. A collective: every process must call it."""
    return all_reduce_max_each([code])[0]


def all_reduce_max_each(codes: list[int]) -> list[int]:
    """The maximum of each code. A collective."""
    if (group := _control()) is None:
        return codes
    highest = torch.tensor(codes)
    dist.all_reduce(highest, dist.ReduceOp.MAX, group)
    found: list[int] = highest.tolist()
    return found


def broadcast_bytes(content: bytes) -> bytes:
    """The first process's content, on all processes. A collective."""
    return content if _control() is None else _broadcast(content)


def all_gather_bytes(content: bytes) -> list[bytes]:
    """The content of each process, in their order, on all processes. A collective."""
    if (group := _control()) is None:
        return [content]
    lengths = [torch.zeros(1, dtype=torch.long) for _ in range(dist.get_world_size(group))]
    dist.all_gather(lengths, torch.tensor([len(content)]), group)
    longest = int(max(lengths))
    parts = [torch.empty(longest, dtype=torch.uint8) for _ in lengths]
    dist.all_gather(parts, _bytes(content.ljust(longest, b"\0")), group)
    return [part[: int(length)].numpy().tobytes() for part, length in zip(parts, lengths, strict=True)]


def _broadcast(content: bytes) -> bytes:
    """The first process's bytes; what the others pass is ignored."""
    length = torch.tensor([len(content)])
    dist.broadcast(length, 0, _group)
    tensor = _bytes(content) if dist.get_rank() == 0 else torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(tensor, 0, _group)
    return tensor.numpy().tobytes()


def _bytes(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def broadcast_object(message: Any) -> None:
    """Send a JSON message from the first process to all others; a single process sends nothing.

    Raises ProcessDesync.
    """
    if _broken:
        raise ProcessDesync("a process of the last trial failed by itself; the same command goes on from here")
    if _group is not None and dist.get_rank() == 0:
        _broadcast(json.dumps(message).encode())


def receive_object() -> Any:
    """Receive a message of the first process. Raises ProcessDesync."""
    if _broken:
        raise ProcessDesync("a process of the last trial failed by itself")
    return json.loads(_broadcast(b""))


def final_barrier() -> None:
    """Wait for all processes at the end of a trial; if one does not come, the group counts as broken."""
    global _broken
    if _group is None:
        return
    try:
        dist.monitored_barrier(_group, timeout=_BARRIER)
    except RuntimeError:
        _broken = True


def raise_if_stop_requested_on_all(patience_s: float = 0.0) -> None:
    """Raise Interrupted on all processes if a stop was requested of one of them. A collective, for step boundaries.

    `patience_s`: only if the request is that old, where short work had better be finished.
    """
    if signum := all_reduce_max(stop_signal(patience_s)):
        raise Interrupted(signum)
