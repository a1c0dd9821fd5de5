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

from harness.devices import Ranks

_IDLE = timedelta(days=30)  # followers wait for the first process, which may wait for a trial
_LAST = timedelta(seconds=120)  # for the slowest process to come to a trial's end

_group: Any = None
_broken = False


class OutOfStep(Exception):
    """A process of the trial failed by itself: the others wait for it somewhere, and only a new start helps."""


@contextmanager
def company(ranks: Ranks, device: torch.device) -> Iterator[None]:
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
            tell(None)  # whatever ends the first process's work, the others are not left waiting
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


def agree(code: int) -> int:
    """The highest of all processes' codes. Each must ask at the same place, the same number of times."""
    if (group := _control()) is None:
        return code
    highest = torch.tensor([code])
    dist.all_reduce(highest, dist.ReduceOp.MAX, group)
    return int(highest)


def tell(message: Any) -> None:
    """The first process says what all are to do next, in what JSON has; a process alone says nothing.

    Raises OutOfStep.
    """
    if _broken:
        raise OutOfStep("a process of the last trial failed by itself; the same command goes on from here")
    if _group is not None and dist.get_rank() == 0:
        text = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
        dist.broadcast(torch.tensor([len(text)]), 0, _group)
        dist.broadcast(text, 0, _group)


def hear() -> Any:
    """What the first process says. Raises OutOfStep."""
    if _broken:
        raise OutOfStep("a process of the last trial failed by itself")
    length = torch.zeros(1, dtype=torch.long)
    dist.broadcast(length, 0, _group)
    text = torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(text, 0, _group)
    return json.loads(text.numpy().tobytes())


def close_ranks() -> None:
    """At a trial's end: wait for all processes, and remember if not all of them come."""
    global _broken
    if _group is None:
        return
    try:
        dist.monitored_barrier(_group, timeout=_LAST)
    except RuntimeError:
        _broken = True
