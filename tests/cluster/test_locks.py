"""A worker is alive while it holds its lock and gives signs; a lock that may have dropped is given some time."""

import time

import pytest

from harness.cluster.locks import FileLocks, Heartbeat, HeartbeatMonitor


@pytest.fixture
def locks(tmp_path):
    locks = FileLocks(tmp_path)
    yield locks
    locks.close()


def test_a_lock_has_one_holder(tmp_path, locks):
    other = FileLocks(tmp_path)
    assert locks.take("a")
    assert not other.take("a")
    assert not other.is_free("a")
    locks.drop("a")
    assert other.is_free("a")
    assert other.take("a")
    other.close()


def test_who_holds_its_lock_and_gives_signs_is_alive(tmp_path, locks):
    signs = HeartbeatMonitor(tmp_path, FileLocks(tmp_path), lease_s=0.5)
    assert not signs.alive("a")
    locks.take("a")
    beat = Heartbeat(tmp_path, "a", 0.05, {"trial": 3})
    for _ in range(10):
        assert signs.alive("a")
        time.sleep(0.1)
    beat.say({"step": 7})
    time.sleep(0.2)
    assert signs.all()["a"]["trial"] == 3
    assert signs.all()["a"]["step"] == 7
    beat.close()
    locks.drop("a")
    assert not signs.alive("a")


def test_who_holds_its_lock_without_a_sign_is_dead_after_the_lease(tmp_path, locks):
    signs = HeartbeatMonitor(tmp_path, FileLocks(tmp_path), lease_s=0.3)
    locks.take("a")
    (locks.folder / "a.sign").write_text('{"beat": 1}')
    assert signs.alive("a")
    time.sleep(0.1)
    assert signs.alive("a")
    time.sleep(0.3)
    assert not signs.alive("a")
    (locks.folder / "a.sign").write_text('{"beat": 2}')
    assert signs.alive("a")


def test_who_was_stopped_together_with_whom_it_watches_begins_to_watch_anew(tmp_path, locks, monkeypatch):
    clock = iter((1.0, 100.0, 110.0, 119.0, 121.0))
    monkeypatch.setattr("harness.cluster.locks.time.monotonic", lambda: next(clock))
    signs = HeartbeatMonitor(tmp_path, FileLocks(tmp_path), lease_s=20.0)
    locks.take("a")
    (locks.folder / "a.sign").write_text('{"beat": 1}')
    assert [signs.alive("a") for _ in range(5)] == [True] * 4 + [False], "both were away until 100"


def test_a_free_lock_that_may_have_dropped_is_given_time(tmp_path):
    loose = FileLocks(tmp_path)
    loose.certain = False
    signs = HeartbeatMonitor(tmp_path, loose, lease_s=0.4)
    (loose.folder / "a.sign").write_text('{"beat": 1}')
    assert signs.alive("a")
    time.sleep(0.3)
    assert not signs.alive("a")
