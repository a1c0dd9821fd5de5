"""A storage that cannot be used is said in one line, without its password."""

import time

import pytest

from harness.cluster.database import check_workers
from harness.cluster.optuna_storage import KernelLock, open_storage
from harness.cluster.storage import open_locks, study_id
from harness.config import ConfigError


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("mysql://me:s3cret@host/db", r"mysql://me:\*\*\*@host/db: no such storage; valid: journal, postgresql://"),
        ("optuna.journal", "no such storage"),
        ("postgresql://me:s3cret@127.0.0.1:9/db", r"postgresql://me:\*\*\*@127.0.0.1:9/db: cannot be opened"),
        ("postgresql://me:s3cret@127.0.0.1:port/db", "HARNESS_STORAGE: after the @ stands HOST:PORT/NAME, the port a"),
        ("sqlite:////nowhere/at/all.db", "cannot be opened"),
    ],
)
def test_a_bad_address_is_one_line_at_once(tmp_path, monkeypatch, address, line):
    monkeypatch.setenv("HARNESS_STORAGE", address)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=line) as caught:
        _open(tmp_path)
    assert "s3cret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert time.monotonic() - started < 20


def _open(folder):
    open_locks(folder)
    open_storage(folder)


def test_a_journal_whose_lock_does_not_come_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.cluster.optuna_storage._TIMEOUT_S", 0.05)
    one, other = (KernelLock(tmp_path / "optuna.journal") for _ in range(2))
    assert one.acquire()
    with pytest.raises(TimeoutError, match=r"optuna\.journal has been locked for 0 s: is a worker stopped"):
        other.acquire()
    one.release()
    assert other.acquire()
    other.release()


def test_sqlite_is_for_one_worker(monkeypatch):
    monkeypatch.setenv("HARNESS_STORAGE", "sqlite:///optuna.db")
    check_workers(1)
    with pytest.raises(ConfigError, match=r"launch\.workers=2: HARNESS_STORAGE is SQLite, which crashes"):
        check_workers(2)


def test_a_study_has_one_id_whoever_asks_first(tmp_path, monkeypatch):
    first = study_id(tmp_path)
    assert study_id(tmp_path) == first
    monkeypatch.setenv("HARNESS_STORAGE", "sqlite:///other.db")
    with pytest.raises(ConfigError, match="is kept in journal"):
        study_id(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
