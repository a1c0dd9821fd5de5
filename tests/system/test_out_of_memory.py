"""A full disk is recognised, and the limits of a process's memory are known."""

import errno

import pytest

from harness.system import out_of_memory
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
    known = {"/proc/self/cgroup": tmp_path / "self", "/sys/fs/cgroup": tmp_path}
    monkeypatch.setattr(out_of_memory, "Path", lambda text: known[text])
    assert out_of_memory._cgroup_limits() == [1048576]
