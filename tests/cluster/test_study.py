"""A study is the same whether it was disturbed or not: stopped, killed, torn, taken up again."""

import dataclasses
import json
import os
import signal
import subprocess
import time

import optuna
import pytest
import yaml

from harness import record
from harness.cluster import study as study_module
from harness.cluster import worker as worker_module
from harness.cluster.optuna_storage import KernelLock, open_storage
from harness.cluster.single import join_single
from harness.cluster.study import begin_study, check_arms
from harness.cluster.worker import join
from harness.config import ConfigError, check
from harness.record import Provenance, Record
from harness.report import write_report
from harness.system.signals import Interrupted
from harness.trial import tracking
from harness.trial.fingerprints import environment_of
from tests.cluster import crowd
from tests.cluster.stub import accepting
from tests.test_record import make


@pytest.fixture
def config(tree):
    def build(trials=2, prune_after=None, **changes):
        composed = tree("sweep=rank_alpha_lr", "run=study", "study=s")
        composed["sweep"] |= {"scientific": {"lora.rank": [1, 2]}, "trials": trials, "startup": 1}
        composed["sweep"] |= {"prune_after": prune_after} | changes
        return check(composed)

    return build


def stub(config, place, report) -> Record:
    """A trial that costs nothing: its score is a function of its configuration."""
    score = round(0.5 + 0.01 * (getattr(config.lora, "rank", 5)) + config.optimizer.lr, 6)
    scores = {config.trainer.objective: score, "loss": 1 - score}
    entry = make(
        place.number,
        study=place.study,
        arm=place.arm,
        phase=place.phase,
        point=place.point,
        fingerprint=worker_module.fingerprint_of(config),
        task=config.task.name,
        model=config.model.name,
        provenance={"inputs": study_module.identity(config)},
        objective=config.trainer.objective,
        scores={"val": scores, "test": scores},
        time={"total_s": 0.0},
    )
    if report(4, scores):
        return dataclasses.replace(entry, state="pruned")
    return entry


@pytest.fixture
def stubbed(monkeypatch):
    monkeypatch.setattr(worker_module, "run_trial", accepting(stub))


def finish(config, tmp_path):
    config = dataclasses.replace(config, results=str(tmp_path / "results"))
    folder = begin_study(config)
    with join(config, folder) as worker:
        worker.work()
    return record.read(folder)


def told(entries):
    """Records without what an interruption may change."""
    return [dataclasses.replace(entry, attempt=1) for entry in entries]


def optuna_trials(tmp_path):
    found = crowd.optunas(tmp_path / "results/s")
    return [trial for trials in found.values() for trial in trials]


def test_every_arm_gets_the_same_number_of_trials_and_optuna_mirrors_the_records(config, tmp_path, stubbed):
    records = finish(config(trials=3), tmp_path)
    assert [entry.trial for entry in records] == list(range(12))
    assert {entry.arm for entry in records} == {"rank=1", "rank=2", "full", "head"}
    mirrored = {trial.user_attrs["trial"]: trial for trial in optuna_trials(tmp_path)}
    for entry in records:
        assert mirrored[entry.trial].value == entry.scores["val"]["accuracy"]
        named = {"lora.rank": int(entry.arm[-1])} if entry.arm.startswith("rank=") else {"arm": entry.arm}
        assert mirrored[entry.trial].params == named | entry.point


@pytest.mark.parametrize("stop_at", [0, 3, 5])
def test_a_stopped_study_goes_on_to_the_same_records(config, tmp_path, stubbed, monkeypatch, stop_at):
    undisturbed = finish(config(), tmp_path / "a")
    ran = []

    def stops(trial_config, place, report):
        ran.append(place.number)
        if place.number == stop_at and ran.count(stop_at) == 1:
            report(4, {"accuracy": 0.5, "loss": 0.5})
            raise Interrupted(signal.SIGINT)
        return stub(trial_config, place, report)

    monkeypatch.setattr(worker_module, "run_trial", accepting(stops))
    with pytest.raises(Interrupted):
        finish(config(), tmp_path / "b")
    resumed = finish(config(), tmp_path / "b")
    assert told(resumed) == told(undisturbed)
    assert ran == [*range(stop_at + 1), *range(stop_at, 8)]
    states = [trial.state.name for trial in optuna_trials(tmp_path / "b")]
    assert states.count("COMPLETE") == 8
    assert states.count("FAIL") == 1


