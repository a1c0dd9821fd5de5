"""Any number of workers, however they end: exact budgets, each trial once, the records of an undisturbed study."""

import dataclasses
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from harness import record
from harness.cluster import worker as worker_module
from harness.cluster.locks import LockLost
from harness.cluster.locks.file import FileLocks
from harness.cluster.monitor import study_status
from harness.cluster.restart import RESTARTED, WorkerUnhealthy
from harness.cluster.study import begin_study
from harness.cluster.study_folder import load_study
from harness.cluster.worker import join
from harness.config import ConfigError, HereConfig
from harness.system.assets import AssetError
from harness.system.jsonl import JsonlLog
from tests.cluster import crowd, stub

TOTAL = 16  # four arms of four trials


@pytest.fixture
def config(tree, monkeypatch):
    """A study of cheap trials, some of them pruned, TPE in the last two rounds."""
    stub.cheap(monkeypatch.setattr, 0.0)
    return crowd.four_arms(tree, 3.0)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_budget_is_exact_and_the_records_are_the_same_for_any_number_of_workers(config, tmp_path, workers):
    alone = crowd.same_for_any_number(config, tmp_path, workers, TOTAL)
    assert "pruned" in {entry.state for entry in alone}


@pytest.mark.parametrize("seed", range(3))
def test_workers_killed_at_random_moments_lose_nothing_and_repeat_nothing_that_was_recorded(config, tmp_path, seed):
    crowd.same_after_random_kills(config, tmp_path, 0.06, seed, TOTAL)


@pytest.mark.parametrize("fault", ["after_assignment", "before_record", "before_tell", "in_reconcile"])
def test_workers_killed_at_a_named_point(config, tmp_path, fault):
    alone = crowd.undisturbed(config, tmp_path)
    config, folder = crowd.begin(config, tmp_path, "killed")
    if fault == "in_reconcile":  # there must be something to reconcile
        crowd.wait(crowd.crowd(config, 1, 0.02, HARNESS_FAULT="after_assignment"))
    for count in (2, 1):  # three at most may die of one trial, which four would fail
        victims = crowd.crowd(config, count, 0.02, HARNESS_FAULT=fault)
        crowd.wait(victims)
        assert -signal.SIGKILL in {process.exitcode for process in victims}
    crowd.wait(crowd.crowd(config, 2, 0.02))
    crowd.sound(folder, TOTAL)
    assert crowd.told(folder) == alone
    assert set(crowd.ran(folder).values()) == {1}, "what was finished is not trained again"


def test_a_result_is_taken_over_however_many_workers_vanished_before_they_recorded_it(config, tmp_path):
    alone = crowd.undisturbed(config, tmp_path)
    config, folder = crowd.begin(config, tmp_path, "killed")
    for _ in range(5):
        crowd.wait(crowd.crowd(config, 1, 0.0, HARNESS_FAULT="before_record"))
    assert record.read(folder) == []
    crowd.wait(crowd.crowd(config, 1, 0.0))
    crowd.sound(folder, TOTAL)
    assert crowd.told(folder) == alone
    assert crowd.ran(folder)["end 0"] == 1
    assert next(entry for entry in record.read(folder) if entry.trial == 0).attempt == 6


def test_of_two_that_have_the_studys_lock_the_first_assignment_counts(config, tmp_path, monkeypatch):
    config, folder = crowd.begin(config, tmp_path, "two")
    with join(config, folder) as worker:
        add = worker.assignments.add

        def second(assignment):
            monkeypatch.setattr(worker.assignments, "add", add)
            first = dataclasses.asdict(dataclasses.replace(assignment, worker="other"))
            JsonlLog(folder / "attempts.jsonl").append(json.dumps({"event": "assign"} | first))
            add(assignment)

        monkeypatch.setattr(worker.assignments, "add", second)
        worker.work()
    crowd.sound(folder, TOTAL)
    attempts = {entry.trial: entry.attempt for entry in record.read(folder)}
    assert attempts == {trial: 1 + (trial == 0) for trial in range(TOTAL)}, "the other is gone by then"


def test_a_lock_that_is_lost_while_optunas_study_is_settled_is_no_failure_of_the_mirror(config, tmp_path):
    def live(*_):
        raise LockLost

    config, folder = crowd.begin(config, tmp_path, "lost")
    with join(config, folder) as worker:
        worker.mirror.begin(*worker._next_assignment())
        with pytest.raises(LockLost):
            worker.mirror.reconcile(lambda _: None, live)


def test_a_worker_that_cannot_go_on_puts_its_trial_back_and_says_why(config, tmp_path, monkeypatch):
    def fingerprint_of(_):
        raise AssetError("base: it cannot be had")

    config, folder = crowd.begin(config, tmp_path, "without")
    with monkeypatch.context() as away:
        away.setattr(worker_module, "fingerprint_of", fingerprint_of)
        for _ in range(5):
            with pytest.raises(AssetError), join(config, folder) as worker:
                worker.work()
    told = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    assert [line.get("why") for line in told if line["event"] == "requeue"] == [
        "AssetError: base: it cannot be had"
    ] * 5
    with join(config, folder) as worker:
        worker.work()
    crowd.sound(folder, TOTAL)
    assert "fail" not in {entry.state for entry in record.read(folder)}


