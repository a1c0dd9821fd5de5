"""A study in PostgreSQL: leases that go with the connection, connections that drop, a password that nobody sees."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import psycopg
import pytest

from harness import record
from harness.cluster.locks import postgres as postgres_locks
from harness.cluster.locks import with_study_lock
from harness.cluster.monitor import study_status
from harness.cluster.rebuild import rebuild
from harness.cluster.storage import open_locks
from harness.cluster.study import begin_study
from harness.cluster.worker import join
from harness.config import ConfigError, HereConfig
from tests.cluster import crowd, stub
from tests.cluster.services import PASSWORD

pytestmark = pytest.mark.cluster
TOTAL = 16


@pytest.fixture
def config(tree, monkeypatch, postgres):
    stub.cheap(monkeypatch.setattr, 0.0)
    return crowd.four_arms(tree, 5.0)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_budget_is_exact_and_the_records_are_the_same_for_any_number_of_workers(config, tmp_path, workers):
    crowd.same_for_any_number(config, tmp_path, workers, TOTAL)


@pytest.mark.parametrize("seed", range(2))
def test_workers_killed_at_random_moments(config, tmp_path, seed):
    crowd.same_after_random_kills(config, tmp_path, 0.2, seed, TOTAL)


@pytest.mark.parametrize("fault", ["after_assignment", "before_record", "before_tell"])
def test_workers_killed_at_a_named_point(config, tmp_path, fault):
    alone = crowd.undisturbed(config, tmp_path)
    config, folder = crowd.begin(config, tmp_path, "killed")
    victims = crowd.crowd(config, 2, 0.02, HARNESS_FAULT=fault)
    crowd.wait(victims)
    assert -signal.SIGKILL in {victim.exitcode for victim in victims}
    crowd.wait(crowd.crowd(config, 2, 0.02))
    crowd.sound(folder, TOTAL)
    assert crowd.told(folder) == alone


def test_a_worker_that_was_stopped_past_its_lease_is_refused_when_it_wakes_up(config, tmp_path):
    launch = HereConfig(name="here", lease_s=1.0)
    config, folder = crowd.begin(dataclasses.replace(config, launch=launch), tmp_path, "stopped")
    (sleeper,) = crowd.crowd(config, 1, 0.6)
    crowd.until_begun(folder)
    os.kill(sleeper.pid, signal.SIGSTOP)
    crowd.wait(crowd.crowd(config, 1, 0.0))
    os.kill(sleeper.pid, signal.SIGCONT)
    crowd.wait([sleeper])
    crowd.sound(folder, TOTAL)
    assert next(entry for entry in record.read(folder) if entry.trial == 0).attempt == 2


def test_a_database_that_is_started_anew_costs_no_trial(config, tmp_path, postgres):
    alone = crowd.undisturbed(config, tmp_path)
    config, folder = crowd.begin(config, tmp_path, "restarted")
    processes = crowd.crowd(config, 3, 1.0)
    crowd.until_begun(folder, count=3)
    postgres.stop()
    time.sleep(1)
    postgres.start()
    crowd.wait(processes)
    assert {process.exitcode for process in processes} == {0}
    crowd.sound(folder, TOTAL)
    assert crowd.told(folder) == alone
    assert set(crowd.ran(folder).values()) == {1}


def test_a_stop_does_not_wait_for_a_database_that_is_away(config, tmp_path, postgres):
    config, folder = crowd.begin(config, tmp_path, "away")
    (worker,) = crowd.crowd(config, 1, 60.0)
    crowd.until_begun(folder)
    postgres.stop()
    os.kill(worker.pid, signal.SIGTERM)
    crowd.wait([worker], 20)
    postgres.start()
    assert worker.exitcode == 143
    crowd.wait(crowd.crowd(config, 1, 0.0))
    crowd.sound(folder, TOTAL)


def test_what_is_done_under_a_lock_that_was_lost_is_done_again(config, tmp_path, postgres):
    config, folder = crowd.begin(config, tmp_path, "lost")
    seen = []
    with closing(open_locks(folder)) as locks:

        def action():
            seen.append(locks.is_free("worker"))
            if len(seen) == 1:
                postgres.stop()
                postgres.start()
            return locks.is_free("worker")

        assert with_study_lock(locks, action)
    assert seen == [True, True]


def test_a_lock_that_was_given_to_who_does_not_answer_is_taken_back(config, tmp_path, monkeypatch):
    config, folder = crowd.begin(config, tmp_path, "silent")
    with closing(open_locks(folder)) as silent, closing(open_locks(folder)) as other:
        assert silent._query(postgres_locks._ACQUIRE.replace("60s", "500ms"), "study")  # and is stopped then
        before = silent._connection
        with other.study_lock():
            silent._query(postgres_locks._CONFIRM, "study")
            assert silent._connection is not before, "its session has ended"
        with silent.study_lock():
            time.sleep(0.1)


def test_a_worker_without_the_address_does_not_join(config, tmp_path, monkeypatch):
    config, folder = crowd.begin(config, tmp_path, "elsewhere")
    monkeypatch.delenv("HARNESS_STORAGE")
    with pytest.raises(ConfigError, match="study=s is kept in postgresql://"), join(config, folder):
        pass


def test_a_refused_rebuild_changes_nothing(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "refused")
    (worker,) = crowd.crowd(config, 1, 60.0)
    crowd.until_begun(folder)
    before = (folder / "storage.json").read_bytes()
    with pytest.raises(ConfigError, match="workers are running"):
        rebuild(config, folder)
    assert (folder / "storage.json").read_bytes() == before
    worker.kill()
    worker.join()
    assert "0 trials in Optuna's study" in rebuild(config, folder)
    assert list((folder / ".locks").glob("*.heartbeat")) == []


def test_a_study_moves_to_another_storage_and_back(config, tmp_path, monkeypatch, postgres):
    config, folder = crowd.begin(config, tmp_path, "moved")
    with join(config, folder) as worker:
        worker.work()
    for address in ("journal", postgres.address):
        monkeypatch.setenv("HARNESS_STORAGE", address)
        assert f"{TOTAL} trials in Optuna's study" in rebuild(config, folder)
        crowd.sound(folder, TOTAL)
        assert study_status(config, folder).done == TOTAL


def test_a_wrong_address_leaves_nothing_and_the_right_one_begins_the_study(config, tmp_path, monkeypatch, postgres):
    """Another password, database or user, and a user who may connect but make no tables."""
    with psycopg.connect(postgres.address, autocommit=True) as admin:
        admin.execute("CREATE ROLE reader LOGIN PASSWORD 'planted-reader-0815'")
        admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        admin.execute("CREATE DATABASE bare OWNER harness")
    right, there = postgres.address, sorted(tmp_path.iterdir())
    wrong = [
        right.replace(PASSWORD, "planted-wrong-0815"),
        right.replace("/harness", "/nowhere"),
        right.replace("//harness:", "//nobody:"),
        right.replace(f"//harness:{PASSWORD}", "//reader:planted-reader-0815").replace("/harness", "/bare"),
    ]
    config = dataclasses.replace(config, results=str(tmp_path / "made/results"))
    for address in wrong:
        monkeypatch.setenv("HARNESS_STORAGE", address)
        with pytest.raises(ConfigError, match="cannot be opened") as caught:
            begin_study(config)
        assert "planted" not in str(caught.value)
        assert sorted(tmp_path.iterdir()) == there
    monkeypatch.setenv("HARNESS_STORAGE", right)
    folder = begin_study(config)
    with join(config, folder) as worker:
        worker.work()
    assert len(record.read(folder)) == TOTAL
    before = (folder / "storage.json").read_bytes()
    for address in wrong:
        monkeypatch.setenv("HARNESS_STORAGE", address)
        with pytest.raises(ConfigError, match="cannot be opened"):
            rebuild(config, folder)
        assert (folder / "storage.json").read_bytes() == before
    monkeypatch.setenv("HARNESS_STORAGE", right)
    assert f"{TOTAL} trials in Optuna's study" in rebuild(config, folder)


def test_a_password_in_the_query_opens_the_storage_and_is_not_kept(config, tmp_path, monkeypatch, postgres):
    place = f"127.0.0.1:{postgres.port}/harness"
    monkeypatch.setenv("HARNESS_STORAGE", f"postgresql://harness@{place}?password={PASSWORD}")
    config, folder = crowd.begin(config, tmp_path, "query")
    with join(config, folder) as worker:
        worker.work()
    assert len(record.read(folder)) == TOTAL
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_the_password_is_in_no_file_and_in_no_message(config, tmp_path, monkeypatch, postgres):
    config, folder = crowd.begin(config, tmp_path, "secret")
    with join(config, folder) as worker:
        worker.work()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
    for address in (postgres.address.replace("/harness", "/nowhere"), "mysql://u:" + PASSWORD + "@h/d"):
        words = ["run=status", "study=s", f"results={tmp_path}/secret"]
        done = subprocess.run(
            [sys.executable, "-m", "harness", *words],
            env=os.environ | {"HARNESS_STORAGE": address},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert "HARNESS_STORAGE=" in done.stderr
        assert PASSWORD not in done.stderr + done.stdout
