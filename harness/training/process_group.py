"""The processes of one trial: what the first of them is told to do all do, and what one of them finds all act on.

Everything here goes over a group of its own on the CPU, so that it never waits for a GPU, and never mixes with what the
trainer sends.
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

_IDLE = timedelta(days=30)  # followers wait for the first process, which may wait for a trial
_LAST = timedelta(seconds=120)  # for the slowest process to come to a trial's end

_group: Any = None
_broken = False


class ProcessDesync(Exception):
    """A process of the trial failed by itself: the others wait for it somewhere, and only a new start helps."""


@contextmanager
def process_group(ranks: ProcessInfo, device: torch.device) -> Iterator[None]:
    """Join the processes that were started together; inside, all of them take part in every trial."""
    if ranks.by == "srun":
        from lightning.pytorch.plugins.environments import SLURMEnvironment

        # Lightning asks for it, and srun --ntasks alone does not say it.
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(ranks.world // ranks.nodes))
        place = SLURMEnvironment(auto_requeue=False)
        os.environ |= {"MASTER_ADDR": place.main_address, "MASTER_PORT": str(place.main_port)}
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=ranks.rank, world_size=ranks.world)
    try:
        _control()
        yield
    finally:
        if ranks.rank == 0 and not _broken:
            broadcast_object(None)  # whatever ends the first process's work, the others are not left waiting
        _leave()


def _leave() -> None:
    global _group, _broken
    _group, _broken = None, False
    dist.destroy_process_group()


def _control() -> Any:
    """The group of this trial's processes; none where it has one. Lightning's launcher makes its own late."""
    global _group
    if _group is None and dist.is_available() and dist.is_initialized():
        _group = dist.new_group(backend="gloo", timeout=_IDLE)
    return _group


def all_reduce_max(code: int) -> int:
    """The highest of all processes' codes. Each must ask at the same place, the same number of times."""
    return all_reduce_max_each([code])[0]


def all_reduce_max_each(codes: list[int]) -> list[int]:
    """The same of several codes at once."""
    if (group := _control()) is None:
        return codes
    highest = torch.tensor(codes)
    dist.all_reduce(highest, dist.ReduceOp.MAX, group)
    found: list[int] = highest.tolist()
    return found


def broadcast_bytes(content: bytes) -> bytes:
    """What the first process has, for all. Each must ask at the same place."""
    return content if _control() is None else _broadcast(content)


def all_gather_bytes(content: bytes) -> list[bytes]:
    """What each process has, in their order, for all. Each must ask at the same place."""
    if (group := _control()) is None:
        return [content]
    lengths = [torch.zeros(1, dtype=torch.long) for _ in range(dist.get_world_size(group))]
    dist.all_gather(lengths, torch.tensor([len(content)]), group)
    longest = int(max(lengths))
    parts = [torch.empty(longest, dtype=torch.uint8) for _ in lengths]
    dist.all_gather(parts, _bytes(content.ljust(longest, b"\0")), group)
    return [part[: int(length)].numpy().tobytes() for part, length in zip(parts, lengths, strict=True)]


def _broadcast(content: bytes) -> bytes:
    """The first process's bytes; the others' own do not matter."""
    length = torch.tensor([len(content)])
    dist.broadcast(length, 0, _group)
    tensor = _bytes(content) if dist.get_rank() == 0 else torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(tensor, 0, _group)
    return tensor.numpy().tobytes()


def _bytes(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def broadcast_object(message: Any) -> None:
    """The first process says what all are to do next, in what JSON has; a process alone says nothing.

    Raises OutOfStep.
    """
    if _broken:
        raise ProcessDesync("a process of the last trial failed by itself; the same command goes on from here")
    if _group is not None and dist.get_rank() == 0:
        _broadcast(json.dumps(message).encode())


def receive_object() -> Any:
    """What the first process says. Raises OutOfStep."""
    if _broken:
        raise ProcessDesync("a process of the last trial failed by itself")
    return json.loads(_broadcast(b""))


def final_barrier() -> None:
    """At a trial's end: wait for all processes, and remember if not all of them come."""
    global _broken
    if _group is None:
        return
    try:
        dist.monitored_barrier(_group, timeout=_LAST)
    except RuntimeError:
        _broken = True


def raise_if_stop_requested_on_all(patience_s: float = 0.0) -> None:
    """Called at step boundaries; with several processes of a trial by each of them, and they all stop if one must.

    With patience where what is under way is better finished, if it does not take long.
    """
    if signum := all_reduce_max(stop_signal(patience_s)):
        raise Interrupted(signum)