def test_a_finished_study_runs_nothing_and_more_trials_only_add(config, tmp_path, stubbed, monkeypatch):
    first = finish(config(trials=1), tmp_path)
    more = finish(config(trials=2), tmp_path)
    assert more[:4] == first
    monkeypatch.setattr(worker_module, "run_trial", lambda *_: pytest.fail("trained again"))
    assert finish(config(trials=2), tmp_path) == more


def test_another_question_under_the_same_name_is_refused_with_the_difference(config, tmp_path, stubbed):
    finish(config(trials=1), tmp_path)
    with pytest.raises(ConfigError, match=r"lora\.rank=\[1, 4\]: study=s was begun with another \w+, \[1, 2\]"):
        finish(config(trials=1, scientific={"lora.rank": [1, 4]}), tmp_path)


def test_arms_in_another_order_are_refused_since_numbers_would_go_to_others(config, tmp_path, stubbed):
    first = {name: {"set": {"lora.rank": rank}, "nuisance": {}} for name, rank in (("high", 8), ("low", 4))}
    finish(config(trials=1, baselines=first), tmp_path)
    with pytest.raises(ConfigError, match=r'sweep\.baselines=\["low", "high"\]: .* another \w+, \["high", "low"\]'):
        finish(config(trials=1, baselines=dict(reversed(first.items()))), tmp_path)


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ({}, ""),
        (
            {"threads": 64, "revision": "a" * 40},
            "; made elsewhere: revision aaaaaaaaaaaa (now {}), threads 64 (now {})",
        ),
        (None, "; its environment was not recorded"),
    ],
)
def test_a_suggestion_that_was_trained_before_is_looked_up_and_what_differs_is_said(
    config, tmp_path, monkeypatch, then, said
):
    trained, now = [], environment_of(config())

    def once(trial_config, place, report):
        trained.append(place.number)
        made_with = {} if then is None else now | then
        return dataclasses.replace(stub(trial_config, place, report), provenance=Provenance(environment=made_with))

    monkeypatch.setattr(worker_module, "run_trial", accepting(once))
    records = finish(config(trials=3, nuisance={}, baselines={}), tmp_path)
    assert trained == [0, 1]
    said = said.format((now["revision"] or "none")[:12], now["threads"])
    assert [entry.reason for entry in records[2:]] == [
        f"same configuration as trial {number}: looked up, not trained again{said}" for number in (0, 1, 0, 1)
    ]
    assert [entry.scores for entry in records[2:4]] == [entry.scores for entry in records[:2]]
    assert [entry.provenance for entry in records[2:4]] == [entry.provenance for entry in records[:2]]


def test_an_arm_that_cannot_run_is_said_before_anything_is_trained(config, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module, "run_trial", lambda *_: pytest.fail("trained"))
    with pytest.raises(ConfigError, match="arm rank=40: lora: rank 40: above min"):
        check_arms(config(scientific={"lora.rank": [1, 40]}))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"nuisance": {"lora.dropout": {"low": 0.0, "high": 1.9}}},
            r"arm rank=1, rank=2: lora\.dropout=1\.9: input should be less than 1; its range \[0, 1\.9\] reaches it",
        ),
        (
            {"nuisance": {"optimizer.lr": {"low": 1e-4, "high": 1e-3}, "optimizer.warmup": {"low": 0.5, "high": 1.0}}},
            r"arm rank=1, rank=2: optimizer\.warmup=1\.0: input should be less than 1",
        ),
        # what only the network's shapes can tell, and only at the high end
        (
            {"nuisance": {"lora.redistribute": {"low": 1.0, "high": 3.0}}},
            r"arm rank=1, rank=2: lora: redistribute 3\.0",
        ),
        ({"scientific": {"trainer.objective": ["accuracy", "loss"]}}, r"arm objective=loss: trainer\.objective=loss"),
    ],
)
def test_an_arm_that_cannot_run_somewhere_in_its_ranges_is_said(config, changes, line):
    with pytest.raises(ConfigError, match=f"^{line}[^\n]*$"):
        check_arms(config(baselines={}, **changes))


