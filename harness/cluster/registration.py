"""The lock and the heartbeat that make a process one of a study's workers."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.cluster.heartbeat import Heartbeat, HeartbeatMonitor
from harness.cluster.locks import with_study_lock
from harness.config import ConfigError
from harness.system.processes import started_at


@contextmanager
def registered(heartbeats: HeartbeatMonitor, check: Callable[[], None]) -> Iterator[tuple[str, Heartbeat]]:
    """Hold a lock and keep a heartbeat under a unique name; `check` may refuse, and runs under the study's lock."""
    locks, folder = heartbeats.locks, heartbeats.folder.parent
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"

    def register() -> Heartbeat:
        check()
        if not locks.try_acquire(name):
            raise ConfigError(f"study={folder.name}: the lock {name} is taken")
        return Heartbeat(folder, name, heartbeats.interval_s, _describe_process())

    heartbeat = with_study_lock(locks, register)
    try:
        yield name, heartbeat
    finally:
        heartbeat.close()
        locks.release(name)


def _describe_process() -> dict[str, Any]:
    """Return a heartbeat's description of the process: host, start, GPUs, and the SLURM job it is part of."""
    payload: dict[str, Any] = {"host": socket.gethostname(), "trial": None}
    payload |= {"started": started_at(os.getpid()), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
    if job := os.environ.get("SLURM_ARRAY_JOB_ID"):
        payload["job"] = f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}"
    return payload
