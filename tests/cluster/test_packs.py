"""Studies whose workers train several trials at once: the records of a study of trials one after another."""

import dataclasses
import json
import signal
import time

import pytest

from harness import record
from harness.cluster.packs import HeldTrials
from harness.cluster.worker import join
from harness.config import ConfigError, check
from tests.cluster import crowd
from tests.test_record import make

TOTAL = 10  # three ranks and two baselines, two trials each


@pytest.fixture
def config(tree):
    def build(*words, **changes):
        composed = tree("sweep=rank_alpha_lr", "run=study", "study=s", "trainer.threads=1", *words)
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


def sizes(folder, phase="search"):
    return {entry.arm: entry.pack_size for entry in record.read(folder) if entry.phase == phase}


def work(config, tmp_path, name):
    config, folder = crowd.begin(config, tmp_path, name)
    with join(config, folder) as worker:
        worker.work()
    return folder


def test_a_study_has_the_same_records_whether_its_trials_share_passes_or_not(config, tmp_path, own_cache):
    whole = config("model.dropout=0.1", confirm={"top": 1, "seeds": 2, "margin": 0.01, "set": {}})
    alone = work(whole, tmp_path, "alone")
    folder = work(packed(whole), tmp_path, "packed")
    same(folder, told(alone))
    assert sizes(folder) == {"rank=1": 3, "rank=2": 3, "rank=4": 3, "full": 1, "head": 1}
    assert set(sizes(folder, "confirm").values()) == {1}, "what they cost is measured"
    note = "trained in a pack of 3 (launch.pack): its times and its memory are of all of them"
    assert all((note in entry.notes) == (entry.pack_size == 3) for entry in record.read(folder))
    assert set(sizes(alone).values()) == {1}


@pytest.mark.parametrize(
    "fault", ["in_training:20", "in_checkpoint:9", "before_record", "before_tell", "after_assignment:3"]
)
def test_nothing_is_lost_of_a_pack_that_is_killed(config, tmp_path, own_cache, fault):
    alone = told(work(config("model.dropout=0.1"), tmp_path, "alone"))
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


def test_a_pack_that_is_stopped_saves_every_trial_and_goes_on(config, tmp_path, own_cache):
    long = config("model.dropout=0.1", "trainer.max_steps=200", "trainer.epochs=20.0")
    long = dataclasses.replace(long, sweep=dataclasses.replace(long.sweep, trials=1, prune_after=None))
    alone = told(work(long, tmp_path, "alone"))
    whole, folder = crowd.begin(packed(long, 5), tmp_path, "stopped")
    (worker,) = crowd.crowd(whole, 1, None)
    crowd.until_begun(folder, 60, count=5)
    time.sleep(1.0)
    worker.terminate()
    crowd.wait([worker], 60)
    assert worker.exitcode == 128 + signal.SIGTERM
    lines = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    back = [line["trial"] for line in lines if line["event"] == "requeue"]
    assert sorted(back) == sorted({line["trial"] for line in lines} - {entry.trial for entry in record.read(folder)})
    assert len(back) >= 3
    assert not any("why" in line for line in lines)
    crowd.wait(crowd.crowd(whole, 1, None), 120)
    same(folder, alone)


def test_a_trial_whose_worker_vanished_runs_alone_and_a_suspect_process_takes_no_more():
    held = HeldTrials()
    assert held.may_begin(alone=True)
    held.begin(1, alone=False)
    assert held.may_begin(alone=False)
    assert not held.may_begin(alone=True)
    held.begin(2, alone=False)
    assert not held.end(1, make(1, state="fail", reason="out of memory: 1 MiB"))
    assert not held.may_begin(alone=False), "until the other one has ended"
    assert held.end(2, make(2))
    assert held.may_begin(alone=True)
    held.begin(3, alone=True)
    assert not held.may_begin(alone=False)


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
