"""Locks of a study that several workers share: one for the whole study, and one for each worker."""

from harness.cluster.locks.base import LOCKS, STOP_PATIENCE_S, LockLost, Locks, lock_wait_callback, with_study_lock

__all__ = ["LOCKS", "STOP_PATIENCE_S", "LockLost", "Locks", "lock_wait_callback", "with_study_lock"]
