"""Trials of earlier studies as history: matched by name, sealed when a study is begun, the same for any worker."""

import dataclasses
import hashlib
import json
import logging
import shutil
import time

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from harness.cluster.history import read_history, sealed_history
from harness.cluster.study import begin_study
from harness.config import Choice, ConfigError, Range, check
from harness.config.arms import JOINT, Arm
from harness.record import read
from harness.report.history import section
from harness.search.checks import check_search
from harness.search.methods import experimental_allowed, make_sampler
from harness.search.plan import Earlier, Known, SearchPlan
from harness.search.proposals import _sampler_seed, propose
from harness.search.space import distributions, parameters, suggest
from harness.system.study_files import HISTORY, RECORDS
from tests.cluster import crowd, stub
from tests.test_record import make

WORDS = [
    "sweep=rank_alpha_lr",
    "sweep.mode=joint",
    "+sweep.scientific.lora.rank={low: 1, high: 8, integer: true, log: true}",
    "~sweep.baselines.head",
    "sweep.trials=8",
    "sweep.startup=4",
    "sweep.confirm=null",
]


@pytest.fixture
def config_of(tree, tmp_path):
    results = tmp_path / "results"
    return lambda *words: check(tree(*WORDS, "run=study", "study=s", f"results={results}", *words))


@pytest.fixture
def earlier(config_of, tmp_path, monkeypatch):
    """A study of 12 trials of the joint arm, with ranks to 16, and of as many of full fine-tuning."""
    stub.cheap(monkeypatch.setattr, 0.0)
    wider = "+sweep.scientific.lora.rank={low: 1, high: 16, integer: true, log: true}"
    config = config_of("study=earlier", "sweep.trials=12", "sweep.startup=8", wider)
    folder = begin_study(config)
    with crowd.join(config, folder) as worker:
        worker.work()
    return folder


def begun(config, tmp_path, name="seen"):
    """The points of a study that is run by one worker."""
    config = dataclasses.replace(config, study=name)
    folder = begin_study(config)
    with crowd.join(config, folder) as worker:
        worker.work()
    return sorted(crowd.told(folder), key=lambda entry: entry.trial)


def test_what_is_taken_is_what_lies_in_the_space_and_the_rest_is_said(config_of, earlier, caplog):
    caplog.set_level(logging.INFO)
    config = config_of("sweep.history=earlier", "trainer.max_steps=4")
    folder = begin_study(config)
    sealed, records = json.loads((folder / HISTORY).read_text()), read(earlier)
    complete = [entry for entry in records if entry.state == "complete"]
    low = [entry for entry in complete if entry.arm != "full" and entry.point["lora.rank"] <= 8]
    full = [entry for entry in complete if entry.arm == "full"]
    high = [entry for entry in complete if entry.arm != "full" and entry.point["lora.rank"] > 8]
    assert min(map(len, (low, full, high))) > 0
    assert {each["trial"] for each in sealed["taken"] if each["arm"] == JOINT} == {entry.trial for entry in low}
    assert {each["trial"] for each in sealed["taken"] if each["arm"] == "full"} == {entry.trial for entry in full}
    by_trial = {entry.trial: entry for entry in complete}
    for each in sealed["taken"]:
        entry = by_trial[each["trial"]]
        assert (each["point"], each["fingerprint"]) == (entry.point, entry.fingerprint)
        assert each["values"] == [entry.score("val", "accuracy")]
    assert {each["trial"] for each in sealed["left_out"]} == {entry.trial for entry in high}
    assert {each["why"] for each in sealed["left_out"]} == {"lora.rank is not in the range [1, 8]"}
    assert {each["value"] for each in sealed["left_out"]} == {entry.point["lora.rank"] for entry in high}
    taken = f"history: earlier: {len(low) + len(full)} of {len(complete)} trials; "
    said = f"{taken}{len(high)} left out ({len(high)}: lora.rank is not in the range [1, 8])"
    assert said in caplog.text
    assert "its trials were made with trainer.max_steps=8 (here 4)" in caplog.text
    assert len(sealed_history(folder)[JOINT]) == len(low)
    (said,) = section(folder)
    assert f"{len(low) + len(full)} of earlier (by arm: joint {len(low)}, full {len(full)})" in said


