"""Trials that wait at rungs: the records of one worker for any number of them, and no step that is trained twice."""

import dataclasses
import signal
from collections import Counter

import pytest

from harness import record
from harness.cluster import worker as worker_module
from harness.cluster.assignments import Assignment, AssignmentLog
from harness.cluster.monitor import study_status
from harness.cluster.worker import join
from harness.config import check
from harness.record import Log, Parameters
from harness.system.signals import Interrupted
from harness.training import MetricsCsvLogger
from tests.cluster import crowd, stub
from tests.test_record import make
from tests.tiny import words_of

WORDS = [
    *("sweep=rank_alpha_lr", "run=study", "study=s", "launch.lease_s=3.0", "~sweep.baselines.head"),
    *("sweep.trials=8", "sweep.startup=4", "sweep.confirm={top: 1, seeds: 2}"),
]
SYNCHRONOUS = "sweep.pruner={name: synchronous_halving, reduction_factor: 2}"
ASYNCHRONOUS = "sweep.pruner={name: asynchronous_halving, reduction_factor: 2}"
TOTAL = 16 + 2 * 2  # two arms of two brackets of four trials; the best of both again with two seeds


@pytest.fixture
def config_of(tree):
    def config_of(*words):
        found = tree(*WORDS, *words)
        found["sweep"]["scientific"] = {"lora.rank": [2]}
        return check(found)

    return config_of


def legs_of(folder):
    """How often each trial was begun, and how often it came to a rung or to its end."""
    noted = [words for words in crowd.notes(folder) if words[0] in ("begin", "end")]
    begun, ended = (Counter(int(words[1]) for words in noted if words[0] == kind) for kind in ("begin", "end"))
    return begun, ended


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_synchronous_halving_leaves_the_records_of_one_worker(config_of, tmp_path, monkeypatch, workers):
    stub.cheap(monkeypatch.setattr, 0.0)
    config = config_of(SYNCHRONOUS)
    alone = crowd.undisturbed(config, tmp_path)
    config, folder = crowd.begin(config, tmp_path, "many")
    crowd.wait(crowd.crowd(config, workers, 0.03))
    crowd.sound(folder, TOTAL)
    assert crowd.told(folder) == alone
    searched = [entry for entry in alone if entry.phase == "search"]
    assert Counter(entry.state for entry in searched) == {"pruned": 12, "complete": 4}, "one of each bracket"
    halted = AssignmentLog(folder)
    halted.refresh()
    begun, ended = legs_of(folder)
    for entry in alone:
        rungs = len(halted.halts(entry.trial))
        assert begun[entry.trial] == ended[entry.trial] == rungs + (entry.state == "complete"), "each leg once"
        assert entry.reason.startswith("halving: place ") == (entry.state == "pruned")


def test_a_study_of_more_brackets_has_the_records_of_one_that_was_begun_so(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    config = config_of(SYNCHRONOUS, "sweep.confirm=null")
    whole = crowd.undisturbed(config, tmp_path)
    fewer = dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, trials=4))
    assert len(crowd.undisturbed(fewer, tmp_path / "grown")) == 8
    assert crowd.undisturbed(config, tmp_path / "grown") == whole


