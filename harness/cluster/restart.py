"""Restart a worker whose process a failed trial has left unhealthy, so that the study goes on in a new process."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.trial import tracking

log = logging.getLogger(__name__)

RESTARTED = "HARNESS_RESTARTED"
"""Names the studies of a command that restarted its own process: no user has asked for failed trials again."""


class WorkerUnhealthy(Exception):
    """This process must not run another trial; `exit_code` is for a process that cannot restart itself."""

    exit_code = 75


@contextmanager
def restart_when_unhealthy(study: str, devices: int) -> Iterator[None]:
    """Restart the same command in this process if the worker inside is unhealthy; nothing is lost.

    Where a trial has several devices, and so several processes, this one ends instead, and so do the others.
    """
    try:
        yield
    except WorkerUnhealthy as reason:
        if devices > 1:
            raise
        log.warning("study %s: this worker restarts because of %s", study, reason)
        tracking.close()
        os.environ[RESTARTED] = f"{os.environ.get(RESTARTED, '')} {study}".strip()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  as this process was started


def restarted_itself(study: str) -> bool:
    """Return whether this process is such a restart of a command that runs the study."""
    return study in os.environ.get(RESTARTED, "").split()