def test_what_a_pack_cost_teaches_nothing_of_one_trial(config_of, earlier):
    lines = [json.loads(line) for line in (earlier / RECORDS).read_text().splitlines()]
    packed = {line["trial"] for line in lines if line["trial"] % 2}
    for line in lines:
        line |= {"time": {"total_s": 1.0}, "pack_size": 3 if line["trial"] in packed else 1}
    (earlier / RECORDS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    plain = read_history(config_of("sweep.history=earlier"))
    bound = read_history(config_of("sweep.history=earlier", "sweep.constraints={time.total_s: 9.0}"))
    taken, kept = ({trial.number for _, trial, _ in found.taken} for found in (plain, bound))
    assert taken & packed
    assert kept == taken - packed
    whys = {out.why for out in bound.left_out if out.number in packed}
    assert whys == {"time.total_s of a pack of trials (launch.pack), not of this one"}


def test_any_number_of_workers_sees_the_same_and_none_needs_the_source_again(config_of, earlier, tmp_path):
    config = config_of(f"sweep.history={earlier}")
    alone = begun(config, tmp_path, "alone")
    assert alone != begun(config_of(), tmp_path, "without")
    many = dataclasses.replace(config, study="many")
    folder = begin_study(many)
    first = crowd.crowd(many, 1, 0.1)
    while len(read(folder)) < 3:
        assert first[0].is_alive()
        time.sleep(0.02)
    first[0].kill()
    first[0].join()
    shutil.rmtree(earlier)
    assert begin_study(many) == folder
    crowd.wait(crowd.crowd(many, 3, 0.05))
    many_records = [dataclasses.replace(entry, study="alone") for entry in crowd.told(folder)]
    assert many_records == alone
    with pytest.raises(ConfigError, match=r'sweep\.history=null: study=many was begun with another configuration, \["'):
        begin_study(dataclasses.replace(many, sweep=dataclasses.replace(many.sweep, history=None)))


def test_what_a_worker_may_have_read_stays_as_it_was_sealed(config_of, earlier, monkeypatch):
    """Another run=study may have read other trials of the sources before this one was begun."""
    config = config_of("sweep.history=earlier")
    folder, late = begin_study(config), read_history(config)
    sealed = (folder / HISTORY).read_text()
    monkeypatch.setattr("harness.cluster.study.read_history", lambda _: dataclasses.replace(late, taken=late.taken[:1]))
    with crowd.join(config, folder) as worker:
        begin_study(config)
        assert (folder / HISTORY).read_text() == sealed
        worker.work()
    begin_study(config)
    assert (folder / HISTORY).read_text() == sealed


def test_no_worker_goes_without_the_history(config_of, earlier, monkeypatch):
    config = config_of("sweep.history=earlier")
    folder = begin_study(config)
    (folder / HISTORY).unlink()
    lost = rf"^sweep\.history: {folder}/history\.json is missing; .*run=study"
    with pytest.raises(ConfigError, match=lost) as caught, crowd.join(config, folder):
        pass
    assert "\n" not in str(caught.value)

    def crash(*_):
        raise OSError("crash")

    monkeypatch.setattr("harness.cluster.study.seal_history", crash)
    with pytest.raises(OSError, match="crash"):
        begin_study(other := config_of("sweep.history=earlier", "study=other"))
    assert not (folder.parent / other.study / "config.yaml").exists(), "a worker would take it for begun"


def test_a_trial_without_the_figure_of_a_constraint_teaches_nothing(config_of, earlier):
    count = sum(entry.state == "complete" for entry in read(earlier))
    said = refused(config_of("sweep.history=earlier", "sweep.constraints={latency: 1.0}"))
    assert f"0 of {count} trials; {count} left out ({count}: no latency); nothing" in said


SPACE = {"lr": Range(low=1e-4, high=1e-2, log=True), "where": Choice(choices=["a", "b"])}


@pytest.mark.parametrize("name", ["tpe", "optuna.samplers:TPESampler"])
def test_a_sampler_proposes_what_optuna_would_after_these_trials(name):
    known = [Known({"lr": 1e-4 * 1.3**at, "where": "ab"[at % 2]}, [float(at)], {}) for at in range(12)]
    arm = Arm("a", {}, SPACE)
    plan = SearchPlan(seed=0, startup=4, objective="accuracy", sampler={"name": name}, history={"a": known})
    study = optuna.create_study(direction="maximize")
    for each in known:
        study.add_trial(
            optuna.create_trial(
                value=each.values[0], params=parameters(arm, each.point), distributions=distributions(arm, each.point)
            )
        )
    study.sampler = make_sampler(plan.sampler, SPACE, _sampler_seed(arm, 0, plan))
    assert propose(arm, 0, plan, []) == suggest(study.ask(), arm)
    few = dataclasses.replace(plan, history={"a": known[:3]})
    assert propose(arm, 0, few, []) == propose(arm, 0, dataclasses.replace(plan, history={}), []), "3 of 4 at startup"
    first = [Earlier(propose(arm, 0, few, []), make(0, scores={"val": {"accuracy": 5.0}}))]
    assert propose(arm, 1, few, first) != propose(arm, 1, dataclasses.replace(plan, history={}), first)


def test_an_arm_that_is_compared_learns_from_trials_of_its_own_values_alone(config_of, earlier):
    words = ["sweep.mode=compared", "~sweep.scientific.lora.rank", "+sweep.scientific.lora.rank=[1,2,4]"]
    begin_study(config := config_of(*words, "sweep.history=[earlier]"))
    found = sealed_history(earlier.parent / config.study)
    records = {entry.fingerprint: entry for entry in read(earlier) if entry.state == "complete"}
    for rank in (1, 2, 4):
        mine = [entry.point for entry in records.values() if entry.point.get("lora.rank") == rank]
        expected = [{key: value for key, value in point.items() if key != "lora.rank"} for point in mine]
        assert [known.point for known in found.get(f"rank={rank}", [])] == expected


def foreign(storage, name="theirs", directions=("maximize",)):
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    kinds = {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "rank": optuna.distributions.IntDistribution(1, 64),
        "lora.scale": optuna.distributions.FloatDistribution(0.5, 4.0),
        "momentum": optuna.distributions.FloatDistribution(0.0, 1.0),
    }
    for at in range(6):
        point = {"lr": 1e-3 * (at + 1), "rank": 2 * at + 1, "lora.scale": 1.0, "momentum": 0.5}
        study.add_trial(optuna.create_trial(values=[0.1 * at] * len(directions), params=point, distributions=kinds))
    study.enqueue_trial({"lr": 1e-3})
    return study


def test_the_trials_of_a_study_in_optunas_storage_are_read_and_it_is_left_as_it_is(config_of, tmp_path):
    path = tmp_path / "their.db"
    foreign(f"sqlite:///{path}")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    begin_study(config := config_of(f'sweep.history=["optuna:sqlite:///{path}#theirs"]', "sweep.trials=5"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    (found,) = sealed_history(tmp_path / "results/s").items()
    assert found[0] == JOINT
    assert [known.point["lora.rank"] for known in found[1]] == [1, 3, 5, 7], "9 and 11 are above 8, lr 4e-3 the most"
    assert [known.values for known in found[1]] == [[0.1 * at] for at in range(4)]
    assert config.sweep.history == [f"optuna:sqlite:///{path}#theirs"]

    journal = tmp_path / "their.log"
    backend = JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal)))
    foreign(optuna.storages.JournalStorage(backend))
    history = read_history(config_of(f'sweep.history="optuna:{journal}#theirs"', "study=t"))
    assert history.known()[JOINT] == found[1]


