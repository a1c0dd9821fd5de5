"""Commands as processes: they live on, they are told to end, and what they said last is known."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from harness.system.processes import ForeignProcess, Process, started_at, stop_all


def test_a_process_is_in_a_session_of_its_own_and_writes_to_its_log(tmp_path):
    script = "import os; print(os.getsid(0) == os.getpid(), os.environ['MINE'])"
    process = Process([sys.executable, "-c", script], {"MINE": "yes"}, tmp_path / "logs" / "a.log")
    while process.code is None:
        time.sleep(0.01)
    assert process.code == 0
    assert process.last_line() == "True yes"


def test_all_are_told_to_end_and_who_does_not_is_killed(tmp_path):
    here = "print('here', flush=True); time.sleep(60)"
    deaf = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {here}"
    processes = [
        Process([sys.executable, "-c", f"import signal, time; {script}"], {}, tmp_path / f"{index}.log")
        for index, script in enumerate((here, deaf))
    ]
    while not all(process.last_line() for process in processes):
        time.sleep(0.01)
    stop_all(processes, signal.SIGTERM, 0.5)
    until = time.monotonic() + 5
    while any(process.code is None for process in processes) and time.monotonic() < until:
        time.sleep(0.01)
    assert [process.code for process in processes] == [-signal.SIGTERM, -signal.SIGKILL]


def test_a_stranger_is_told_by_its_number_and_the_time_it_was_started(tmp_path):
    process = Process([sys.executable, "-c", "import time; time.sleep(60)"], {}, tmp_path / "a.log")
    started = started_at(process.pid)
    ticks = float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK")
    assert started == pytest.approx(ticks, abs=10 * os.sysconf("SC_CLK_TCK"))
    same, other = ForeignProcess(process.pid, started), ForeignProcess(process.pid, started - 1)
    assert (same.code, other.code, ForeignProcess(process.pid, None).code) == (None, 0, None)
    stop_all([other], signal.SIGTERM, 0)
    assert process.code is None, "another process has that number now"
    stop_all([same], signal.SIGTERM, 5)
    assert same.code == 0
    while process.code is None:
        time.sleep(0.01)
    assert process.code == -signal.SIGTERM
    same.stop(signal.SIGTERM)
    assert started_at(process.pid) is None


def test_another_users_process_is_none_of_ours(monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    stranger = ForeignProcess(os.getpid(), None)
    assert stranger.code == 0
    stop_all([stranger], signal.SIGTERM, 5)
