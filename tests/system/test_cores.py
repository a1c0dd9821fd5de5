"""How many cores this process may use, by its control groups, and how many of them are idle."""

import os
import subprocess
import sys

import pytest

from harness.system import control_groups, cores


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """A folder that stands for the control groups of this process, which may run on eight cores."""
    (tmp_path / "job/step").mkdir(parents=True)
    (tmp_path / "cpu,cpuacct/job").mkdir(parents=True)
    monkeypatch.setattr(control_groups, "_OF_PROCESS", tmp_path / "self")
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    return tmp_path


def test_without_a_quota_all_cores_of_the_process_count(groups):
    assert cores.usable_cores() == 8
    (groups / "self").write_text("0::/job/step\n")
    (groups / "job/cpu.max").write_text("max 100000\n")
    assert cores.usable_cores() == 8


@pytest.mark.parametrize(("quota", "found"), [("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)])
def test_a_quota_of_a_parent_counts_in_whole_cores(groups, quota, found):
    (groups / "self").write_text("0::/job/step\n")
    (groups / "job/cpu.max").write_text(quota)
    assert cores.usable_cores() == found


@pytest.mark.parametrize(("quota", "found"), [("300000", 3), ("-1", 8)])
def test_the_older_control_groups_are_read_too(groups, quota, found):
    (groups / "self").write_text("3:memory:/job\n4:cpu,cpuacct:/job\n")
    (groups / "cpu,cpuacct/job/cpu.cfs_quota_us").write_text(quota)
    (groups / "cpu,cpuacct/job/cpu.cfs_period_us").write_text("100000")
    assert cores.usable_cores() == found


def test_a_busy_core_is_not_free(monkeypatch):
    mine = sorted(os.sched_getaffinity(0))[:1]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(mine))
    spinning = f"import os; os.sched_setaffinity(0, {mine}); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", spinning], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        before = cores._idle_seconds()
        assert cores.free_cores(over_s=0.3) == 1  # never none
        assert cores._idle_seconds() - before < 0.15
        assert cores.free_cores(busy=1, over_s=0.3) == 0  # what is busy is a worker of ours
        busy.kill()


@pytest.mark.parametrize(("idle_s", "found"), [(0.0, 1), (0.031, 3), (0.2, 8)])
def test_idle_cores_are_counted_and_never_more_than_may_be_used(monkeypatch, groups, idle_s, found):
    seconds = iter([100.0, 100.0 + idle_s])
    monkeypatch.setattr(cores, "_idle_seconds", lambda: next(seconds))
    assert cores.free_cores(over_s=0.01) == found