def of_other_names(path):
    """A study whose parameters have names of their own, ranks and lists of layers as texts."""
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="peft", direction="maximize")
    kinds = {
        "r": optuna.distributions.CategoricalDistribution(["2", "4", "many"]),
        "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "scale": optuna.distributions.FloatDistribution(0.5, 4.0),
        "modules": optuna.distributions.CategoricalDistribution(['["query"]', '["value"]']),
    }
    for rank, where in (("2", '["query"]'), ("4", '["query"]'), ("many", '["query"]'), ("4", '["value"]')):
        point = {"r": rank, "learning_rate": 1e-3, "scale": 1.0, "modules": where}
        study.add_trial(optuna.create_trial(value=0.5, params=point, distributions=kinds))


def test_parameters_of_other_names_are_the_keys_that_are_said(config_of, tmp_path):
    of_other_names(tmp_path / "their.db")
    words = ["+sweep.scientific.lora.targets=[[query],[query,value]]", "sweep.history='optuna:sqlite:///their.db#peft'"]
    keys = "{r: lora.rank, learning_rate: optimizer.lr, modules: lora.targets}"
    found = read_history(config_of(*words, f"sweep.history_keys={keys}"))
    known = [each.point for each in found.known()[JOINT]]
    point = {"lora.targets": ["query"], "optimizer.lr": 1e-3, "lora.scale": 1.0}
    assert known == [{"lora.rank": rank} | point for rank in (2, 4)]
    assert [(out.number, out.value) for out in found.left_out] == [(2, "many"), (3, ["value"])]
    said = refused(config_of(*words))
    assert (
        "sweep.history_keys={learning_rate: KEY} says what a parameter is: learning_rate, modules, r; nothing" in said
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["sweep.history='optuna:x.db#a'", "sweep.history_keys={r: lora.rnk}"],
            "sweep.history_keys.r=lora.rnk: not searched here; did you mean lora.rank?",
        ),
        (["sweep.history=earlier", "sweep.history_keys={r: lora.rank}"], "sweep.history_keys: says what parameters of"),
    ],
)
def test_keys_that_say_nothing_are_refused(config_of, words, line):
    with pytest.raises(ConfigError) as caught:
        check_search(config_of(*words))
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("word", ["study.from=optuna:sqlite:///a.db#b", '+study.from="optuna:a.log#b"'])
def test_a_study_to_learn_from_under_another_name_is_told_its_own(run_here, word):
    code, said, error = run_here("run=study", "sweep=rank_alpha_lr", word)
    assert code == 2
    assert "study.from: no such key; sweep.history names it: 'sweep.history=\"optuna:ADDRESS#NAME\"'" in said + error


