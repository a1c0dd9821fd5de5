"""A full disk is recognised, and the limits of a process's memory are known."""

import errno

import pytest

from harness.system import control_groups, out_of_memory
from harness.system.out_of_memory import is_disk_full


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known_behind_the_error_that_it_caused(number):
    try:
        try:
            raise OSError(number, "no")
        except OSError as error:
            raise RuntimeError("cannot save") from error
    except RuntimeError as error:
        assert is_disk_full(error)
    assert is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_disk_full(OSError(errno.EACCES, "no"))


def test_control_groups_limit_from_outside(monkeypatch, tmp_path):
    (tmp_path / "job/step").mkdir(parents=True)
    (tmp_path / "job/memory.max").write_text("1048576\n")
    (tmp_path / "job/step/memory.max").write_text("max\n")
    (tmp_path / "self").write_text("1:cpu:/elsewhere\n0::/job/step\n")
    monkeypatch.setattr(control_groups, "_OF_PROCESS", tmp_path / "self")
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path)
    assert out_of_memory._cgroup_limits() == [1048576]


@pytest.mark.parametrize(
    ("line", "limit", "held", "dropped"),
    [
        ("0::/job", "memory.max", "memory.current", "inactive_file 24\n"),
        (
            "4:memory:/job",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "inactive_file 1\ntotal_inactive_file 24\n",
        ),
    ],
)
def test_free_memory_is_what_the_tightest_limit_leaves(monkeypatch, tmp_path, line, limit, held, dropped):
    group = tmp_path / line.split(":")[1] / "job"
    group.mkdir(parents=True)
    (tmp_path / "self").write_text(line + "\n")
    monkeypatch.setattr(control_groups, "_OF_PROCESS", tmp_path / "self")
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 99 kB\nMemAvailable: 1000000 kB\n")
    monkeypatch.setattr(out_of_memory, "_MEMINFO", meminfo)
    assert out_of_memory.free_memory() == 1000000 * 1024
    (group / limit).write_text(f"{2**29}\n")
    assert out_of_memory.free_memory() == 2**29
    (group / held).write_text("1024\n")
    (group / "memory.stat").write_text(dropped)
    assert out_of_memory.free_memory() == 2**29 - 1000
    meminfo.write_text("MemAvailable: 7 kB\n")
    assert out_of_memory.free_memory() == 7 * 1024
