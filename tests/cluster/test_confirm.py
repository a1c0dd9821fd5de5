"""A study that ends with fresh seeds: alike for any number of workers, taken up again, extended; test is kept back."""

import csv
import dataclasses
import math
import re
import sys
from contextlib import contextmanager

import pytest
from scipy.stats import t

from harness import __main__ as command
from harness import record
from harness.cluster import worker as worker_module
from harness.cluster.assignments import planned, whole_schedule
from harness.cluster.launchers import local
from harness.cluster.monitor import study_status
from harness.cluster.rebuild import rebuild
from harness.cluster.study import begin_study, trial_config, with_kept_confirmation
from harness.cluster.study_folder import load_study
from harness.cluster.worker import join
from harness.commands import confirm
from harness.commands.study import log_expected_power
from harness.config import ConfigError, ConfirmConfig, check, to_dict, to_yaml
from harness.config.arms import arms
from harness.config.launch import LocalConfig
from harness.record import Data
from harness.search.confirmation import fresh_seeds
from harness.task import build_task
from tests.cluster import crowd, stub
from tests.tiny import words_of


@pytest.fixture
def config(tree):
    composed = tree("sweep=rank_alpha_lr", "run=study", "study=s")
    composed["sweep"] |= {"scientific": {"lora.rank": [1, 2, 4]}, "trials": 2, "startup": 1, "prune_after": 1}
    composed["sweep"] |= {"test": False, "confirm": {"top": 2, "seeds": 3, "margin": 0.01, "set": {}}}
    return check(composed)


def finish(config, tmp_path, name="alone"):
    config, folder = crowd.begin(config, tmp_path, name)
    with join(config, folder) as worker:
        worker.work()
    return folder


def confirming(folder):
    return [entry for entry in crowd.told(folder) if entry.phase == "confirm"]


def test_finalists_and_baselines_are_trained_at_their_points_with_the_same_seeds(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    folder = finish(config, tmp_path)
    found = confirming(folder)
    seeds = {arm: [entry.point for entry in found if entry.arm == arm] for arm in {entry.arm for entry in found}}
    assert set(seeds) == {"rank=2", "rank=4", "full", "head"}, "the two best ranks, and all baselines"
    assert all(len(points) == 3 for points in seeds.values())
    for arm, points in seeds.items():
        mine = [entry for entry in record.read(folder) if entry.arm == arm and entry.phase == "search"]
        best = max(mine, key=lambda entry: (entry.state == "complete", entry.score("val", "accuracy")))
        assert points == [best.point] * 3
    assert len(crowd.told(folder)) == planned(config) == len(arms(config.sweep)) * 2 + 4 * 3
    assert study_status(config, folder).lines()[0].startswith("22 of 22 trials are recorded")


def test_three_workers_confirm_what_one_does(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    alone = crowd.told(finish(config, tmp_path))
    shared, folder = crowd.begin(config, tmp_path, "shared")
    crowd.wait(crowd.crowd(shared, 3, 0.01))
    assert crowd.told(folder) == alone


def test_more_seeds_add_their_trials_and_leave_the_others_as_they_are(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    folder = finish(config, tmp_path)
    before = record.read(folder)
    more = dataclasses.replace(config.sweep, confirm=ConfirmConfig(top=3, seeds=4))
    finish(dataclasses.replace(config, sweep=more), tmp_path)
    after = record.read(folder)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 4 + 4, "a fourth seed for four arms, four seeds for the third rank"


def test_a_confirmed_study_has_no_further_trials_of_its_search(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    finish(config, tmp_path)
    longer = dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, trials=3))
    longer = dataclasses.replace(longer, results=str(tmp_path / "alone"))
    with pytest.raises(ConfigError, match=r"sweep\.trials=3: study=s was confirmed after 2 trials an arm"):
        begin_study(longer)


def failing(trials):
    """Trials that cost nothing, of which some fail: for the reasons given by their numbers."""
    run = stub.stub(0.0)

    def run_trial(config, context, report):
        entry = run(config, context, report)
        why = trials.get(context.number)
        return entry if why is None else dataclasses.replace(entry, state="fail", reason=why, scores={})

    return stub.accepting(run_trial)


def test_a_study_without_any_finalist_has_come_to_its_end(config, tmp_path, monkeypatch, capsys):
    stub.cheap(monkeypatch.setattr, 0.0)
    monkeypatch.setattr(worker_module, "run_trial", failing(dict.fromkeys(range(10), "the loss is not finite")))
    config = dataclasses.replace(config, results=str(tmp_path / "alone"))
    folder = finish(config, tmp_path)
    assert "10/10" in capsys.readouterr().err
    assert study_status(config, folder).lines()[0] == "10 of 10 trials are recorded (10 fail)"

    def start(*_):
        raise AssertionError("a worker is started for a study that is done")

    monkeypatch.setattr(local.LocalWorkerPool, "replenish", start)
    local.run(dataclasses.replace(config, launch=LocalConfig(name="local", lease_s=10.0, workers=2)), folder)


def test_the_display_follows_what_becomes_of_the_finalists(config, tmp_path, monkeypatch, capsys):
    stub.cheap(monkeypatch.setattr, 0.0)
    names = [arm.name for arm in arms(config.sweep)]
    full = [names.index("full"), len(names) + names.index("full")]
    monkeypatch.setattr(worker_module, "run_trial", failing(dict.fromkeys(full, "the loss is not finite")))
    finish(config, tmp_path)
    counted = re.findall(r"(?<!\S)\d+/\d+(?!\S)", capsys.readouterr().err)
    assert (counted[0], counted[-1]) == ("1/22", "19/19")


def test_a_failed_trial_of_the_search_is_not_tried_again_once_its_arm_is_confirmed(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    # Trial 6 is the second of rank=2, and its best where it does not fail; 10001 is the first that confirms.
    errors = dict.fromkeys((6, 10_001), "error: OSError: no space")
    with monkeypatch.context() as full_disk:
        full_disk.setattr(worker_module, "run_trial", failing(errors))
        folder = finish(config, tmp_path)
    before = confirming(folder)
    assert [entry.trial for entry in before if entry.state == "fail"] == [10_001]
    more = dataclasses.replace(config.sweep, confirm=ConfirmConfig(top=2, seeds=4))
    finish(dataclasses.replace(config, sweep=more), tmp_path)
    assert [entry.state for entry in crowd.told(folder) if entry.trial == 6] == ["fail"]
    again = confirming(folder)
    assert [entry for entry in again if entry in before] == before[1:], "they stay as they are"
    assert {entry.state for entry in again} == {"complete"}
    points = [entry.point for entry in again if entry.arm == "rank=2"]
    assert points == [crowd.told(folder)[1].point] * 4, "one point for all seeds"


def test_a_trial_that_confirms_settles_the_search_as_soon_as_it_is_assigned(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    searched = dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, confirm=None))
    folder = finish(searched, tmp_path)
    config, _ = crowd.begin(config, tmp_path, "alone")
    with join(config, folder) as worker:
        slot, _ = worker._next_assignment()
    assert slot.phase == "confirm"
    longer = dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, trials=3))
    with pytest.raises(ConfigError, match=r"sweep\.trials=3: study=s was confirmed after 2 trials an arm"):
        begin_study(longer)


