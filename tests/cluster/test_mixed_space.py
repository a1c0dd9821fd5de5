"""A study over integers, choices and conditional ranges: any number of workers, resumed, mirrored, really trained."""

import dataclasses
import json
import sys
from contextlib import closing

import optuna
import pytest

from harness import __main__ as command
from harness import record
from harness.cluster.assignments import Assignment, search_schedule
from harness.cluster.optuna_mirror import OptunaMirror
from harness.cluster.optuna_storage import close_storage, open_storage
from harness.cluster.rebuild import rebuild
from harness.cluster.worker import join
from harness.config import check
from tests.cluster import crowd, stub
from tests.test_record import make
from tests.tiny import words_of

SEARCHED = [
    "+sweep.nuisance.lora.lr_ratio={low: 1.5, high: 16, log: true, when: {lora.variant: lora_plus}}",
    '+sweep.nuisance.lora.rank="tag(log, int(interval(1, 8)))"',
    '+sweep.nuisance.lora.variant="choice(lora, dora, lora_plus)"',
    '+sweep.nuisance.lora.targets="choice([query], [query, value])"',
]


@pytest.fixture
def config(tree):
    """Two arms of 8 trials, 3 at start-up, and a baseline of as many."""
    words = ["+sweep.scientific.lora.rank=null", "+sweep.scientific.trainer.batch_size=[4, 8]", *SEARCHED]
    words += ["~sweep.baselines.head", "sweep.trials=8", "sweep.startup=3"]
    return check(tree("sweep=rank_alpha_lr", "run=study", "study=s", *words))


def test_two_workers_and_a_resumed_study_propose_what_one_worker_does(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    alone = crowd.undisturbed(config, tmp_path)
    points = [entry.point for entry in alone if entry.arm != "full"]
    assert len(alone) == 24
    assert len({json.dumps(point) for point in points}) > 12
    assert {point["lora.variant"] for point in points} == {"lora", "dora", "lora_plus"}
    assert {len(point["lora.targets"]) for point in points} == {1, 2}
    for point in points:
        assert ("lora.lr_ratio" in point) == (point["lora.variant"] == "lora_plus")

    shared, folder = crowd.begin(config, tmp_path, "shared")
    crowd.wait(crowd.crowd(shared, 2, 0.02))
    crowd.sound(folder, 24)
    assert crowd.told(folder) == alone

    fewer = dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, trials=4))
    crowd.undisturbed(fewer, tmp_path / "resumed")
    assert crowd.undisturbed(config, tmp_path / "resumed") == alone


