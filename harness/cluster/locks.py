"""Who may do what in a study that several workers share: one lock for all of it, and a lease for each trial.

A lease is a lock that its holder keeps while a trial runs, and a file in which it gives a sign of life. The lock goes
with the process that holds it; the sign tells of a process that was stopped and still holds it.
"""

import fcntl
import json
import logging
import os
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from harness.system.jsonl import replace_text
from harness.system.process_memory import resident
from harness.system.signals import raise_if_stop_requested

log = logging.getLogger(__name__)

LOCKS = ".locks"
_BLINK_S = 15.0  # who has nothing else to do looks more often than that
PATIENCE_S = 5.0  # with a lock that does not come, once a stop was asked for
_LOOK_S = 0.1
_SAY_S = 30.0

Found = TypeVar("Found")


class LockLost(Exception):
    """The study's lock went with a connection while it was held: what was done under it is done again."""


class Locks(Protocol):
    """Locks under a name. `certain`: a lock that is free means that its holder is gone, not just out of reach."""

    certain: bool

    @abstractmethod
    def mutex(self) -> AbstractContextManager[None]:
        """The lock of the whole study, waited for; held for moments only."""

    @abstractmethod
    def take(self, name: str) -> bool:
        """Take a lock if it is free."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Let go of a lock that was taken here."""

    @abstractmethod
    def is_free(self, name: str) -> bool:
        """Whether nobody holds a lock."""

    def close(self) -> None:
        """Let go of everything."""


class FileLocks(Locks):
    """Kernel locks on files of one machine: they go with the process, however it ends."""

    certain = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder / LOCKS
        self.folder.mkdir(parents=True, exist_ok=True)
        self._held: dict[str, IO[bytes]] = {}

    @contextmanager
    def mutex(self) -> Iterator[None]:
        """As Locks.mutex."""
        with open(self.folder / "study", "ab") as file:
            wait_for(file, lock_wait_callback())
            yield

    def take(self, name: str) -> bool:
        """As Locks.take."""
        file = open(self.folder / f"{name}.lock", "ab")  # noqa: SIM115  held until it is dropped
        if not locked(file):
            file.close()
            return False
        self._held[name] = file
        return True

    def drop(self, name: str) -> None:
        """As Locks.drop."""
        if file := self._held.pop(name, None):
            (self.folder / f"{name}.lock").unlink(missing_ok=True)
            file.close()

    def is_free(self, name: str) -> bool:
        """As Locks.is_free."""
        try:
            with open(self.folder / f"{name}.lock", "rb+") as file:  # over NFS who locks must be able to write
                return locked(file)
        except FileNotFoundError:
            return True

    def close(self) -> None:
        """As Locks.close."""
        for name in list(self._held):
            self.drop(name)


def locked(file: IO[bytes]) -> bool:
    """Take the kernel's lock on a file if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for(file: IO[bytes], look: Callable[[], None]) -> None:
    """Take the kernel's lock on a file, in the order of asking. `look` is called now and then meanwhile, and may raise.

    A thread waits in the kernel, which neither costs time nor lets anyone pass by; who gives up closes the file.
    """
    if locked(file):
        return
    ended, failed = threading.Event(), []

    def take() -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # of a network's file system
            failed.append(error)
        ended.set()

    threading.Thread(target=take, daemon=True).start()
    while not ended.wait(_LOOK_S):
        look()
    if failed:
        raise failed[0]


def lock_wait_callback() -> Callable[[], None]:
    """What to do while the study's lock does not come: its holder may be stopped itself.

    Raises Interrupted where a stop was asked for, and says it once after half a minute.
    """
    since, said = time.monotonic(), False

    def look() -> None:
        nonlocal said
        waited = time.monotonic() - since
        if waited > PATIENCE_S:
            raise_if_stop_requested()
        if waited > _SAY_S and not said:
            log.warning("the study's lock has been held for %.0f s: is a worker stopped (T in ps)? Waiting on", waited)
            said = True

    return look


def with_study_lock(locks: Locks, action: Callable[[], Found]) -> Found:
    """What an action finds under the study's lock, done again if the lock was lost meanwhile."""
    while True:
        try:
            with locks.mutex():
                return action()
        except LockLost:
            continue