def test_nothing_confirms_before_the_search_has_ended(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    folder = finish(config, tmp_path)
    searched = [entry for entry in record.read(folder) if entry.phase == "search"]
    assert all(slot.phase == "search" for slot in whole_schedule(config, searched[:-1]))
    numbers = [slot.number for slot in whole_schedule(config, searched) if slot.phase == "confirm"]
    assert [number // 10_000 for number in numbers] == [1] * 4 + [2] * 4 + [3] * 4


def test_test_is_read_by_the_trials_that_confirm_alone(tiny_base, tiny_data, tmp_path, own_cache, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        command.main()
        return capsys.readouterr().out

    small = ["trainer.batch_size=8", "trainer.max_steps=4", "trainer.evaluations=1", "trainer.accelerator=cpu"]
    space = [
        "sweep=rank_alpha_lr",
        "sweep.scientific={lora.rank: [1]}",
        "sweep.trials=1",
        "~sweep.baselines.full",
        "~sweep.baselines.head",
    ]
    space += ["+sweep.confirm.set={trainer.max_steps: 6}", "sweep.confirm.seeds=2", "tracking=off"]
    run("run=study", "study=s", *words_of(tiny_base, tiny_data), *small, *space)
    entries = record.read(tmp_path / "results/s")
    assert [entry.phase for entry in entries] == ["search", "confirm", "confirm"]
    search, *again = entries
    assert set(search.scores) == {"val"}
    assert not (tmp_path / "results/s/trials/0000/predictions.csv").exists()
    assert [entry.seeds.trial for entry in again] == fresh_seeds(0, 2)
    assert all("test" in entry.scores for entry in again)
    assert {entry.steps.planned for entry in again} == {6}, "what trials that confirm have otherwise"
    assert again[0].scores != again[1].scores

    run("run=confirm", "study=s", "seeds=3")
    assert len(record.read(tmp_path / "results/s")) == 4
    with open(tmp_path / "results/s/table.csv", newline="") as table:
        assert [row["trial"] for row in csv.DictReader(table)] == ["0", "10000", "20000", "30000"]
    assert record.read(tmp_path / "results/s")[:3] == entries


def test_the_words_that_began_a_study_leave_it_confirmed_as_it_is(config, tmp_path, monkeypatch, caplog):
    stub.cheap(monkeypatch.setattr, 0.0)
    own = dataclasses.replace(config, results=str(tmp_path / "alone"))
    assert with_kept_confirmation(own) == own, "there is no study yet"
    searched = dataclasses.replace(config.sweep, confirm=None)
    finish(dataclasses.replace(config, sweep=searched), tmp_path)
    assert with_kept_confirmation(own) == own, "nothing was confirmed"
    more = ConfirmConfig(top=1, seeds=4, margin=0.05)
    finish(dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, confirm=more)), tmp_path)
    with caplog.at_level("INFO"):
        assert with_kept_confirmation(own).sweep == dataclasses.replace(config.sweep, confirm=more)
    assert caplog.messages == [
        "study s stays confirmed: the best 1 arms, 4 seeds, a margin of 0.05; run=confirm changes them",
    ]
    off = dataclasses.replace(own, sweep=searched)
    assert with_kept_confirmation(off).sweep.confirm == more


def test_what_trials_that_confirm_have_otherwise_stays(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    finish(config, tmp_path)
    longer = dataclasses.replace(config.sweep.confirm, set={"trainer.max_steps": 9})
    changed = dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, confirm=longer))
    changed = dataclasses.replace(changed, results=str(tmp_path / "alone"))
    with pytest.raises(
        ConfigError, match=r"sweep\.confirm\.set=.*max_steps.*: study=s was confirmed with \{\}; set it"
    ):
        begin_study(with_kept_confirmation(changed))


