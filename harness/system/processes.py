"""Processes of this machine: start a command, watch it, stop it; and recognise one that another command started."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Process:
    """A command in its own session: it survives the process that started it, and Ctrl-C does not reach it twice."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                list(argv),
                env=os.environ | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the process and of its session."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def stop(self, signum: int) -> None:
        """Send a signal if it runs."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)

    def last_line(self) -> str:
        """The last line it wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else ""


def started_at(pid: int) -> int | None:
    """Return when a process of this machine was started, in clock ticks since boot; None if that is unknown.

    Together with its id it identifies a process: ids are reused.
    """
    stat = _stat(pid)
    return int(stat[19]) if stat else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (the state) on, see proc(5); empty where there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class ForeignProcess:
    """A process of this machine that another command started; `started` is what `started_at` says of it."""

    def __init__(self, pid: int, started: int | None) -> None:
        self._pid, self._started = pid, started

    @property
    def code(self) -> int | None:
        """0 once it is gone, however it ended; None while it runs."""
        try:
            os.kill(self._pid, 0)
        except (ProcessLookupError, PermissionError):  # the id now belongs to another user's process
            return 0
        stat = _stat(self._pid)
        if not stat:
            return None
        ended = stat[0] == "Z"  # a zombie stays in the process table until its parent waits for it
        return 0 if ended or self._started not in (None, int(stat[19])) else None

    def stop(self, signum: int) -> None:
        """Send a signal if it runs."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._pid, signum)


def stop_all(processes: Sequence[Process | ForeignProcess], signum: int, within_s: float) -> None:
    """Send a signal to all, wait up to `within_s` seconds, and kill those that still run."""
    for process in processes:
        process.stop(signum)
    until = time.monotonic() + within_s
    while any(process.code is None for process in processes) and time.monotonic() < until:
        time.sleep(0.05)
    for process in processes:
        process.stop(signal.SIGKILL)


def this_command() -> str:
    """The command of this process, as a shell takes it."""
    return shlex.join(["python", "-m", "harness", *sys.argv[1:]])