class HeartbeatMonitor:
    """Signs of life: a file for each lease, written anew by its holder's thread, watched by everyone else.

    A watcher trusts its own clock alone: it counts for how long it has seen the same sign. Where it has not looked for
    a while it begins anew: it may have been stopped itself, together with whom it watches.
    """

    def __init__(self, folder: Path, locks: Locks, lease_s: float) -> None:
        self.folder = folder / LOCKS
        self.locks, self.lease_s = locks, lease_s
        self.beat_s = _beat_s(lease_s)
        self._seen: dict[str, tuple[str, float, float]] = {}  # the sign, since when, and when it was looked at last

    def alive(self, name: str) -> bool:
        """Whether the holder of a lease is still there. Asked under the mutex."""
        free = self.locks.is_free(name)
        if free and self.locks.certain:
            return False
        sign = self.read(name)
        token = json.dumps(sign)
        now = time.monotonic()
        before, since, looked = self._seen.get(name, ("", 0.0, 0.0))
        if token != before or now - looked > max(_BLINK_S, 3 * self.beat_s):
            since = now
        self._seen[name] = token, since, now
        return now - since < (min(30.0, self.lease_s / 2) if free else self.lease_s)

    def read(self, name: str) -> dict[str, Any]:
        """The last sign under a name; empty where there is none."""
        try:
            sign: dict[str, Any] = json.loads((self.folder / f"{name}.sign").read_text())
        except (OSError, json.JSONDecodeError):  # gone, being written anew, or out of the network's sight
            return {}
        return sign

    def all(self) -> dict[str, dict[str, Any]]:
        """Every sign there is, by name."""
        read = {path.stem: self.read(path.stem) for path in sorted(self.folder.glob("*.sign"))}
        return {name: sign for name, sign in read.items() if sign}


def remove_dead_signs(folder: Path, lease_s: float) -> list[str]:
    """Look for some beats, in any storage; returns who gave a sign meanwhile, and removes the signs of all others."""
    before = _texts(folder)
    if before:
        time.sleep(2.5 * _beat_s(lease_s))
    now = _texts(folder)
    beating = [path for path, text in now.items() if before.get(path) != text]
    for path in set(now) - set(beating):
        path.unlink(missing_ok=True)
    return [path.stem for path in beating]


def _texts(folder: Path) -> dict[Path, str]:
    found = {}
    for path in (folder / LOCKS).glob("*.sign"):
        with suppress(FileNotFoundError):
            found[path] = path.read_text()
    return found


def _beat_s(lease_s: float) -> float:
    return min(5.0, lease_s / 10)


class Heartbeat:
    """Gives signs of life for a lease until it is closed; `say` adds what a watcher is told."""

    def __init__(self, folder: Path, name: str, every_s: float, told: dict[str, Any]) -> None:
        self.path = folder / LOCKS / f"{name}.sign"
        self._told, self._count = told, 0
        self._end = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._run, args=(every_s,), daemon=True)
        self._thread.start()

    def say(self, told: dict[str, Any]) -> None:
        """What is told from the next sign on."""
        self._told = self._told | told

    def close(self) -> None:
        """No more signs, and the file is removed."""
        self._end.set()
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def _run(self, every_s: float) -> None:
        while not self._end.wait(every_s):
            try:
                self._write()
            except OSError:  # a full disk ends trials elsewhere, with a reason; the sign alone must not
                continue

    def _own(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "beat": self._count, "resident": resident("VmRSS")}

    def _write(self) -> None:
        self._count += 1
        replace_text(self.path, json.dumps(self._told | self._own()))