def optunas(folder):
    """The trials that ended in Optuna's studies, by their number here."""
    return {
        trial.user_attrs["trial"]: (trial.user_attrs["phase"], trial.state.name, trial.params, trial.value)
        for trials in crowd.optunas(folder).values()
        for trial in trials
    }


def test_optuna_s_study_is_rebuilt_with_the_trials_that_confirm(config, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    folder = finish(config, tmp_path)
    before = optunas(folder)
    assert rebuild(config, folder).endswith("22 trials in Optuna's study, 0 runs in W&B's mirror")
    after = optunas(folder)
    assert {number: (phase, state) for number, (phase, state, *_) in after.items()} == {
        entry.trial: (entry.phase, entry.state.upper()) for entry in record.read(folder)
    }
    confirmed = {number for number, (phase, *_) in after.items() if phase == "confirm"}
    assert {number: after[number] for number in confirmed} == {number: before[number] for number in confirmed}
    assert len(confirmed) == 12


def test_what_a_confirmation_can_tell_is_said_before_it_costs_anything(config, caplog, own_cache):
    """With one arm beside the reference the figure is that of a t-test of two groups of three."""
    baselines = {"full": config.sweep.baselines["full"]}
    sweep = dataclasses.replace(config.sweep, scientific={"lora.rank": [1]}, baselines=baselines)
    pair = dataclasses.replace(config, sweep=sweep)
    rows = Data.of(build_task(config.task).describe()).rows["test"]
    reach = t.ppf(0.975, 4) + t.ppf(0.8, 4)
    little, much = (100 * reach * math.sqrt((2 * spread**2 + 0.11 / rows) / 3) for spread in (0.006, 0.012))
    with caplog.at_level("INFO"):
        log_expected_power(pair)
    assert caplog.messages == [
        f"confirmation: 2 arms, 3 seeds, {rows} test rows. The difference with a power of 80 % is at least "
        f"{little:.1f} points, if runs spread by 0.6 points over seeds (film reviews, MiniLM), "
        f"and {much:.1f} points, if runs spread by 1.2 points over seeds (spoken digits, LSTM)."
    ]
    caplog.clear()
    for silent in (
        dataclasses.replace(pair, sweep=dataclasses.replace(sweep, confirm=None)),
        dataclasses.replace(pair, sweep=dataclasses.replace(sweep, confirm=ConfirmConfig(seeds=2))),
        dataclasses.replace(pair, sweep=dataclasses.replace(sweep, baselines={})),
        dataclasses.replace(pair, trainer=dataclasses.replace(pair.trainer, objective="loss")),
    ):
        log_expected_power(silent)
    assert caplog.messages == []


@pytest.fixture
def ask(monkeypatch, capsys):
    """The command on some words: the study that it would run, and what it says."""

    def run(*words):
        made = []

        @contextmanager
        def led(config, _):
            made.append(config)
            yield lambda: None

        monkeypatch.setattr(confirm, "check_study", lambda config: None)
        monkeypatch.setattr(confirm, "led_study", led)
        monkeypatch.setattr(sys, "argv", ["harness", "run=confirm", "study=s", *words])
        try:
            command.main()
        except SystemExit as end:
            assert end.code == 2
        return made, capsys.readouterr().err

    return run


def store(config, tmp_path):
    path = tmp_path / "results/s/config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(to_yaml(to_dict(config)))
    return path


def test_it_goes_on_with_the_study_s_own_launcher_and_tracking_unless_others_are_named(config, ask, tmp_path):
    store(dataclasses.replace(config, launch=LocalConfig(name="local", lease_s=7.0, workers=3)), tmp_path)
    ((own,), _) = ask("seeds=5")
    assert (own.sweep.confirm, own.sweep.trials) == (ConfirmConfig(top=2, seeds=5), 2)
    assert (own.launch.name, own.launch.workers, own.tracking.mode) == ("local", 3, "off")
    ((named,), _) = ask("launch=here", "tracking.mode=offline", "tracking.project=other")
    assert (named.launch.name, named.tracking.mode, named.tracking.project) == ("here", "offline", "other")
    ((part,), _) = ask("launch.lease_s=9")
    assert (part.launch.name, part.launch.lease_s, part.launch.workers) == ("local", 9.0, 3)


def test_a_study_is_read_that_was_begun_with_words_of_another_command(config, tmp_path):
    path = store(config, tmp_path)
    path.write_text(to_yaml(to_dict(config) | {"seeds": 8, "trial": 1}))
    results = str(tmp_path / "results")
    assert load_study(results, "s") == dataclasses.replace(config, results=results)


def test_with_each_seed_the_tasks_are_learned_in_another_order_in_every_arm_alike(several):
    made = several("sweep=continual", "run=study", "study=s")
    made["sweep"]["confirm"] = {"top": 5, "seeds": 3, "margin": 0.01, "set": {}, "orders": True}
    config = check(made)
    tree, seeds = to_dict(config), fresh_seeds(config.seed, 3)
    found = {arm.name: [trial_config(tree, arm, {}, seed).task.order for seed in seeds] for arm in arms(config.sweep)}
    first = found["full"]
    assert all(orders == first for orders in found.values())
    assert len({tuple(order) for order in first}) == 3
    assert all(sorted(order) == ["first", "second", "third"] for order in first)
    arm = arms(config.sweep)[0]
    assert trial_config(tree, arm, {}).task.order is None, "the search has the study's own order"
    some = tree | {"task": tree["task"] | {"order": ["third", "first"]}}
    assert sorted(trial_config(some, arm, {}, seeds[0]).task.order) == ["first", "third"]
    one = tree | {"sweep": tree["sweep"] | {"confirm": tree["sweep"]["confirm"] | {"orders": False}}}
    assert trial_config(one, arm, {}, seeds[0]).task.order is None


def test_orders_can_be_asked_for_when_the_study_is_confirmed(several, ask, tmp_path):
    made = several("sweep=continual", "run=study", "study=s")
    made["sweep"]["confirm"] = None
    store(check(made), tmp_path)
    ((own,), _) = ask("orders=true", "seeds=4")
    assert own.sweep.confirm == ConfirmConfig(seeds=4, orders=True)


def test_a_reference_can_be_named_when_the_study_is_confirmed_and_must_be_a_baseline(config, ask, tmp_path):
    store(config, tmp_path)
    ((own,), _) = ask("reference=head")
    assert own.sweep.confirm.reference == "head"
    made, said = ask("reference=heed")
    assert made == []
    assert said.startswith("sweep.confirm.reference=heed: no baseline; did you mean head?")


def test_it_takes_no_other_word(config, ask, tmp_path):
    store(config, tmp_path)
    made, said = ask("trainer.max_steps=3", "+sweep.confirm.set={lora.dropout: 0.1}", "margin=0.02")
    assert made == []
    assert [line.partition(": run=confirm")[0] for line in said.splitlines()] == [
        "trainer.max_steps=3",
        "+sweep.confirm.set={lora.dropout: 0.1}",
    ]


def test_several_tasks_are_confirmed_where_each_trial_is_scored_on_test(tree, compose_mixture):
    mixture = compose_mixture()
    sweep = check(tree("sweep=rank_alpha_lr", "sweep.confirm={top: 2, seeds: 3, margin: 0.01, set: {}}")).sweep
    assert check(dataclasses.asdict(mixture) | {"sweep": dataclasses.asdict(sweep)}).sweep.confirm.seeds == 3
    with pytest.raises(
        ConfigError, match=r"^sweep\.test=false: task=\w+ is several tasks, each trial is scored on test$"
    ):
        check(record_tree(mixture, sweep))


def record_tree(config, sweep):
    return dataclasses.asdict(config) | {"sweep": dataclasses.asdict(sweep) | {"test": False}}
