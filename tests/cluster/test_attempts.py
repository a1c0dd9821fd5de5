"""A result is kept from the moment that there is one: no attempt at a trial trains what another has finished."""

import dataclasses
import os
from pathlib import Path

import pytest

from harness.cluster.assignments import Assignment
from harness.cluster.attempts import attempt_folder, forget_attempts, keep_result, publish
from tests.test_record import make

DONE = dataclasses.replace(make(3), fingerprint="f")


def attempt(number):
    return Assignment(3, number, "worker", {})


def test_a_first_attempt_has_an_empty_folder(tmp_path):
    folder, kept = attempt_folder(tmp_path, attempt(1), "f")
    assert kept is None
    assert list(folder.iterdir()) == []


def test_a_result_that_was_not_recorded_is_found_with_its_files(tmp_path):
    folder, _ = attempt_folder(tmp_path, attempt(1), "f")
    (folder / "predictions.csv").write_text("row")
    keep_result(folder, DONE)
    again, kept = attempt_folder(tmp_path, attempt(3), "f")
    assert kept == DONE
    assert (again / "predictions.csv").read_text() == "row"
    assert not folder.exists()


def test_a_trials_files_are_on_the_disk_before_its_result_says_so(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").resolve().name))
    folder, _ = attempt_folder(tmp_path, attempt(1), "f")
    (folder / "adapter").mkdir()
    (folder / "adapter/weights").write_text("w")
    keep_result(folder, DONE)
    assert set(synced[:-2]) == {"weights", "adapter", folder.name}
    assert synced[-2:] == ["record.json", folder.name]
    synced.clear()
    publish(tmp_path, attempt(1))
    assert synced == ["trials"]


def test_who_vanished_between_the_folders_last_name_and_the_record_lost_nothing(tmp_path):
    folder, _ = attempt_folder(tmp_path, attempt(1), "f")
    keep_result(folder, DONE)
    publish(tmp_path, attempt(1))
    folder, kept = attempt_folder(tmp_path, attempt(2), "f")
    assert kept == DONE
    publish(tmp_path, attempt(2))
    forget_attempts(tmp_path, 3)
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["0003"]


@pytest.mark.parametrize(
    "left",
    [dataclasses.replace(DONE, fingerprint="other"), dataclasses.replace(DONE, state="fail", reason="error: X")],
)
def test_a_result_of_another_configuration_or_of_an_unforeseen_error_is_none(tmp_path, left):
    folder, _ = attempt_folder(tmp_path, attempt(1), "f")
    keep_result(folder, left)
    publish(tmp_path, attempt(1))
    folder, kept = attempt_folder(tmp_path, attempt(2), "f")
    assert kept is None
    assert list(folder.iterdir()) == []


def test_half_a_result_is_none_and_the_checkpoints_go_on(tmp_path):
    folder, _ = attempt_folder(tmp_path, attempt(1), "f")
    (folder / "checkpoint").mkdir()
    keep_result(folder, DONE)
    whole = (folder / "record.json").read_bytes()
    (folder / "record.json").write_bytes(whole[:-1])
    again, kept = attempt_folder(tmp_path, attempt(2), "f")
    assert kept is None
    assert [path.name for path in again.iterdir()] == ["checkpoint"]
