"""A storage that cannot be opened leaves nothing behind, and a study in which nothing was begun is bound to none."""

import dataclasses
import json
import os

import pytest

from harness import record
from harness.cluster import study as study_module
from harness.cluster.assignments import Assignment, AssignmentLog
from harness.cluster.rebuild import rebuild
from harness.cluster.storage import STORAGE, study_id
from harness.cluster.study import begin_study
from harness.cluster.study_folder import load_study
from harness.cluster.undo import left_as_found
from harness.cluster.worker import join
from harness.config import ConfigError, check
from tests.cluster import stub
from tests.test_record import make
from tests.tiny import SEARCH_ALONE, words_of

WRONG = ["postgresql://me:s3cret@127.0.0.1:9/d", "sqlite:////nowhere/at/all.db", "postgresql+nothing://me:s3cret@h/d"]


@pytest.fixture
def config(tree, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    composed = tree("sweep=rank_alpha_lr", "run=study", "study=s")
    composed["sweep"] |= {"scientific": {"lora.rank": [1]}, "trials": 1, "baselines": {}}
    return dataclasses.replace(check(composed), results=str(tmp_path / "made/results"))


@pytest.mark.parametrize("address", WRONG)
def test_a_storage_that_cannot_be_opened_leaves_nothing_and_the_name_is_free(config, tmp_path, monkeypatch, address):
    before = sorted(tmp_path.iterdir())
    monkeypatch.setenv("HARNESS_STORAGE", address)
    with pytest.raises(ConfigError, match="cannot be opened"):
        begin_study(config)
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.setenv("HARNESS_STORAGE", f"sqlite:///{tmp_path}/optuna.db")
    folder = begin_study(config)
    with join(config, folder) as worker:
        worker.work()
    assert len(record.read(folder)) == 1


def test_a_storage_that_connects_and_makes_no_tables_leaves_nothing(config, tmp_path, monkeypatch):
    def refuse():
        raise ConfigError("permission denied for schema public")

    monkeypatch.setattr(study_module, "create_tables", refuse)
    monkeypatch.setenv("HARNESS_STORAGE", f"sqlite:///{tmp_path}/optuna.db")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="permission denied"):
        begin_study(config)
    assert sorted(tmp_path.iterdir()) == before


def test_a_command_that_is_stopped_while_it_connects_leaves_nothing(config, tmp_path, monkeypatch):
    def stop(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(study_module, "open_locks", stop)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        begin_study(config)
    assert sorted(tmp_path.iterdir()) == before


def test_what_was_there_stays(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/notes.txt").write_text("mine")
    (tmp_path / "s" / STORAGE).write_text("{}")

    def move():
        (tmp_path / "s" / STORAGE).write_text('{"kind": "other"}')
        raise OSError("full")

    with pytest.raises(OSError, match="full"), left_as_found(tmp_path / "s"):
        move()
    assert (tmp_path / "s/notes.txt").read_text() == "mine"
    assert (tmp_path / "s" / STORAGE).read_text() == "{}"


def test_a_study_without_a_trial_moves_with_the_storage_that_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_STORAGE", f"sqlite:///{tmp_path}/one.db")
    folder = begin_study(config)
    first = study_id(folder)
    assert begin_study(config) == folder
    assert study_id(folder) == first, "the same storage is the same study"
    monkeypatch.delenv("HARNESS_STORAGE")
    with pytest.raises(ConfigError, match="is kept in sqlite"), join(load_study(config.results, "s"), folder):
        pass
    begin_study(config)
    assert json.loads((folder / STORAGE).read_text())["kind"] == "journal"
    assert study_id(folder) != first


@pytest.mark.parametrize("begun", ["claimed", "recorded", "joined"])
def test_a_study_with_a_trial_or_a_worker_stays_where_it_is(config, tmp_path, monkeypatch, begun):
    monkeypatch.setenv("HARNESS_STORAGE", f"sqlite:///{tmp_path}/one.db")
    folder = begin_study(config)
    if begun == "claimed":
        AssignmentLog(folder).add(Assignment(0, 1, "worker", {}))
    elif begun == "recorded":
        record.append(folder, make(0))
    else:
        (folder / ".locks/worker.sign").write_text("{}")
    before = (folder / STORAGE).read_text()
    monkeypatch.delenv("HARNESS_STORAGE")
    with pytest.raises(ConfigError, match="study=s is kept in sqlite"):
        begin_study(config)
    assert (folder / STORAGE).read_text() == before


@pytest.mark.parametrize("address", WRONG)
def test_a_rebuild_in_a_storage_that_cannot_be_opened_leaves_the_study_where_it_is(config, monkeypatch, address):
    folder = begin_study(config)
    with join(config, folder) as worker:
        worker.work()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setenv("HARNESS_STORAGE", address)
    with pytest.raises(ConfigError, match="cannot be opened"):
        rebuild(config, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    monkeypatch.delenv("HARNESS_STORAGE")
    assert "1 trials in Optuna's study" in rebuild(config, folder)


def test_a_real_process_with_a_wrong_address_leaves_nothing(tmp_path, tiny_base, tiny_data, zygote):
    words = [
        *words_of(tiny_base, tiny_data),
        "run=study",
        "sweep=rank_alpha_lr",
        *SEARCH_ALONE,
        "sweep.scientific={lora.rank: [1]}",
    ]
    storage = {"HARNESS_STORAGE": WRONG[0], "CUDA_VISIBLE_DEVICES": "", "HARNESS_CACHE": f"{tmp_path}/cache"}
    done = zygote.run(words, tmp_path, os.environ | storage)
    assert done.returncode == 2, done.stderr
    assert "cannot be opened" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