def test_the_first_points_that_a_study_draws_are_among_those_that_were_checked(config, tmp_path, stubbed, monkeypatch):
    checked = []

    def note(tree, arm, point):
        checked.append((arm.name, point))
        return trial_config(tree, arm, point)

    trial_config = study_module.trial_config
    monkeypatch.setattr(study_module, "trial_config", note)
    check_arms(config(trials=4, startup=3))
    monkeypatch.setattr(study_module, "trial_config", trial_config)
    records = finish(config(trials=4, startup=3), tmp_path)
    drawn = [(entry.arm, entry.point) for entry in records if entry.trial < 12]
    assert len(drawn) == 12
    assert all(point in checked for point in drawn)
    # and of each of three arms with two and one ranges, both ends of each range, alone and together
    assert len(checked) == 2 * (3 + 6) + 2 * (3 + 2) - 4


def test_a_point_that_breaks_a_rule_is_a_failed_trial_and_the_study_ends(config, tmp_path, stubbed):
    """As where a study was begun without its checks, or a rule allows no interval."""
    bounds = {"lora.dropout": {"low": 0.0, "high": 1.9}}
    records = finish(config(trials=6, startup=6, nuisance=bounds, baselines={}), tmp_path)
    assert len(records) == 12
    for entry in records:
        valid = entry.point["lora.dropout"] < 1
        assert entry.state == ("complete" if valid else "fail")
        assert valid or entry.reason.startswith("invalid: lora.dropout=")
    assert {entry.state for entry in records} == {"complete", "fail"}
    assert finish(config(trials=6, startup=6, nuisance=bounds, baselines={}), tmp_path) == records


def test_single_trials_are_one_process_at_a_time(compose, tmp_path):
    config = dataclasses.replace(compose(), results=str(tmp_path / "results"))
    with join_single(config), pytest.raises(ConfigError, match="another process"), join_single(config):
        pass


def test_a_torn_journal_is_mended_and_nothing_told_is_lost(config, tmp_path, stubbed):
    finish(config(trials=1), tmp_path)
    path = tmp_path / "results/s/optuna.journal"
    whole = path.read_bytes()
    for cut in (1, 5, 30):
        path.write_bytes(whole + b'{"op_code": 4, "worker_id": "x"'[:-cut])
        lock = KernelLock(path)
        lock.acquire()
        lock.release()
        assert path.read_bytes() == whole
    path.write_bytes(whole + b'{"op_')
    finish(config(trials=2), tmp_path)
    assert sum(trial.state.is_finished() for trial in optuna_trials(tmp_path)) == 8


def test_a_trial_left_running_is_settled_by_its_record_or_failed(config, tmp_path, stubbed):
    finish(config(trials=1), tmp_path)
    folder = tmp_path / "results/s"
    storage, name = open_storage(folder)
    mirror = optuna.load_study(study_name=name, storage=storage)
    for number in (90, 91):
        mirror.enqueue_trial({}, user_attrs={"trial": number, "arm": "rank=1", "attempt": 1})
        mirror.ask()
    record.append(folder, make(90))
    finish(config(trials=1), tmp_path)
    states = {trial.user_attrs["trial"]: trial.state.name for trial in optuna_trials(tmp_path)}
    assert (states[90], states[91]) == ("COMPLETE", "FAIL")


def test_unforeseen_failures_one_after_another_end_the_study(config, tmp_path, monkeypatch):
    def broken(trial_config, place, report):
        return dataclasses.replace(stub(trial_config, place, report), state="fail", reason="error: X", scores={})

    monkeypatch.setattr(worker_module, "run_trial", accepting(broken))
    with pytest.raises(RuntimeError, match="the last 3 trials failed alike"):
        finish(config(), tmp_path)
    assert len(record.read(tmp_path / "results/s")) == 3
    monkeypatch.setattr(worker_module, "run_trial", accepting(stub))  # mended: the same command tries them again
    records = finish(config(), tmp_path)
    assert sorted(entry.trial for entry in records) == list(range(8))
    assert {entry.state for entry in record.read(tmp_path / "results/s")} == {"complete"}


def test_other_data_under_the_same_name_is_refused(config, tmp_path, stubbed, monkeypatch):
    finish(config(trials=1), tmp_path)
    (entry, *_) = record.read(tmp_path / "results/s")
    assert entry.task == "text_csv"
    before = study_module.identity
    monkeypatch.setattr(study_module, "identity", lambda config: before(config) | {"data": "other"})
    with pytest.raises(ConfigError, match="begun on other inputs"):
        finish(config(trials=2), tmp_path)


