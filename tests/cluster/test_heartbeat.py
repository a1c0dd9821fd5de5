"""A worker is alive while it holds its lock and its heartbeat changes; a lock that may have dropped is given time."""

import time

import pytest

from harness.cluster.heartbeat import Heartbeat, HeartbeatMonitor, remove_stale_heartbeats, trials_of
from harness.cluster.locks.file import FileLocks


@pytest.fixture
def locks(tmp_path):
    locks = FileLocks(tmp_path)
    yield locks
    locks.close()


def told_next(monitor):
    """The trials of the second heartbeat from now on: the first may be half written."""
    now, until = monitor.all()["a"]["beat"], time.monotonic() + 60
    while monitor.all()["a"]["beat"] < now + 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    return trials_of(monitor.all()["a"])


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass as they are added to."""
    now = [100.0]
    monkeypatch.setattr("harness.cluster.heartbeat.time.monotonic", lambda: now[0])
    return now


def test_a_worker_with_its_lock_and_a_heartbeat_is_alive(tmp_path, locks):
    monitor = HeartbeatMonitor(tmp_path, FileLocks(tmp_path), lease_s=1.5)
    assert not monitor.alive("a")
    locks.try_acquire("a")
    heartbeat = Heartbeat(tmp_path, "a", 0.05, {"trial": None})
    heartbeat.begin(3, {"step": 0})
    for _ in range(20):  # longer than the lease
        assert monitor.alive("a")
        time.sleep(0.1)
    heartbeat.begin(4, {"step": 1})
    heartbeat.progress(3, {"step": 7})
    assert [(told["trial"], told["step"]) for told in told_next(monitor)] == [(3, 7), (4, 1)]
    heartbeat.end(3)
    assert [told["trial"] for told in told_next(monitor)] == [4]
    heartbeat.end(4)
    assert told_next(monitor) == []
    heartbeat.close()
    locks.release("a")
    assert not monitor.alive("a")


def test_a_worker_with_its_lock_and_no_heartbeat_is_dead_after_the_lease(tmp_path, locks, clock):
    monitor = HeartbeatMonitor(tmp_path, FileLocks(tmp_path), lease_s=0.3)
    locks.try_acquire("a")
    (locks.folder / "a.heartbeat").write_text('{"beat": 1}')
    assert monitor.alive("a")
    clock[0] += 0.2
    assert monitor.alive("a")
    clock[0] += 0.2
    assert not monitor.alive("a")
    (locks.folder / "a.heartbeat").write_text('{"beat": 2}')
    assert monitor.alive("a")


def test_a_monitor_that_was_suspended_with_its_worker_starts_to_watch_anew(tmp_path, locks, monkeypatch):
    clock = iter((1.0, 100.0, 110.0, 119.0, 121.0))
    monkeypatch.setattr("harness.cluster.heartbeat.time.monotonic", lambda: next(clock))
    monitor = HeartbeatMonitor(tmp_path, FileLocks(tmp_path), lease_s=20.0)
    locks.try_acquire("a")
    (locks.folder / "a.heartbeat").write_text('{"beat": 1}')
    assert [monitor.alive("a") for _ in range(5)] == [True] * 4 + [False], "both were away until 100"


def test_a_free_lock_that_may_have_dropped_is_given_time(tmp_path, clock):
    loose = FileLocks(tmp_path)
    loose.free_proves_exit = False
    monitor = HeartbeatMonitor(tmp_path, loose, lease_s=0.4)
    (loose.folder / "a.heartbeat").write_text('{"beat": 1}')
    assert monitor.alive("a")
    clock[0] += 0.1
    assert monitor.alive("a")
    clock[0] += 0.2
    assert not monitor.alive("a")


def test_the_heartbeat_of_a_worker_of_an_earlier_version_is_read(tmp_path, locks):
    monitor = HeartbeatMonitor(tmp_path, FileLocks(tmp_path), lease_s=20.0)
    locks.try_acquire("a")
    (locks.folder / "a.sign").write_text('{"beat": 1, "trial": 3}')
    assert monitor.workers() == {"a": {"beat": 1, "trial": 3}}
    locks.release("a")
    assert monitor.workers() == {}


def test_heartbeats_that_stand_still_are_removed_and_those_that_change_are_named(tmp_path, locks):
    for name in ("former.sign", "dead.heartbeat"):
        (locks.folder / name).write_text('{"beat": 1}')
    heartbeat = Heartbeat(tmp_path, "a", 0.05, {})
    assert remove_stale_heartbeats(tmp_path, lease_s=1.0) == ["a"]
    assert [path.name for path in locks.folder.iterdir()] == ["a.heartbeat"]
    heartbeat.close()
