"""Studies whose workers train several trials at once: the records of a study of trials one after another."""

import dataclasses
import json
import os
import signal

import pytest

from harness import record
from harness.cluster import worker as worker_module
from harness.cluster.packs import PackedTrials, train_packs
from harness.cluster.restart import WorkerUnhealthy
from harness.cluster.worker import join
from harness.config import ConfigError, check
from harness.system.signals import Interrupted, graceful_stop, raise_if_stop_requested
from tests.cluster import crowd, stub
from tests.test_record import make
from tests.trial.test_packed import CPU

TOTAL = 10  # three ranks and two baselines, two trials each


@pytest.fixture
def config(tree):
    def build(*words, **changes):
        composed = tree("sweep=rank_alpha_lr", "run=study", "study=s", *CPU, *words)
        composed["sweep"] |= {"scientific": {"lora.rank": [1, 2, 4]}, "trials": 2, "startup": 1, "prune_after": 1}
        composed["sweep"] |= changes
        return check(composed)

    return build


def packed(config, size=3):
    return dataclasses.replace(config, launch=dataclasses.replace(config.launch, pack=size))


def told(folder):
    """What the records say that packing may not change."""
    found = {}
    for entry in sorted(record.read(folder), key=lambda entry: entry.trial):
        scores = {f"{split} {name}": value for split, of in entry.scores.items() for name, value in of.items()}
        curve = {int(step): value for step, value in entry.reports}
        found[entry.trial] = (entry.arm, entry.phase, entry.state, entry.point, entry.fingerprint, scores, curve)
    return found


def same(folder, expected):
    found = told(folder)
    assert found.keys() == expected.keys()
    for trial, (*facts, scores, curve) in found.items():
        assert facts == list(expected[trial][:-2]), trial
        assert scores == pytest.approx(expected[trial][-2], abs=1e-6), trial
        assert curve == pytest.approx(expected[trial][-1], abs=1e-6), trial


def sizes(folder):
    return {entry.arm: entry.pack_size for entry in record.read(folder)}


def work(config, tmp_path, name):
    config, folder = crowd.begin(config, tmp_path, name)
    with join(config, folder) as worker:
        worker.work()
    return folder


_ALONE = {}


@pytest.fixture
def alone(config, tmp_path, own_cache):
    """The records of the study whose trials train one after another; trained once."""
    if not _ALONE:
        _ALONE.update(told(work(config("model.dropout=0.1"), tmp_path, "alone")))
    return _ALONE


def test_a_study_has_the_same_records_whether_its_trials_share_passes_or_not(config, alone, tmp_path, own_cache):
    folder = work(packed(config("model.dropout=0.1")), tmp_path, "packed")
    same(folder, alone)
    assert sizes(folder) == dict.fromkeys(("rank=1", "rank=2", "rank=4", "full", "head"), 3), (
        "trials without a place too"
    )
    note = "trained in a pack of 3 (launch.pack): its times and its memory are of all of them"
    assert all(note in entry.notes for entry in record.read(folder))


def test_trials_that_confirm_train_by_themselves_so_that_their_costs_are_measured(config, tmp_path, own_cache):
    confirm = {"top": 1, "seeds": 2, "margin": 0.01, "set": {}}
    folder = work(packed(config(trials=1, startup=1, prune_after=None, confirm=confirm)), tmp_path, "confirmed")
    found = [entry for entry in record.read(folder) if entry.phase == "confirm"]
    assert len(found) == 6
    assert {(entry.pack_size, entry.state) for entry in found} == {(1, "complete")}
    assert max(entry.pack_size for entry in record.read(folder)) == 3


@pytest.mark.parametrize("fault", ["in_training:20", "before_record"])
def test_nothing_is_lost_of_a_pack_that_is_killed(config, alone, tmp_path, own_cache, fault):
    whole, folder = crowd.begin(packed(config("model.dropout=0.1")), tmp_path, "killed")
    victims = crowd.crowd(whole, 1, None, HARNESS_FAULT=fault)
    crowd.wait(victims, 120)
    assert victims[0].exitcode == -signal.SIGKILL
    begun = {json.loads(line)["trial"] for line in (folder / "attempts.jsonl").read_text().splitlines()}
    left = begun - {entry.trial for entry in record.read(folder)}
    crowd.wait(crowd.crowd(whole, 1, None), 120)
    same(folder, alone)
    found = crowd.audit(folder, TOTAL, crowd.told(folder))
    assert found == crowd.Audit()
    entries = {entry.trial: entry for entry in record.read(folder)}
    assert all(entries[trial].attempt == 2 for trial in left)
    if fault.startswith("in_"):
        assert len(left) >= 3
        assert sum(entries[trial].steps.resumed is not None for trial in left) >= 3