def test_the_best_of_each_rung_go_on(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    entries = [entry for entry in crowd.undisturbed(config_of(SYNCHRONOUS), tmp_path) if entry.phase == "search"]
    for arm in {entry.arm for entry in entries}:
        mine = [entry for entry in entries if entry.arm == arm]
        for bracket in (mine[:4], mine[4:]):
            by_score = sorted(bracket, key=lambda entry: -entry.score("val", "accuracy"))
            assert [entry.state for entry in by_score] == ["complete", "pruned", "pruned", "pruned"]
            assert [len(entry.reports) for entry in by_score] == [3, 2, 1, 1]


def test_whoever_is_killed_synchronous_halving_leaves_the_same_records(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    crowd.same_after_random_kills(config_of(SYNCHRONOUS, "launch.lease_s=1.0"), tmp_path, 0.06, 5, TOTAL)


def test_trials_that_wait_are_counted_while_no_worker_is_there(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    config = config_of(SYNCHRONOUS)
    alone = crowd.undisturbed(config, tmp_path)
    config, folder = crowd.begin(config, tmp_path, "stopped")
    begun = []

    def until_the_third(*given):
        begun.append(given)
        if len(begun) == 3:
            raise Interrupted(signal.SIGTERM)
        return run_trial(*given)

    run_trial = worker_module.run_trial
    with monkeypatch.context() as stopped:
        stopped.setattr(worker_module, "run_trial", until_the_third)
        with pytest.raises(Interrupted), join(config, folder) as worker:
            worker.work()
    status = study_status(config, folder)
    assert status.waiting == 2
    assert status.lines()[0] == f"0 of {TOTAL} trials are recorded; 2 wait at rungs"
    with join(config, folder) as worker:
        worker.work()
    assert crowd.told(folder) == alone
    assert study_status(config, folder).waiting == 0


@pytest.mark.parametrize("workers", [1, 4])
def test_asynchronous_halving_ends_every_trial_once(config_of, tmp_path, monkeypatch, workers):
    stub.cheap(monkeypatch.setattr, 0.0)
    config, folder = crowd.begin(config_of(ASYNCHRONOUS), tmp_path, "many")
    crowd.wait(crowd.crowd(config, workers, 0.03))
    crowd.sound(folder, TOTAL)
    searched = [entry for entry in record.read(folder) if entry.phase == "search"]
    states = Counter(entry.state for entry in searched)
    assert set(states) == {"pruned", "complete"}
    assert states["complete"] >= 2
    begun, ended = legs_of(folder)
    assert begun == ended
    assert max(begun.values()) == 3


SMALL = [
    *("trainer.batch_size=8", "trainer.max_steps=8", "trainer.evaluations=4", "trainer.epochs=9.0", "launch=here"),
    *("lora.dropout=0.2", "sweep.trials=4", "sweep.confirm=null", "~sweep.baselines.full", "trainer.threads=1"),
]


def trained(config, tmp_path, monkeypatch, name):
    """The records of a study whose trials are real, and each trained step of each trial."""
    steps = []

    def count(curve, trainer, batch):
        steps.append((int(curve.path.parent.name.split("-")[0]), trainer.step))
        before(curve, trainer, batch)

    before = MetricsCsvLogger.after_step
    with monkeypatch.context() as watched:
        watched.setattr(MetricsCsvLogger, "after_step", count)
        entries = crowd.undisturbed(config, tmp_path / name)
    return entries, steps


def test_a_promoted_trial_goes_on_from_its_checkpoint_and_ends_as_one_that_never_halted(
    config_of, tmp_path, own_cache, monkeypatch
):
    """Evaluations after steps 2, 4, 6 and 8: rungs at 2 and 4."""
    entries, steps = trained(config_of(*SMALL, SYNCHRONOUS), tmp_path, monkeypatch, "halving")
    whole, all_steps = trained(config_of(*SMALL, "sweep.pruner=none"), tmp_path, monkeypatch, "whole")
    assert Counter(all_steps) == Counter((trial, step) for trial in range(4) for step in range(1, 9))
    assert Counter(steps) == Counter(
        (entry.trial, step) for entry in entries for step in range(1, entry.steps.made + 1)
    ), "no step twice"
    assert sorted(entry.steps.made for entry in entries) == [2, 2, 4, 8]
    for entry, undisturbed in zip(entries, whole, strict=True):
        assert entry.point == undisturbed.point
        assert entry.reports == undisturbed.reports[: len(entry.reports)]
        if entry.state == "complete":
            assert (entry.scores, entry.steps) == (undisturbed.scores, undisturbed.steps)
    folder = tmp_path / "halving/alone/s"
    log = Log(folder)
    log.refresh()
    (last,) = [entry for entry in log.records if entry.state == "complete"]
    assert last.steps.resumed == 4
    assignments = AssignmentLog(folder)
    assignments.refresh()
    first, second = assignments.halts(last.trial)
    assert 0 < first.time.train_s < second.time.train_s < last.time.train_s, "the seconds of all legs"
    assert first.time.total_s < second.time.total_s < last.time.total_s
    assert not list(folder.glob("trials/*/checkpoint")), "nothing is left of those that did not go on"
    assert sorted(path.name for path in folder.glob("trials/*")) == [f"{trial:04d}" for trial in range(4)]


def test_a_trial_that_is_killed_before_its_halt_is_known_halts_when_it_is_resumed(config_of, tmp_path, own_cache):
    """Its checkpoint holds the report of the rung; evaluations are after steps 2, 4, 6 and 8."""
    config = config_of(*SMALL, SYNCHRONOUS, "launch.lease_s=1.0")
    alone = crowd.undisturbed(config, tmp_path)
    config, folder = crowd.begin(config, tmp_path, "killed")
    (victim,) = crowd.crowd(config, 1, None, HARNESS_FAULT="before_halt")
    crowd.wait([victim], 120)
    assert victim.exitcode == -signal.SIGKILL
    assert "halt" not in (folder / "attempts.jsonl").read_text()
    with join(config, folder) as worker:
        worker.work()
    assert crowd.told(folder) == alone
    assignments = AssignmentLog(folder)
    assignments.refresh()
    assert [step for step, _ in assignments.halts(0)[0].reports] == [2]


def test_a_trial_that_failed_after_a_rung_comes_to_it_again_when_it_is_reopened(tmp_path):
    assignments, entry = AssignmentLog(tmp_path), make(0, state="pruned", reports=[[2, 0.5]])
    for attempt in (1, 2):
        assignment = Assignment(0, attempt, "w", {})
        assignments.add(assignment)
        if attempt == 1:
            assignments.halt(assignment, entry)
    assert assignments.halted_at(0) == 2
    assignments.reopen(0)
    assert (assignments.halted_at(0), assignments.halts(0), assignments.waits(0)) == (0, (), False)


@pytest.mark.parametrize("most", [0, 4])
def test_trials_that_break_a_constraint_take_no_places(tree, tmp_path, monkeypatch, most):
    """The stub's score and, here, its parameters grow with the rank. Where all break it, as under 0, none goes before
    another; a baseline keeps no constraint.
    """
    stub.cheap(monkeypatch.setattr, 0.0)
    run = worker_module.run_trial

    def counted(config, context, report, accept):
        total = getattr(config.lora, "rank", 100)
        parameters = Parameters(adapter=total, head=0, other=0, frozen=0, total=total)
        return run(config, context, report, lambda entry: accept(dataclasses.replace(entry, parameters=parameters)))

    monkeypatch.setattr(worker_module, "run_trial", counted)
    found = tree(*WORDS, SYNCHRONOUS, "sweep.mode=joint", "sweep.trials=4", "sweep.confirm=null")
    found["sweep"] |= {
        "scientific": {"lora.rank": {"low": 1, "high": 16, "integer": True}},
        "constraints": {"adapter_parameters": most},
        "enqueue": [{"lora.rank": rank} for rank in (8, 3, 16, 4)],
    }
    entries = crowd.undisturbed(check(found), tmp_path)
    ranks = [entry.point["lora.rank"] for entry in entries if entry.state == "complete" and entry.arm != "full"]
    assert ranks == [4 if most else 8]
    full = [entry for entry in entries if entry.arm == "full"]
    best = max(full, key=lambda entry: entry.score("val", "accuracy"))
    assert [entry.trial for entry in full if entry.state == "complete"] == [best.trial]


def test_a_study_of_brackets_may_go_on_with_more_trials(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    all_at_once = crowd.undisturbed(config_of(SYNCHRONOUS, "sweep.confirm=null"), tmp_path / "once")
    crowd.undisturbed(config_of(SYNCHRONOUS, "sweep.confirm=null", "sweep.trials=4", "sweep.startup=4"), tmp_path)
    more = crowd.undisturbed(config_of(SYNCHRONOUS, "sweep.confirm=null"), tmp_path)
    assert more == all_at_once


def test_a_study_that_cannot_be_repeated_says_so_at_its_beginning_and_in_its_report(
    run_here, tiny_base, tiny_data, tmp_path, own_cache, caplog
):
    words = [*words_of(tiny_base, tiny_data), "run=study", "study=s", "tracking=off", "trainer.accelerator=cpu"]
    words += ["sweep=rank_alpha_lr", "sweep.mode=joint", "sweep.trials=2", "sweep.baseline_trials=1", "launch=here"]
    words += ["sweep.sampler=random", "sweep.confirm=null", "trainer.batch_size=8", "trainer.max_steps=4"]
    words += ["sweep.scientific={lora.rank: [1, 2]}", "lora.targets=[query]"]
    code, said, error = run_here(*words, "trainer.evaluations=2", ASYNCHRONOUS)
    assert code == 0, error
    assert "sweep.pruner=asynchronous_halving: which trials go on depends on which worker is faster" in caplog.text
    assert "The search cannot be repeated" in said + (tmp_path / "results/s/table.md").read_text()
    code, _, error = run_here(*words, "study=t", "trainer.evaluations=1", ASYNCHRONOUS)
    assert (code, error.splitlines()[-1].partition(": ")[0]) == (2, "sweep.pruner=asynchronous_halving")
    assert not (tmp_path / "results/t").exists()