def test_a_trial_that_kills_every_worker_is_queued_three_times_and_then_fails(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "killed")
    for _ in range(4):
        crowd.wait(crowd.crowd(config, 1, 0.0, HARNESS_FAULT="after_assignment"))
    assert record.read(folder) == []
    crowd.wait(crowd.crowd(config, 1, 0.0))
    crowd.sound(folder, TOTAL)
    first = next(entry for entry in record.read(folder) if entry.trial == 0)
    assert first.state == "fail"
    assert re.match(r"lost: its worker vanished 4 times; the last held \d+ MiB: a kernel that is short", first.reason)
    assert 50 < int(first.reason.split()[9].replace(",", "")) < 5000
    assert {entry.state for entry in record.read(folder) if entry.trial} <= {"complete", "pruned"}


def test_a_worker_that_was_stopped_past_its_lease_is_refused_when_it_wakes_up(config, tmp_path):
    config, folder = crowd.begin(dataclasses.replace(config, launch=_lease(1.0)), tmp_path, "stopped")
    (sleeper,) = crowd.crowd(config, 1, 0.6)
    crowd.until_begun(folder)
    os.kill(sleeper.pid, signal.SIGSTOP)
    crowd.wait(crowd.crowd(config, 1, 0.0))
    assert crowd.ran(folder)["end 0"] == 1
    os.kill(sleeper.pid, signal.SIGCONT)
    crowd.wait([sleeper])
    assert sleeper.exitcode == 0
    assert crowd.ran(folder)["end 0"] == 2
    crowd.sound(folder, TOTAL)
    assert next(entry for entry in record.read(folder) if entry.trial == 0).attempt == 2
    assert not [path for path in (folder / "trials").iterdir() if "-" in path.name]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_worker_that_is_asked_to_stop_puts_its_trial_back(config, tmp_path, signum, code):
    config, folder = crowd.begin(config, tmp_path, "asked")
    for _ in range(5):  # more often than a lost trial is queued again
        crowd.notes_of(folder).unlink(missing_ok=True)
        (asked,) = crowd.crowd(config, 1, 60.0)
        crowd.until_begun(folder)
        os.kill(asked.pid, signum)
        crowd.wait([asked], 20)
        assert asked.exitcode == code
    crowd.wait(crowd.crowd(config, 1, 0.0))
    crowd.sound(folder, TOTAL)
    assert {entry.attempt for entry in record.read(folder)} == {1, 6}


def test_what_a_person_is_told_while_workers_run(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "seen")
    processes = crowd.crowd(config, 2, 600.0)
    crowd.until_begun(folder, count=2)
    end = time.monotonic() + 60  # a heartbeat comes every 0.3 s
    while "\n".join(lines := study_status(config, folder).lines()).count(" trial ") < 2:
        assert time.monotonic() < end, lines
        time.sleep(0.05)
    assert " of 16 trials are recorded" in lines[0]
    assert sum(" trial " in line for line in lines) == 2
    for process in processes:
        process.kill()
        process.join()
    assert study_status(config, folder).lines()[1] == "no worker is running"


def test_a_question_is_kept_from_the_first_assignment_on(config, tmp_path):
    config, _ = crowd.begin(config, tmp_path, "asked")
    crowd.wait(crowd.crowd(config, 1, 0.0, HARNESS_FAULT="after_assignment"))
    other = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, weight_decay=0.5))
    with pytest.raises(ConfigError, match=r"optimizer\.weight_decay=0\.5: study=s was begun with another"):
        begin_study(other)


def test_a_copy_of_a_study_is_a_study_of_its_own(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "copied")
    shutil.copytree(folder, folder.with_name("copy"))
    assert load_study(config.results, "copy").study == "copy"


def test_an_unknown_event_is_not_guessed_at(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "unknown")
    (folder / "attempts.jsonl").write_text('{"event": "note", "trial": 0}\n')
    with pytest.raises(ValueError, match="attempts.jsonl: no such event: note"), join(config, folder):
        pass


