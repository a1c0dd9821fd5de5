"""A study begun while attempts were called claims and heartbeats signs is read as it is and finished.

`tests/cases/parent_attempts` was written by the code of that time: trial 0 is assigned, trial 1 was requeued twice,
trial 2 was reopened.
"""

import json
import shutil
from pathlib import Path

import pytest

from harness import record
from harness.cluster.assignments import AssignmentLog
from harness.cluster.heartbeat import HeartbeatMonitor
from harness.cluster.locks.file import FileLocks
from harness.cluster.monitor import study_status
from harness.cluster.worker import join
from harness.config import ConfigError
from harness.config.preflight import check_same_config
from harness.system.study_files import attempts_path
from tests.cluster import crowd, stub

FORMER = Path(__file__).parents[1] / "cases/parent_attempts"


@pytest.fixture
def config(tree, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    return crowd.four_arms(tree, 3.0)


@pytest.fixture
def study(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "former")
    for log in folder.glob("*.jsonl"):
        log.unlink()
    shutil.copytree(FORMER, folder, dirs_exist_ok=True)
    return config, folder


def test_events_of_the_former_names_mean_what_they_meant():
    log = AssignmentLog(FORMER)
    log.refresh()
    assert [(log.attempts(trial), log.lost(trial)) for trial in range(4)] == [(1, 1), (2, 0), (1, 0), (0, 0)]
    assert log.interrupted == 1, "the other could not go on, and left no checkpoint"
    assert log.last(0).worker == "host-1-aaaaaa"


def test_a_worker_of_the_former_version_is_seen_while_it_holds_its_lock(study):
    config, folder = study
    locks = FileLocks(folder)
    locks.try_acquire("host-1-aaaaaa")
    heartbeats = HeartbeatMonitor(folder, FileLocks(folder), 20.0)
    assert [beat["trial"] for beat in heartbeats.workers().values()] == [0]
    assert "trial   0 rank=1  step 0" in study_status(config, folder).lines()[1]
    locks.close()
    assert study_status(config, folder).lines()[1] == "no worker is running"


def test_a_former_study_is_finished_in_its_own_log(study, tmp_path):
    config, folder = study
    with join(config, folder) as worker:
        worker.work()
    crowd.sound(folder, 16)
    assert attempts_path(folder).name == "claims.jsonl"
    assert not (folder / "attempts.jsonl").exists()
    lines = attempts_path(folder).read_text().splitlines(keepends=True)
    former = (FORMER / "claims.jsonl").read_text().splitlines(keepends=True)
    assert lines[: len(former)] == former
    points = {entry.trial: entry.point for entry in record.read(folder)}
    assert points[0] == {"optimizer.lr": 0.001, "lora.scale": 2.0}, "the point of an attempt that was lost is kept"
    assert {entry.trial: entry.attempt for entry in record.read(folder)} == {0: 2, 1: 3, 2: 2} | dict.fromkeys(
        range(3, 16), 1
    )
    assert {json.loads(line)["event"] for line in lines[len(former) :]} == {"assign"}


@pytest.mark.parametrize("name", ["claims.jsonl", "attempts.jsonl", record.RECORDS])
def test_any_log_that_is_not_empty_keeps_the_configuration(tmp_path, name):
    (tmp_path / "config.yaml").write_text("study: s\nseed: 0\n")
    check_same_config(tmp_path, {"study": "s", "seed": 1})
    (tmp_path / name).write_text("{}\n")
    with pytest.raises(ConfigError, match="seed=1: study=s was begun with another configuration, 0"):
        check_same_config(tmp_path, {"study": "s", "seed": 1})