def test_a_pack_that_is_stopped_saves_every_trial_and_goes_on(config, alone, tmp_path, own_cache):
    whole, folder = crowd.begin(packed(config("model.dropout=0.1"), 5), tmp_path, "stopped")
    (worker,) = crowd.crowd(whole, 1, None)
    crowd.until_begun(folder, count=3)
    worker.terminate()
    crowd.wait([worker], 60)
    assert worker.exitcode == 128 + signal.SIGTERM
    lines = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    back = [line["trial"] for line in lines if line["event"] == "requeue"]
    assert sorted(back) == sorted({line["trial"] for line in lines} - {entry.trial for entry in record.read(folder)})
    assert len(back) >= 2
    assert not any("why" in line for line in lines)
    crowd.wait(crowd.crowd(whole, 1, None), 120)
    same(folder, alone)


def test_a_trial_whose_worker_vanished_runs_alone_and_a_suspect_process_takes_no_more():
    packed = PackedTrials()
    assert packed.may_begin(alone=True)
    packed.begin(1, alone=False)
    assert packed.may_begin(alone=False)
    assert not packed.may_begin(alone=True)
    packed.begin(2, alone=False)
    assert packed.pack_size(1) == packed.pack_size(2) == 2
    assert not packed.end(1, make(1, state="fail", reason="out of memory: 1 MiB"))
    assert not packed.may_begin(alone=False), "until the other one has ended"
    assert packed.end(2, make(2))
    assert packed.may_begin(alone=True)
    packed.begin(3, alone=True)
    assert packed.pack_size(3) == 1
    assert not packed.may_begin(alone=False)


def test_what_ran_out_of_memory_beside_others_is_tried_again_alone(config, tmp_path, monkeypatch):
    """Three trials are packed at once; the second fails beside them, and so does another one when it is alone."""
    stub.cheap(monkeypatch.setattr, 0.0)
    begun, made, told = [], [], worker_module.MemoryBaseline

    def baseline():
        made.append(len(begun))
        return told()

    def run_trial(config, context, report, accept):
        begun.append(context.number)
        if context.pack is not None:
            context.pack.pause(0.01)  # until every place has a trial
        entry = stub.stub(0.0)(config, context, report)
        if (begun.count(context.number) == 1 and context.number == begun[1]) or context.number == begun[0]:
            entry = dataclasses.replace(entry, state="fail", reason="out of memory: 1 MiB")
        accept(entry)
        return entry

    monkeypatch.setattr(worker_module, "run_trial", run_trial)
    monkeypatch.setattr(worker_module, "MemoryBaseline", baseline)
    folder = work(packed(config(prune_after=None)), tmp_path, "short")
    found = {entry.trial: entry for entry in record.read(folder)}
    assert len(found) == TOTAL
    assert found[begun[1]].state == "complete"
    assert found[begun[0]].reason == "out of memory: 1 MiB"
    assert {trial: found[trial].attempt for trial in begun[:2]} == dict.fromkeys(begun[:2], 2)
    lines = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    back = [(line["trial"], line["why"], line["alone"]) for line in lines if line["event"] == "requeue"]
    assert sorted(back) == sorted((trial, "out of memory: 1 MiB", True) for trial in begun[:2])
    assert made == [0], "one baseline of a worker, from before its first trial"


def test_a_signal_while_a_pack_ends_is_kept_and_nothing_restarts():
    begun = []

    def train(pack):
        begun.append(1)
        if len(begun) == 1:
            pack.pause(0.01)
            raise WorkerUnhealthy("memory")
        pack.pause(0.05)
        os.kill(os.getpid(), signal.SIGUSR2)
        raise_if_stop_requested()

    with graceful_stop(), pytest.raises(Interrupted) as stop:
        train_packs(train, 2)
    assert stop.value.exit_code == 128 + signal.SIGUSR2


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        (("trainer.devices=2",), {}, "launch.pack=2: for trials of one device, and there are 2; launch.pack=1"),
        ((), {"constraints": {"memory": 1.0}}, "launch.pack=2: sweep.constraints.memory is measured of trials that"),
        ((), {"constraints": {"time.step_cpu_s": 1.0}}, "launch.pack=2: sweep.constraints.time.step_cpu_s is measured"),
    ],
)
def test_what_a_pack_cannot_measure_is_refused(config, words, changes, said):
    with pytest.raises(ConfigError) as error:
        config("launch.pack=2", *words, **changes)
    assert said in str(error.value)
