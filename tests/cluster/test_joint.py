"""The joint mode: Optuna over rank, targets, learning rate at once, baselines beside; any number of workers."""

import dataclasses
import json
import sys

import optuna
import pytest
from optuna.study import StudyDirection

from harness import __main__ as command
from harness import record
from harness.cluster.assignments import CONFIRMING, planned, search_schedule
from harness.cluster.optuna_storage import close_storage, open_storage
from harness.cluster.rebuild import rebuild
from harness.cluster.study_folder import load_study
from harness.config import ConfigError, check, to_dict
from harness.record.front import front, recommended
from harness.search.methods import experimental_allowed
from tests.cluster import crowd, stub
from tests.cluster.test_mixed_space import parameters
from tests.tiny import words_of

WORDS = [
    "sweep=rank_alpha_lr",
    "sweep.mode=joint",
    "+sweep.scientific.lora.rank={low: 1, high: 8, integer: true, log: true}",
    "+sweep.scientific.lora.targets=[[query],[query,value]]",
    "~sweep.baselines.head",
    "sweep.trials=12",
    "sweep.startup=4",
    "sweep.confirm={top: 2, seeds: 2}",
]
TOTAL = 24 + 2 * 3  # the joint arm and one baseline; then two points and the baseline, two seeds each


@pytest.fixture
def config_of(tree):
    return lambda *words: check(tree(*WORDS, "run=study", "study=s", *words))


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_leaves_the_records_of_one(config_of, tmp_path, monkeypatch, workers):
    stub.cheap(monkeypatch.setattr, 0.0)
    alone = crowd.same_for_any_number(
        config_of("sweep.lag=3", "sweep.pruner=successive_halving"), tmp_path, workers, TOTAL
    )
    searched = [entry for entry in alone if entry.phase == "search" and entry.arm != "full"]
    assert {len(entry.point["lora.targets"]) for entry in searched} == {1, 2}
    for entry in searched:
        rank, where = entry.point["lora.rank"], "+".join(entry.point["lora.targets"])
        assert entry.arm == f"rank={rank},targets={where}"
        assert list(entry.point) == ["lora.rank", "lora.targets", "optimizer.lr", "lora.scale"]


