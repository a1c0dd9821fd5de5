"""What Optuna's own tools say of a study: the best trial and the importances of its search, and nothing beside it."""

import dataclasses
from contextlib import closing

import optuna
import pytest

from harness import record
from harness.cluster.optuna_mirror import OptunaMirror
from harness.cluster.optuna_storage import close_storage, open_storage
from harness.cluster.rebuild import rebuild
from harness.cluster.worker import join
from harness.config import check
from harness.system.study_files import COMMAND
from tests.cluster import crowd, stub
from tests.test_record import make

TOTAL = 4 * 4 + 3 * 2  # two ranks and two baselines of four trials; one rank and the baselines with two seeds


@pytest.fixture
def config(tree, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    words = ["+sweep.scientific.lora.rank=[1,16]", "sweep.confirm={top: 1, seeds: 2}", "sweep.prune_after=null"]
    return check(tree("sweep=rank_alpha_lr", "run=study", "study=s", *words))


@pytest.fixture
def finished(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "mirrored")
    with join(config, folder) as worker:
        worker.work()
    return config, folder


def search_of(folder):
    """Optuna's study of the study's name, in memory."""
    storage, name = open_storage(folder)
    found, copy = optuna.load_study(study_name=name, storage=storage), optuna.create_study(direction="maximize")
    copy.add_trials(found.get_trials())
    copy.set_user_attr("said", found.user_attrs)
    close_storage(storage)
    return copy


def by_trial(folder):
    """What Optuna has of each trial, and where."""
    return {
        trial.user_attrs["trial"]: (held, trial.state.name, trial.params, trial.values)
        for held, trials in crowd.optunas(folder).items()
        for trial in trials
        if trial.state.name != "FAIL"
    }


def test_the_best_trial_and_the_importances_are_those_of_the_search(finished):
    _, folder = finished
    study = search_of(folder)
    searched = [entry for entry in record.read(folder) if entry.phase == "search" and entry.arm.startswith("rank=")]
    best = max(searched, key=lambda entry: entry.score("val", "accuracy"))
    assert study.best_trial.user_attrs["trial"] == best.trial
    better_half = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.5)
    shares = optuna.importance.get_param_importances(study, evaluator=better_half)
    assert shares.keys() == {"lora.rank", "optimizer.lr", "lora.scale"}
    assert max(shares, key=lambda key: shares[key]) == "lora.rank", "0.015 of the score; all rates together 0.0035"
    assert study.user_attrs["said"]["command"] == (folder / COMMAND).read_text().strip()


def test_baselines_and_trials_that_confirm_have_a_study_each(finished):
    config, folder = finished
    before = by_trial(folder)
    for entry in record.read(folder):
        beside = "-baselines" if entry.arm in ("full", "head") else ""
        assert before[entry.trial][0] == ("-confirm" if entry.phase == "confirm" else beside)
    assert len(before) == TOTAL
    rebuild(config, folder)
    assert by_trial(folder) == before


@pytest.mark.parametrize("value", [64, 4])
def test_a_baseline_may_set_what_is_compared_to_another_value(value, tree, monkeypatch, tmp_path, caplog):
    stub.cheap(monkeypatch.setattr, 0.0)
    words = ["+sweep.scientific.lora.rank=[1,16]", f"+sweep.baselines.other.set={{lora.rank: {value}}}"]
    words += ["+sweep.baselines.other.nuisance={}", "sweep.confirm=null", "sweep.prune_after=null"]
    config, folder = crowd.begin(check(tree("sweep=rank_alpha_lr", "run=study", "study=s", *words)), tmp_path, "other")
    with join(config, folder) as worker:
        worker.work()
    found = [trial for trial in by_trial(folder).values() if trial[2].get("arm") == "other"]
    assert {(held, params["lora.rank"]) for held, _, params, _ in found} == {("-baselines", value)}
    assert "mirror" not in caplog.text


def test_a_study_of_an_earlier_version_which_holds_all_in_one_is_taken_apart_once(finished):
    config, folder = finished
    before = by_trial(folder)
    storage, name = open_storage(folder)
    trials = [trial for each in ("", "-baselines", "-confirm") for trial in trials_of(storage, name + each)]
    optuna.create_study(study_name=name, storage=storage, direction="maximize").add_trials(trials)
    close_storage(storage)
    for _ in range(2):
        with closing(OptunaMirror(folder, config)):
            pass
        assert by_trial(folder) == before


def trials_of(storage, name):
    found = optuna.load_study(study_name=name, storage=storage).get_trials()
    optuna.delete_study(study_name=name, storage=storage)
    return found


def test_a_study_of_an_earlier_version_is_finished(config, tmp_path):
    whole = crowd.undisturbed(config, tmp_path)
    config, folder = crowd.begin(config, tmp_path, "cut")
    storage, name = open_storage(folder)
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    kinds = {"arm": optuna.distributions.CategoricalDistribution(["rank=1", "rank=16", "full", "head"])}
    study.enqueue_trial({"arm": "rank=1"}, user_attrs={"trial": 0, "arm": "rank=1", "attempt": 1, "phase": "search"})
    study.ask(kinds)
    close_storage(storage)
    with join(config, folder) as worker:
        worker.work()
    crowd.sound(folder, TOTAL)
    assert crowd.told(folder) == whole


def test_a_trial_without_an_objective_is_told_once(config, tmp_path):
    config, folder = crowd.begin(config, tmp_path, "lacking")
    objectives = {"val": "maximize", "forgetting": "minimize"}
    config = dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, objectives=objectives))
    entry = make(0, arm="rank=1", point={"optimizer.lr": 1e-3, "lora.scale": 1.0})
    with closing(OptunaMirror(folder, config)) as mirror:
        mirror.rebuild([entry])
        for _ in range(3):
            mirror.backfill([entry])
    assert [trial.state.name for trial in crowd.optunas(folder)[""]] == ["FAIL"]


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ({}, {"rank": 2}),
        ({"a": 4, "b": 4}, {"rank": 4}),
        ({"a": 1, "b": 4}, {"rank": 2.5, "lowest rank": 1, "highest rank": 4}),
    ],
)
def test_the_rank_of_a_trial_is_that_of_its_layers(config, tmp_path, ranks, said):
    config, folder = crowd.begin(config, tmp_path, "ranks")
    lora = {"name": "lora", "rank": 2, "scale": 1.0, "targets": ["query"]}
    entry = make(0, arm="rank=1", point={"optimizer.lr": 1e-3, "lora.scale": 1.0}, lora=lora, adapter={"ranks": ranks})
    with closing(OptunaMirror(folder, config)) as mirror:
        mirror.rebuild([entry])
    (trial,) = crowd.optunas(folder)[""]
    assert {key: value for key, value in trial.user_attrs.items() if "rank" in key} == said