def test_arms_that_are_compared_have_dimensions_of_their_own_for_any_number_of_workers(tree, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    words = ["+sweep.scientific.lora.variant=[lora,lora_plus]", "sweep.trials=6", "sweep.startup=3"]
    words += [f"~sweep.baselines.{name}" for name in ("loha", "head")]
    config = check(tree("sweep=variants", "run=study", "study=s", *words, SEARCHED[0]))
    entries = crowd.same_for_any_number(config, tmp_path, 2, 18)
    by_arm = {arm: [entry.point for entry in entries if entry.arm == arm] for arm in {entry.arm for entry in entries}}
    assert {arm: len(points) for arm, points in by_arm.items()} == {
        "variant=lora": 6,
        "variant=lora_plus": 6,
        "full": 6,
    }
    assert all("lora.lr_ratio" not in point for point in (*by_arm["variant=lora"], *by_arm["full"]))
    assert len({point["lora.lr_ratio"] for point in by_arm["variant=lora_plus"]}) == 6


def test_optunas_study_has_numbers_as_numbers_and_lists_as_text_and_is_rebuilt_alike(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    config, folder = crowd.begin(config, tmp_path, "mirrored")
    with join(config, folder) as worker:
        worker.work()
    before = parameters(folder)
    points = {entry.trial: entry.point for entry in record.read(folder)}
    for trial, found in before.items():
        known = {"lora.targets": json.dumps(points[trial]["lora.targets"])} if "lora.targets" in points[trial] else {}
        assert {key: value for key, value in found.items() if key not in ("arm", "trainer.batch_size")} == points[
            trial
        ] | known
    assert {found["trainer.batch_size"] for found in before.values() if found.get("arm") != "full"} == {4, 8}
    assert all(type(found.get("lora.rank", 1)) is int for found in before.values())
    rebuild(config, folder)
    assert parameters(folder) == before


def test_a_worker_finishes_anothers_trial_by_its_record_and_leaves_its_own_alone(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    config, folder = crowd.begin(config, tmp_path, "reconciled")
    slots, points = search_schedule(config.sweep), [{"optimizer.lr": 1e-3 * (1 + at)} for at in range(2)]
    entries = [
        make(slot.number, arm=slot.arm.name, point=point, scores={"val": {"accuracy": 0.5 + slot.number}})
        for slot, point in zip(slots, points, strict=False)
    ]
    with closing(OptunaMirror(folder, config)) as one, closing(OptunaMirror(folder, config)) as other:
        for mirror, slot, point in zip((one, other), slots, points, strict=False):
            mirror.begin(slot, Assignment(slot.number, 1, "w", point))
        other.tell(entries[1])
        other.reconcile(lambda trial: entries[trial], lambda trial, attempt: True)
        other.backfill(entries)
        one.tell(entries[0])
    storage, name = open_storage(folder)
    found = optuna.load_study(study_name=name, storage=storage).get_trials()
    close_storage(storage)
    assert [(trial.user_attrs["trial"], trial.value) for trial in found] == [(0, 0.5), (1, 1.5)]
    assert [trial.user_attrs["val accuracy"] for trial in found] == [0.5, 1.5]


def parameters(folder):
    return {trial.user_attrs["trial"]: trial.params for trials in crowd.optunas(folder).values() for trial in trials}


def test_a_point_that_breaks_a_rule_between_the_corners_fails_its_trial_alone(config, tmp_path, monkeypatch):
    """What is recorded of it is of the arm's first corner, where no condition of a later value holds."""
    stub.cheap(monkeypatch.setattr, 0.0)
    config, folder = crowd.begin(config, tmp_path, "refused")
    with join(config, folder) as worker:
        honest = worker.config_of

        def refusing(slot, point):
            if point.get("lora.variant") == "dora":
                return check({"lora": {}})
            return honest(slot, point)

        monkeypatch.setattr(worker, "config_of", refusing)
        worker.work()
    failed = [entry for entry in record.read(folder) if entry.state == "fail"]
    assert failed
    assert all(entry.reason.startswith("invalid: ") for entry in failed)
    assert len(record.read(folder)) == 24


def test_a_searched_rank_and_searched_targets_are_trained(
    tiny_base, tiny_data, tmp_path, own_cache, monkeypatch, capsys
):
    small = ["trainer.batch_size=8", "trainer.max_steps=2", "trainer.evaluations=1", "trainer.accelerator=cpu"]
    space = [
        "sweep=rank_alpha_lr",
        "+sweep.scientific.lora.rank=null",
        "+sweep.scientific.lora.variant=[lora]",
        "+sweep.nuisance.lora.rank={low: 1, high: 8, integer: true, log: true}",
        '+sweep.nuisance.lora.targets="choice([query], [query, value])"',
        *("sweep.trials=4", "sweep.startup=3", "~sweep.baselines.full", "~sweep.baselines.head"),
        *("sweep.test=true", "sweep.confirm=null", "tracking=off"),
    ]
    words = ["harness", "run=study", "study=s", *words_of(tiny_base, tiny_data), *small, *space]
    monkeypatch.setattr(sys, "argv", words)
    command.main()
    said = capsys.readouterr().out
    folder = tmp_path / "results/s"
    entries = record.read(folder)
    assert [entry.state for entry in entries] == ["complete"] * 4
    ranks, targets = ({json.dumps(entry.point[key]) for entry in entries} for key in ("lora.rank", "lora.targets"))
    assert len(ranks) > 2
    assert len(targets) == 2
    for entry in entries:
        rank, where = entry.point["lora.rank"], entry.point["lora.targets"]
        assert (entry.lora.rank, entry.lora.targets) == (rank, where)
        assert entry.parameters.adapter == 2 * len(where) * (16 + 16) * rank, "two layers, of width 16"
    assert "variant=lora" in said
    assert (folder / "rank_curve.png").stat().st_size > 0
    assert parameters(folder)[0]["lora.rank"] == entries[0].lora.rank