def test_whoever_is_killed_the_records_are_those_of_one_worker(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    crowd.same_after_random_kills(config_of("launch.lease_s=1.0"), tmp_path, 0.06, 5, TOTAL)


def test_the_best_distinct_points_are_confirmed_under_their_names(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    entries = crowd.undisturbed(config_of(), tmp_path)
    searched = [entry for entry in entries if entry.phase == "search"]
    by_score = sorted(searched, key=lambda entry: (-entry.score("val", "accuracy"), entry.trial))
    names = list(dict.fromkeys(e.arm for e in by_score if e.state == "complete" and e.arm != "full"))
    again = [entry for entry in entries if entry.phase == "confirm"]
    assert {entry.arm for entry in again} == {*names[:2], "full"}
    best = {entry.arm: entry for entry in reversed(by_score) if entry.state == "complete"}
    for entry in again:
        assert entry.point == best[entry.arm].point
        assert entry.trial % CONFIRMING == best[entry.arm].trial
    assert len(again) == 6


def test_a_study_may_go_on_with_more_trials_and_proposes_the_same(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    alone = crowd.undisturbed(config_of("sweep.confirm=null", "sweep.baseline_trials=3"), tmp_path)
    assert [sum(entry.arm == "full" for entry in alone), len(alone)] == [3, 15]
    fewer = config_of("sweep.confirm=null", "sweep.baseline_trials=2", "sweep.trials=5")
    assert planned(fewer) == len(search_schedule(fewer.sweep)) == 7
    crowd.undisturbed(fewer, tmp_path / "resumed")
    more = config_of("sweep.confirm=null", "sweep.baseline_trials=3")
    assert crowd.undisturbed(more, tmp_path / "resumed") == alone


def test_the_same_configuration_is_trained_again_where_it_might_still_be_running(config_of, tmp_path, monkeypatch):
    """Else whether it is looked up would depend on how many workers there are."""
    stub.cheap(monkeypatch.setattr, 0.0)
    config = config_of("sweep.lag=2", "sweep.sampler=random", "sweep.confirm=null", "~sweep.baselines.full")
    space = {"lora.rank": {"choices": [1, 2]}}
    sweep = dataclasses.replace(config.sweep, **check_space(config, space))
    entries = crowd.undisturbed(dataclasses.replace(config, sweep=sweep), tmp_path)
    for entry in entries:
        known = [other for other in entries if other.trial < entry.trial - 2 and other.point == entry.point]
        assert entry.reason.startswith("same configuration") == bool(known)
    assert any(entry.reason for entry in entries)


def check_space(config, space):
    tree = {"scientific": space, "nuisance": {}}
    return {key: value for key, value in vars(check(with_sweep(config, tree)).sweep).items() if key in tree}


def with_sweep(config, changes):
    tree = to_dict(config)
    return tree | {"sweep": tree["sweep"] | changes}


WRONG = [
    (["sweep.mode=both"], "sweep.mode=\"both\": input should be 'compared' or 'joint'"),
    (
        ["sweep.mode=compared"],
        "sweep.scientific.lora.rank: a range [1, 8]; arms are compared over a list of values, sw",
    ),
    (["+sweep.across=[lora.rank]"], 'sweep.across=["lora.rank"]: of the compared mode; sweep.across=null'),
    (["+sweep.scientific.lora.rank={low: 0, high: 8, log: true}"], "sweep.scientific.lora.rank=[0, 8]: a log range st"),
    (["+sweep.nuisance.lora.rank=[1,2]"], "sweep.nuisance.lora.rank=[1, 2]: not a dimension"),
    (["+sweep.nuisance.lora.dropout={low: 0.0, high: 0.1, when: {lora.rnk: 1}}"], "sweep.nuisance.lora.dropout.when.l"),
    (["sweep.baseline_trials=0"], "sweep.baseline_trials=0: input should be greater than or equal to 1"),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=[line for _, line in WRONG])
def test_each_mistake_is_a_line(config_of, words, line):
    with pytest.raises(ConfigError) as caught:
        config_of(*words)
    assert str(caught.value).startswith(line)


def test_baseline_trials_and_no_dimension_are_refused_in_a_line(tree):
    with pytest.raises(ConfigError, match=r"^sweep\.baseline_trials=2: of sweep\.mode=joint; arms that are compared"):
        check(tree("sweep=rank_alpha_lr", "run=study", "sweep.baseline_trials=2"))
    found = tree("sweep=rank_alpha_lr", "run=study", "sweep.mode=joint")
    found["sweep"] |= {"scientific": {"lora.rank": [4]}, "nuisance": {}}
    with pytest.raises(ConfigError, match=r"^sweep\.mode=joint: .* have no dimension to be searched"):
        check(found)


def test_rank_and_targets_are_really_trained_confirmed_reported_and_mirrored(
    tiny_base, tiny_data, tmp_path, own_cache, monkeypatch
):
    small = ["trainer.batch_size=8", "trainer.max_steps=2", "trainer.evaluations=1", "trainer.accelerator=cpu"]
    trials = ["sweep.trials=5", "sweep.startup=4", "tracking=off"]
    words = ["harness", "run=study", "study=s", *words_of(tiny_base, tiny_data), *small, *WORDS, *trials]
    monkeypatch.setattr(sys, "argv", words)
    command.main()
    folder = tmp_path / "results/s"
    said = (folder / "table.md").read_text()
    entries = record.read(folder)
    assert {entry.state for entry in entries} == {"complete"}
    for entry in entries:
        if entry.arm != "full":
            assert (entry.lora.rank, entry.lora.targets) == (entry.point["lora.rank"], entry.point["lora.targets"])
            assert f"| {entry.arm}" in said or entry.phase == "search"
    assert len(entries) == 10 + 6
    before = parameters(folder)
    assert before[0] == entries[0].point | {"lora.targets": json.dumps(entries[0].point["lora.targets"])}
    rebuild(load_study(str(folder.parent), folder.name), folder)
    assert parameters(folder) == before


def test_a_front_of_score_parameters_and_memory_is_searched_shown_and_confirmed(
    tiny_base, tiny_data, tmp_path, own_cache, monkeypatch
):
    small = ["trainer.batch_size=8", "trainer.max_steps=2", "trainer.evaluations=1", "trainer.accelerator=cpu"]
    space = ["sweep=pareto", "+sweep.scientific.lora.rank={low: 1, high: 8, integer: true, log: true}"]
    trials = ["sweep.trials=7", "sweep.startup=4", "sweep.baseline_trials=1", "sweep.confirm.top=1"]
    words = [*words_of(tiny_base, tiny_data), *small, *space, *trials, "sweep.confirm.seeds=2", "tracking=off"]
    monkeypatch.setattr(sys, "argv", ["harness", "run=study", "study=s", *words])
    command.main()
    folder = tmp_path / "results/s"
    said = (folder / "table.md").read_text()
    entries = [entry for entry in record.read(folder) if entry.arm != "full"]
    objectives = {"val": 1.0, "trained_parameters": -1.0, "memory": -1.0}
    kept = front([entry for entry in entries if entry.phase == "search"], objectives)
    assert "Front over val (more is better), trained_parameters (less is better), memory (less is better)" in said
    for entry in kept:
        assert f"| {entry.trial} " in said
    chosen = recommended(kept, objectives, 0.01)
    assert f"Recommended: trial {chosen.trial} ({chosen.arm})" in said
    assert {entry.arm for entry in entries if entry.phase == "confirm"} == {chosen.arm}
    storage, name = open_storage(folder)
    study = optuna.load_study(study_name=name, storage=storage)
    assert study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]
    with experimental_allowed():
        assert study.metric_names == ["val", "trained_parameters", "memory"]
    first = study.get_trials()[0]
    assert first.values == [entries[0].score("val", "accuracy"), entries[0].parameters.trainable, first.values[2]]
    assert first.user_attrs["rank"] == entries[0].lora.rank
    assert study.user_attrs["task"] == entries[0].task
    close_storage(storage)
