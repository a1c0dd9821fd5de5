"""A kernel lock has one holder, and goes with it."""

import pytest

from harness.cluster.locks.file import FileLocks


@pytest.fixture
def locks(tmp_path):
    locks = FileLocks(tmp_path)
    yield locks
    locks.close()


def test_a_lock_has_one_holder(tmp_path, locks):
    other = FileLocks(tmp_path)
    assert locks.try_acquire("a")
    assert not other.try_acquire("a")
    assert not other.is_free("a")
    locks.release("a")
    assert other.is_free("a")
    assert other.try_acquire("a")
    other.close()