def catches(pid, signum):
    """Whether a process has a handler of its own for a signal."""
    (mask,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return int(mask, 16) >> signum - 1 & 1


def test_who_waits_for_a_lock_that_does_not_come_can_be_stopped(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "held")
    with FileLocks(folder).study_lock():
        (waiter,) = crowd.crowd(config, 1, 0.0, STOP_PATIENCE_S="0.5")
        while not catches(waiter.pid, signal.SIGTERM):
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(waiter.pid, signal.SIGTERM)
        crowd.wait([waiter], 20)
    assert waiter.exitcode == 143


def test_half_a_line_at_the_end_of_a_log_is_cut_off_by_who_joins(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "torn")
    crowd.wait(crowd.crowd(config, 1, 0.0))
    logs = [folder / "records.jsonl", folder / "attempts.jsonl"]
    whole = [path.read_bytes() for path in logs]
    for take_up in (lambda: crowd.wait(crowd.crowd(config, 1, 0.0)), lambda: begin_study(config)):
        for path in logs:
            with open(path, "ab") as file:
                file.write(path.read_bytes().splitlines()[-1])
        take_up()
        assert [path.read_bytes() for path in logs] == whole


def test_sqlite_has_room_for_one_worker(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_STORAGE", f"sqlite:///{tmp_path}/optuna.db")
    config, folder = crowd.begin(config, tmp_path, "lite")
    (first,) = crowd.crowd(config, 1, 1.0)
    crowd.until_begun(folder)
    with pytest.raises(ConfigError, match="HARNESS_STORAGE is SQLite, which crashes"), join(config, folder):
        pass
    first.kill()
    first.join()
    with join(config, folder) as worker:
        worker.work()
    crowd.sound(folder, TOTAL)


def test_a_study_is_not_worked_on_in_two_storages(config, tmp_path, monkeypatch):
    config, folder = crowd.begin(config, tmp_path, "here")
    monkeypatch.setenv("HARNESS_STORAGE", f"sqlite:///{tmp_path}/optuna.db")
    with pytest.raises(ConfigError, match="study=s is kept in journal"), join(config, folder):
        pass


def test_a_worker_needs_nothing_but_the_name_of_the_study(config, tmp_path):
    config = dataclasses.replace(config, results=str(tmp_path / "results"))
    begin_study(config)
    assert load_study(config.results, "s") == config
    with pytest.raises(ConfigError, match="study=other: no such study"):
        load_study(config.results, "other")


def test_a_point_is_kept_when_its_trial_is_queued_again(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "kept")
    crowd.wait(crowd.crowd(config, 1, 0.0, HARNESS_FAULT="after_assignment"))
    with join(config, folder) as worker:
        worker.work()
    lines = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    first, second = (line for line in lines if line["trial"] == 0)
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["point"] == second["point"]


def failing(monkeypatch, reason, numbers):
    """Those trials fail for that reason."""
    cheap = worker_module.run_trial

    def run_trial(config, place, report, accept):
        def failed(entry):
            return accept(dataclasses.replace(entry, state="fail", reason=reason) if place.number in numbers else entry)

        entry = cheap(config, place, report, failed)
        return dataclasses.replace(entry, state="fail", reason=reason) if place.number in numbers else entry

    monkeypatch.setattr(worker_module, "run_trial", run_trial)


def test_trials_that_run_out_of_memory_are_no_sign_of_a_broken_study(config, tmp_path, monkeypatch):
    failing(monkeypatch, "out of memory: 9 MiB", range(TOTAL))
    config, folder = crowd.begin(config, tmp_path, "greedy")
    with join(config, folder) as worker:
        worker.work()
    crowd.sound(folder, TOTAL)
    failing(monkeypatch, "error: ValueError: no", range(TOTAL))
    config, folder = crowd.begin(config, tmp_path, "broken")
    with pytest.raises(RuntimeError, match="the last 3 trials failed alike"), join(config, folder) as worker:
        worker.work()


def test_a_process_whose_gpu_answers_with_errors_runs_no_other_trial(config, tmp_path, monkeypatch):
    def synchronize():
        raise torch.AcceleratorError("CUDA error: device-side assert triggered\nmore")

    failing(monkeypatch, "error: AcceleratorError: CUDA error: device-side assert triggered", [2])
    config, folder = crowd.begin(config, tmp_path, "poisoned")
    with join(config, folder) as worker, monkeypatch.context() as device:
        device.setattr(torch.cuda, "is_initialized", lambda: worker.done > 1)
        device.setattr(torch.cuda, "synchronize", synchronize)
        with pytest.raises(WorkerUnhealthy, match="a GPU that answers with errors: CUDA error: device-side"):
            worker.work()
    assert [entry.trial for entry in record.read(folder)] == [0, 1, 2]
    assert not list((folder / ".locks").glob("*.heartbeat"))


def test_a_command_that_replaced_its_process_does_not_ask_for_failed_trials_again(config, tmp_path, monkeypatch):
    config, folder = crowd.begin(config, tmp_path, "again")
    failing(monkeypatch, "error: AcceleratorError: CUDA error", [2])
    with join(config, folder) as worker:
        worker.work()
    monkeypatch.setenv(RESTARTED, "other s")
    begin_study(config)
    assert study_status(config, folder).done == TOTAL
    monkeypatch.setenv(RESTARTED, "other")
    begin_study(config)
    assert study_status(config, folder).done == TOTAL - 1


def _lease(seconds):
    return HereConfig(name="here", lease_s=seconds)
