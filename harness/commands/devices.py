"""The processes of a trial on several devices: the first runs the command, the others follow its trials."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from harness.config import Config, ConfigError
from harness.config.processes import ProcessInfo, process_info

_END_S = 60.0  # for the others to end after the trial


@contextmanager
def leading(config: Config, started: ProcessInfo | None) -> Iterator[bool]:
    """Join the processes that were started for every trial; true in the one that leads, or that is alone.

    The others take part in all trials before they get false.
    """
    if started is None:
        yield True
        return
    from harness.devices import resolve_device  # torch is imported only by what needs it
    from harness.system.signals import graceful_stop
    from harness.training import process_group
    from harness.trial.ddp_followers import follow

    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    with process_group(started, device), graceful_stop():
        if started.process_index != 0:
            follow()
        yield started.process_index == 0


@contextmanager
def one_process_each(config: Config) -> Iterator[None]:
    """Start the other processes of a trial on this machine's devices, unless torchrun or srun has started them."""
    devices = config.trainer.devices
    if devices == 1 or process_info().by:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    told = address | {"TORCHELASTIC_RUN_ID": "harness", "WORLD_SIZE": str(devices), "LOCAL_WORLD_SIZE": str(devices)}
    argv = [sys.executable, "-m", "harness.commands.follower", config.trainer.accelerator, str(devices)]
    before = dict(os.environ)
    os.environ |= told | {"RANK": "0", "LOCAL_RANK": "0"}
    others = [
        subprocess.Popen(argv, env=os.environ | {"RANK": str(index), "LOCAL_RANK": str(index)}, stdout=sys.stderr)
        for index in range(1, devices)
    ]
    try:
        yield
    finally:
        _end(others)
        for name in (*told, "RANK", "LOCAL_RANK"):
            os.environ.pop(name)
        os.environ |= before


def _end(others: list[subprocess.Popen[bytes]]) -> None:
    for process in others:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        process.kill()
        process.wait()


def refuse_several_processes(run: str) -> None:
    """Raise ConfigError where torchrun or srun has started several processes for what takes one."""
    found = process_info()
    if found.world > 1:
        raise ConfigError(f"run={run}: it takes one process; {found.by} started {found.world}")
