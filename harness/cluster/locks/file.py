"""Kernel locks on files, for workers on one machine: they are released with the process, however it ends."""

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness.cluster.locks.base import LOCKS, Locks, lock_wait_callback

_POLL_S = 0.1


class FileLocks(Locks):
    """Locks of one machine, as files in the study's folder."""

    free_proves_exit = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder / LOCKS
        self.folder.mkdir(parents=True, exist_ok=True)
        self._held: dict[str, IO[bytes]] = {}

    @contextmanager
    def study_lock(self) -> Iterator[None]:
        with open(self.folder / "study", "ab") as file:
            acquire_flock(file, lock_wait_callback())
            yield

    def try_acquire(self, name: str) -> bool:
        file = open(self.folder / f"{name}.lock", "ab")  # noqa: SIM115  held until it is released
        if not try_flock(file):
            file.close()
            return False
        self._held[name] = file
        return True

    def release(self, name: str) -> None:
        if file := self._held.pop(name, None):
            (self.folder / f"{name}.lock").unlink(missing_ok=True)
            file.close()

    def is_free(self, name: str) -> bool:
        try:
            with open(self.folder / f"{name}.lock", "rb+") as file:  # over NFS a lock takes write access
                return try_flock(file)
        except FileNotFoundError:
            return True

    def close(self) -> None:
        for name in list(self._held):
            self.release(name)


def try_flock(file: IO[bytes]) -> bool:
    """Acquire the kernel's lock on a file if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def acquire_flock(file: IO[bytes], on_wait: Callable[[], None]) -> None:
    """Acquire the kernel's lock on a file, first come, first served.

    `on_wait` is called every tenth of a second meanwhile, and may raise; the caller then closes the file. A thread
    waits in the kernel, which costs no time and keeps the place in the queue.
    """
    if try_flock(file):
        return
    ended, failed = threading.Event(), []

    def block() -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # of a network file system
            failed.append(error)
        ended.set()

    threading.Thread(target=block, daemon=True).start()
    while not ended.wait(_POLL_S):
        on_wait()
    if failed:
        raise failed[0]
