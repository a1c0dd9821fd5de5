"""The audit that other tests and the campaign rest on finds each fault that is planted in a study."""

import dataclasses

import optuna
import pytest

from harness import record
from harness.cluster.optuna_storage import JOURNAL, close_storage, open_storage
from harness.config import check
from tests.cluster import crowd, stub
from tests.cluster.crowd import Audit

TOTAL = 4


@pytest.fixture
def study(tree, monkeypatch, tmp_path):
    """A finished study of four trials, and its records."""
    stub.cheap(monkeypatch.setattr, 0.0)
    composed = tree("sweep=rank_alpha_lr", "run=study", "study=s")
    composed["sweep"] |= {"scientific": {"lora.rank": [1, 2]}, "trials": 1, "startup": 1, "prune_after": None}
    config, folder = crowd.begin(check(composed), tmp_path, "planted")
    crowd.wait(crowd.crowd(config, 1, 0.0))
    return folder, crowd.told(folder)


def lines_of(folder):
    return (folder / record.RECORDS).read_bytes().splitlines(keepends=True)


def test_a_sound_study_has_no_fault(study):
    folder, expected = study
    assert crowd.audit(folder, TOTAL, expected) == Audit()
    assert sum(words[0] == "ack" for words in crowd.notes(folder)) == TOTAL


def test_a_result_that_was_acknowledged_and_is_gone(study):
    folder, expected = study
    (folder / record.RECORDS).write_bytes(b"".join(lines_of(folder)[:-1]))
    found = crowd.audit(folder, TOTAL, expected)
    assert (found.lost, found.left, found.differ) == (1, 1, 1)


def test_a_trial_that_is_recorded_twice(study):
    folder, expected = study
    (folder / record.RECORDS).write_bytes(b"".join([*lines_of(folder), lines_of(folder)[0]]))
    assert crowd.audit(folder, TOTAL, expected).twice == 1


@pytest.mark.parametrize(("state", "retried"), [("S", 1), ("R", 1), ("Z", 0), ("T", 0), ("-", 0)])
def test_an_attempt_beside_one_that_is_at_work(study, state, retried):
    folder, expected = study
    stub.note(crowd.notes_of(folder), f"begin 0 1 {state}")
    assert crowd.audit(folder, TOTAL, expected) == Audit(retried=retried)


def test_a_trial_that_optuna_is_left_with(study):
    folder, expected = study
    storage, name = open_storage(folder)
    optuna.load_study(study_name=name, storage=storage).ask()
    close_storage(storage)
    assert crowd.audit(folder, TOTAL, expected) == Audit(left=1)


@pytest.mark.parametrize("name", [record.RECORDS, "attempts.jsonl"])
def test_half_a_line(study, name):
    folder, expected = study
    with open(folder / name, "ab") as file:
        file.write(b'{"trial": 3')
    found = crowd.audit(folder, TOTAL, expected)
    assert found.unreadable == 1


def test_a_journal_that_optuna_cannot_read(study):
    folder, expected = study
    with open(folder / JOURNAL, "ab") as file:
        file.write(b'{"op_code": \n{}\n')
    found = crowd.audit(folder, TOTAL, expected)
    assert (found.unreadable, found.differ) == (1, TOTAL)


def test_an_adapter_that_is_not_the_recorded_one(study):
    folder, expected = study
    here = folder / "trials/0000/adapter"
    here.mkdir(parents=True)
    (here / "a.safetensors").write_bytes(b"other")
    entry = dataclasses.replace(expected[0], adapter={"sha256": {"a.safetensors": stub.digest(b"its own")}})
    whole = [record.to_json(entry).encode() + b"\n", *lines_of(folder)[1:]]
    (folder / record.RECORDS).write_bytes(b"".join(whole))
    assert crowd.audit(folder, TOTAL, [entry, *expected[1:]]).unreadable == 1


def test_a_record_that_is_not_the_expected_one(study):
    folder, expected = study
    other = dataclasses.replace(expected[2], scores={})
    assert crowd.audit(folder, TOTAL, [*expected[:2], other, expected[3]]) == Audit(differ=1)


def test_the_process_that_began_a_trial_is_looked_at(tmp_path):
    notes = tmp_path / "notes.log"
    assert stub._state_of(notes, 0) == "-"
    stub.note(notes, "begin 0 1 -")
    stub.note(notes, "begin 1 4194305 -")  # above the highest number of a process
    assert stub._state_of(notes, 0) in ("S", "R")
    assert stub._state_of(notes, 1) == "-"
    stub.note(notes, "end 0 1")
    assert stub._state_of(notes, 0) == "-"
