"""Heartbeats: each worker rewrites a file at short intervals, and everyone else watches whether it changes.

A worker also holds a lock. The lock is released with the process; the heartbeat reveals a process that was suspended
and still holds its lock.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.cluster.locks import LOCKS, Locks
from harness.system.jsonl import replace_text
from harness.system.process_memory import resident

SUFFIX = ".heartbeat"
_FORMER_SUFFIX = ".sign"  # of workers of an earlier version
_REWATCH_S = 15.0  # a watcher that runs all the time looks more often than that


def any_heartbeat(folder: Path) -> bool:
    """Return whether any worker of a study, present or gone, has left a heartbeat."""
    return any(any((folder / LOCKS).glob(f"*{suffix}")) for suffix in (SUFFIX, _FORMER_SUFFIX))


class HeartbeatMonitor:
    """Watches the heartbeats of all workers of a study.

    A watcher trusts its own clock alone: what counts is for how long it has seen the same heartbeat. Where it has not
    looked for a while it starts anew: it may have been suspended itself, together with the worker that it watches.
    """

    def __init__(self, folder: Path, locks: Locks, lease_s: float) -> None:
        self.folder = folder / LOCKS
        self.locks, self.lease_s = locks, lease_s
        self.interval_s = _interval_s(lease_s)
        self._seen: dict[str, tuple[str, float, float]] = {}  # content, since when, and when it was last read

    def alive(self, name: str) -> bool:
        """Return whether a worker is still alive. Call it under the study's lock."""
        free = self.locks.is_free(name)
        if free and self.locks.free_proves_exit:
            return False
        content = json.dumps(self.read(name))
        now = time.monotonic()
        before, since, read_at = self._seen.get(name, ("", 0.0, 0.0))
        if content != before or now - read_at > max(_REWATCH_S, 3 * self.interval_s):
            since = now
        self._seen[name] = content, since, now
        return now - since < (min(30.0, self.lease_s / 2) if free else self.lease_s)

    def read(self, name: str) -> dict[str, Any]:
        """The last heartbeat of a worker; empty where there is none."""
        for suffix in (SUFFIX, _FORMER_SUFFIX):
            # It may be gone, be rewritten just then, or be out of the network's reach.
            with suppress(OSError, json.JSONDecodeError):
                heartbeat: dict[str, Any] = json.loads((self.folder / f"{name}{suffix}").read_text())
                return heartbeat
        return {}

    def all(self) -> dict[str, dict[str, Any]]:
        """Every heartbeat by its worker's name."""
        found = {path.stem: self.read(path.stem) for path in sorted(_files(self.folder))}
        return {name: heartbeat for name, heartbeat in found.items() if heartbeat}

    def workers(self) -> dict[str, dict[str, Any]]:
        """The last heartbeat of every worker that is alive, by name. Call it under the study's lock."""
        return {name: heartbeat for name, heartbeat in self.all().items() if self.alive(name)}


class Heartbeat:
    """Rewrites this worker's heartbeat file until it is closed.

    It describes the trial that was begun first, and in `others` the further ones of the worker.
    """

    def __init__(self, folder: Path, name: str, interval_s: float, payload: dict[str, Any]) -> None:
        self.path = folder / LOCKS / f"{name}{SUFFIX}"
        self._payload, self._count = payload, 0
        self._trials: dict[int, dict[str, Any]] = {}
        self._closed = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._run, args=(interval_s,), daemon=True)
        self._thread.start()

    def begin(self, trial: int, payload: dict[str, Any]) -> None:
        """Tell watchers of a trial, from the next heartbeat on."""
        self._trials = self._trials | {trial: {"trial": trial} | payload}

    def progress(self, trial: int, payload: dict[str, Any]) -> None:
        """Tell more of a trial that was begun."""
        self._trials = self._trials | {trial: self._trials[trial] | payload}

    def end(self, trial: int) -> None:
        """Tell no more of a trial."""
        self._trials = {number: payload for number, payload in self._trials.items() if number != trial}

    def close(self) -> None:
        """Stop, and remove the file."""
        self._closed.set()
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def _run(self, interval_s: float) -> None:
        while not self._closed.wait(interval_s):
            with suppress(OSError):  # a full disk ends trials elsewhere, with a reason; the heartbeat alone must not
                self._write()

    def _write(self) -> None:
        self._count += 1
        process = {"pid": os.getpid(), "beat": self._count, "resident": resident("VmRSS")}
        first, *others = [*self._trials.values()] or [{}]
        beside = {"others": others} if others else {}
        replace_text(self.path, json.dumps(self._payload | first | beside | process))


def trials_of(heartbeat: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a heartbeat's entry for each trial of its worker."""
    return [] if heartbeat.get("trial") is None else [heartbeat, *heartbeat.get("others", [])]


def remove_stale_heartbeats(folder: Path, lease_s: float) -> list[str]:
    """Watch for some intervals, whatever the storage; remove heartbeats that stand still.

    Returns the names of the workers whose heartbeat changed.
    """
    before = _contents(folder / LOCKS)
    if before:
        time.sleep(2.5 * _interval_s(lease_s))
    now = _contents(folder / LOCKS)
    beating = [path for path, content in now.items() if before.get(path) != content]
    for path in set(now) - set(beating):
        path.unlink(missing_ok=True)
    return [path.stem for path in beating]


def _contents(folder: Path) -> dict[Path, str]:
    found = {}
    for path in _files(folder):
        with suppress(FileNotFoundError):
            found[path] = path.read_text()
    return found


def _files(folder: Path) -> Iterator[Path]:
    for suffix in (SUFFIX, _FORMER_SUFFIX):
        yield from folder.glob(f"*{suffix}")


def _interval_s(lease_s: float) -> float:
    return min(5.0, lease_s / 10)