def test_trials_that_confirm_in_other_orders_of_the_tasks_are_no_other_inputs(several, tmp_path, stubbed):
    composed = several("sweep=continual", "run=study", "study=s")
    composed["sweep"] |= {"scientific": {"task.learn": ["continued"]}, "trials": 1, "startup": 1}
    composed["sweep"]["confirm"] = {"top": 1, "seeds": 3, "margin": 0.01, "set": {}, "orders": True}
    finish(check(composed), tmp_path)
    records = finish(check(composed), tmp_path)
    confirmed = [entry for entry in records if (entry.arm, entry.phase) == ("head", "confirm")]
    assert len({entry.provenance.inputs["data"] for entry in confirmed}) == len(confirmed) == 3


def test_arms_of_other_data_by_design_are_no_other_inputs(config, tmp_path, stubbed):
    sizes = {"scientific": {"task.train_rows": [20, 40]}, "baselines": {}}
    finish(config(trials=1, **sizes), tmp_path)
    records = finish(config(trials=2, **sizes), tmp_path)
    assert len(records) == 4
    assert len({entry.provenance.inputs["data"] for entry in records}) == 2


def test_the_adapters_path_is_that_of_the_ended_trial_wherever_it_is_said(config, tmp_path, own_cache, monkeypatch):
    summaries = []

    class Tracker(tracking.Tracker):
        @classmethod
        def open(cls, settings, run):
            return cls()

        def log(self, step, values):
            pass

        def finish(self, entry, failed):
            summaries.append(record.plain(entry))

    monkeypatch.setattr(tracking, "open_run", lambda *_, **__: tracking.Mirror(Tracker()))
    records = finish(config(trials=1, baselines={}), tmp_path)
    folder = tmp_path / "results" / "s"
    kept = [json.loads((folder / f"trials/{number:04d}/record.json").read_text()) for number in (0, 1)]
    said = [[tree["adapter"]["path"] for tree in trees] for trees in (map(record.plain, records), kept, summaries)]
    assert said == [["trials/0000/adapter", "trials/0001/adapter"]] * 3
    for entry in records:
        assert {file.name for file in (folder / entry.adapter.path).iterdir()} == set(entry.adapter.sha256)
    assert [path.name for path in sorted((folder / "trials").iterdir())] == ["0000", "0001"]


def test_a_killed_process_loses_no_record(config, tmp_path, zygote):
    """Real trials, killed with SIGKILL in the middle, then finished by a fresh process."""
    composed = tmp_path / "config.yaml"
    from harness.config import to_dict

    plan = dataclasses.replace(config(trials=1), results=str(tmp_path / "results"))
    composed.write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(plan)))))
    script = (
        "import sys, yaml\nfrom pathlib import Path\nfrom harness.config import check\n"
        "from harness.cluster.study import begin_study\nfrom harness.cluster.worker import join\n"
        f"config = check(yaml.safe_load(open({str(composed)!r})))\n"
        "with join(config, begin_study(config)) as worker: worker.work()\n"
    )
    environment = os.environ | {"HARNESS_CACHE": str(tmp_path / "cache")}
    first = zygote.popen(["-c", script], env=environment, stderr=subprocess.DEVNULL)
    log = tmp_path / "results/s" / record.RECORDS
    deadline = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    first.kill()
    first.wait()
    kept = record.read(tmp_path / "results/s")
    assert kept
    zygote.python(["-c", script], tmp_path, environment).check_returncode()
    records = record.read(tmp_path / "results/s")
    assert records[: len(kept)] == kept
    assert sorted(entry.trial for entry in records) == [0, 1, 2, 3]
    assert all(entry.state == "complete" for entry in records)


def test_variants_and_a_method_of_peft_are_arms_of_one_study(tree, tmp_path, own_cache):
    composed = tree("sweep=variants", "run=study", "study=v", "lora.rank=2", "trainer.max_steps=4")
    composed["sweep"] |= {"scientific": {"lora.variant": ["lora", "dora", "adalora"]}, "trials": 1, "prune_after": None}
    composed["sweep"]["baselines"]["loha"]["set"]["lora"]["arguments"] = {"r": 2, "alpha": 4}
    config = check(composed)
    check_arms(config)
    config = dataclasses.replace(config, results=str(tmp_path / "results"))
    folder = begin_study(config)
    with join(config, folder) as worker:
        worker.work()
    states = {entry.arm: (entry.state, entry.reason) for entry in record.read(folder)}
    text = write_report(folder)
    arms = ("variant=lora", "variant=dora", "variant=adalora", "loha", "full", "head")
    assert states == dict.fromkeys(arms, ("complete", ""))
    assert all(f"| {arm} " in text for arm in arms)