WRONG = [
    ("nowhere", "sweep.history=nowhere: study=nowhere: no such study in "),
    ("s", "sweep.history=s: study=s: no such study in "),
    ("[earlier,earlier]", "sweep.history=earlier: named more than once"),
    ("optuna:x.db", "sweep.history=optuna:x.db: no study is named; optuna:ADDRESS#NAME"),
    ('"optuna:x.db#a"', "sweep.history=optuna:x.db#a: x.db: no such file"),
    ('"optuna:sqlite:///x.db#a"', "sweep.history=optuna:sqlite:///x.db#a: x.db: no such file"),
    ('"optuna:nosuch://x#a"', "sweep.history=optuna:nosuch://x#a: cannot be read: "),
    ('"optuna:sqlite:///their.db#their"', "sweep.history=optuna:sqlite:///their.db#their: no such study there; did yo"),
    ('"optuna:sqlite:///their.db#two"', "sweep.history=optuna:sqlite:///their.db#two: its objectives are to maximize,"),
    ('"optuna:sqlite:///their.db#least"', "sweep.history=optuna:sqlite:///their.db#least: its objectives are to mini"),
    (
        '"optuna:sqlite:///their.db#cost"',
        "sweep.history=optuna:sqlite:///their.db#cost: its objectives are called cost",
    ),
]


def test_what_cannot_be_learned_from_is_a_line_and_nothing_is_made(config_of, tmp_path):
    foreign(f"sqlite:///{tmp_path}/their.db")
    foreign(f"sqlite:///{tmp_path}/their.db", "two", ("maximize", "minimize"))
    foreign(f"sqlite:///{tmp_path}/their.db", "least", ("minimize",))
    with experimental_allowed():
        foreign(f"sqlite:///{tmp_path}/their.db", "cost").set_metric_names(["cost"])
    for value, line in WRONG:
        quoted = value if value.startswith("[") or '"' in value else f'"{value}"'
        said = refused(config_of(f"sweep.history={quoted}"))
        assert said.startswith(line)
        assert "\n" not in said
        assert not (tmp_path / "results/s").exists()
        assert not (tmp_path / "x.db").exists()


def refused(config):
    def begin():
        check_search(config)
        begin_study(config)

    with pytest.raises(ConfigError) as caught:
        begin()
    return str(caught.value)


OTHER = [
    (["trainer.objective=loss"], "its trials are of trainer.objective=accuracy, here loss"),
    (["task.name=other"], "its trials are of task=text_csv, here task=other"),
    (
        ["+sweep.nuisance.lora.scale={low: 8.0, high: 9.0}", "~sweep.baselines.full"],
        "; nothing that this search could learn from",
    ),
    (
        ["sweep.sampler={name: nsgaii, population_size: 2}"],
        "sweep.sampler=nsgaii learns from its own trials alone; tpe",
    ),
    (["sweep.sampler=random"], "sweep.sampler=random does not learn from trials; tpe"),
]


def test_a_study_of_another_question_is_refused(config_of, earlier):
    for words, line in OTHER:
        said = refused(config_of("sweep.history=earlier", *words))
        assert line in said
        assert "\n" not in said
        assert not (earlier.parent / "s").exists()


def test_a_password_in_an_address_is_written_nowhere(config_of, tmp_path, run_here, tiny_base, tiny_data):
    from tests.tiny import words_of

    address = "optuna:postgresql://me:geheim-123@127.0.0.1:1/none#a"
    code, said, error = run_here(*words_of(tiny_base, tiny_data), *WORDS, "run=study", f'sweep.history="{address}"')
    assert code == 2
    assert "sweep.history=optuna:postgresql://me:***@127.0.0.1:1/none#a: cannot be read: " in error
    assert "geheim" not in said + error
