"""The interface of a study's locks, implemented by kernel file locks and by a PostgreSQL server."""

import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from harness.system.signals import raise_if_stop_requested

log = logging.getLogger(__name__)

LOCKS = ".locks"
"""The folder of lock files and heartbeats inside a study's folder."""
STOP_PATIENCE_S = 5.0
"""How long a process that was asked to stop still waits for a lock."""
_WARN_S = 30.0

Result = TypeVar("Result")


class LockLost(Exception):
    """The connection was lost while it held the study's lock: what was done under the lock is done again."""


class Locks(Protocol):
    """Locks by name. `free_proves_exit`: a free lock proves that its holder is gone, not only disconnected."""

    free_proves_exit: bool

    @abstractmethod
    def study_lock(self) -> AbstractContextManager[None]:
        """The lock of the whole study, waited for; held for moments only."""

    @abstractmethod
    def try_acquire(self, name: str) -> bool:
        """Acquire a lock if it is free."""

    @abstractmethod
    def release(self, name: str) -> None:
        """Release a lock that was acquired here."""

    @abstractmethod
    def is_free(self, name: str) -> bool:
        """Return whether nobody holds a lock."""

    def close(self) -> None:
        """Release everything."""


def lock_wait_callback() -> Callable[[], None]:
    """A callback for while the study's lock is waited for: its holder may be suspended.

    Raises Interrupted if a stop was requested, and warns once after half a minute.
    """
    since, warned = time.monotonic(), False

    def on_wait() -> None:
        nonlocal warned
        waited = time.monotonic() - since
        if waited > STOP_PATIENCE_S:
            raise_if_stop_requested()
        if waited > _WARN_S and not warned:
            log.warning("the study's lock has been held for %.0f s: is a worker stopped (T in ps)? Waiting on", waited)
            warned = True

    return on_wait


def with_study_lock(locks: Locks, action: Callable[[], Result]) -> Result:
    """The result of an action under the study's lock; the action is repeated if the lock was lost meanwhile."""
    while True:
        try:
            with locks.study_lock():
                return action()
        except LockLost:
            continue
