"""Studies that claims rest on are read where they are finished, run where they are not, or named with the reason."""

from types import SimpleNamespace

import pytest

from harness import record
from harness.config import ConfigError, ConfirmConfig, to_yaml
from harness.search import arms
from harness.system.assets import AssetError
from studies.claims.arguments import Arguments, read_arguments
from studies.claims.gather import complete, gather
from tests.commands import compose
from tests.test_record import make

SWEEP = {
    "scientific": {"lora.rank": [1, 2]},
    "nuisance": {},
    "baselines": {"head": {"set": {}, "nuisance": {}}},
    "trials": 2,
    "startup": 1,
    "prune_after": None,
    "confirm": None,
}


def begin(folder, recorded, **changes):
    """A study of six trials, so many of them recorded."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml({"study": folder.name, "sweep": SWEEP | changes}))
    for number in range(recorded):
        record.append(folder, make(number))


def stub(confirm=None, **studies):
    """A composer: `+experiment=x` is the study of that name, with the stand-in that is given for it."""
    sweep = SimpleNamespace(confirm=confirm)

    def compose(words):
        name = words[0].removeprefix("+experiment=")
        if name not in studies:
            raise ConfigError(f"{words[0]}: no such experiment")
        if len(words) > 1:
            return SimpleNamespace(study=f"{words[1].removeprefix('task=')}_{name}", task=SimpleNamespace())
        return SimpleNamespace(study=name, sweep=sweep, task=SimpleNamespace(fallback=studies[name]))

    return compose


def never(config, words):
    raise AssertionError("nothing is to be run")


def test_a_study_is_finished_when_all_its_trials_are_recorded_whatever_the_schema_has_gained(tmp_path):
    begin(tmp_path / "a", 6)
    begin(tmp_path / "b", 5)
    begin(tmp_path / "c", 6, trials=3)
    assert [complete(tmp_path / name) for name in "abcd"] == [True, False, False, False]
    record.append(tmp_path / "b", make(5, state="fail", reason="error: a defect"))
    assert not complete(tmp_path / "b")  # such a trial is tried again
    record.append(tmp_path / "b", make(5, state="fail", reason="diverged: x"))
    assert complete(tmp_path / "b")


def test_a_study_is_finished_when_its_finalists_are_confirmed_too(tmp_path):
    begin(tmp_path / "a", 6, confirm={"top": 1, "seeds": 3})
    assert not complete(tmp_path / "a")
    for number in range(3):  # all of its trials are of one arm
        assert not complete(tmp_path / "a")
        record.append(tmp_path / "a", make(10_000 + number, phase="confirm"))
    assert complete(tmp_path / "a")


def test_a_study_of_before_there_was_a_confirmation_is_finished_without(tmp_path):
    begin(tmp_path / "a", 6)
    path = tmp_path / "a/config.yaml"
    path.write_text(path.read_text().replace("  confirm: null\n", ""))
    assert complete(tmp_path / "a")


def test_what_is_not_a_study_is_not_finished(tmp_path):
    begin(tmp_path / "a", 6)
    (tmp_path / "a/config.yaml").write_text("study: a\nsweep: null\n")
    assert not complete(tmp_path / "a")


def test_finished_studies_are_read_also_under_the_name_of_the_stand_in(tmp_path):
    begin(tmp_path / "cnn", 6)
    begin(tmp_path / "movie_rank", 6)
    claims = Arguments(run=True, studies={"cnn": ["+experiment=cnn"], "rank": ["+experiment=rank"]})
    studies = gather(tmp_path, claims, stub(cnn=None, rank="movie"), never)
    assert [study.folder.name for study in studies.values()] == ["cnn", "movie_rank"]
    assert [len(study.records) for study in studies.values()] == [6, 6]
    assert studies["cnn"].command == make(0).command  # of the trials themselves: it may have said more


def test_what_is_not_finished_is_run_only_where_that_is_wanted(tmp_path):
    begin(tmp_path / "cnn", 3)
    ran = []

    def run(config, words):
        ran.append(words)
        for number in range(3, 6):
            record.append(tmp_path / "cnn", make(number))
        return "cnn"

    words = {"cnn": ["+experiment=cnn"]}
    left = gather(tmp_path, Arguments(run=False, studies=words), stub(cnn=None), never)
    assert (left["cnn"].records, left["cnn"].missing) == ((), "no finished study cnn (3 of 6 trials)")
    done = gather(tmp_path, Arguments(run=True, studies=words), stub(cnn=None), run)
    assert len(done["cnn"].records) == 6
    assert ran == [["+experiment=cnn"]]


def test_a_finished_study_is_confirmed_where_the_command_now_asks_for_it(tmp_path):
    begin(tmp_path / "cnn", 6)
    ran = []

    def run(config, words):
        ran.append(words)
        for number in range(3):
            record.append(tmp_path / "cnn", make(10_000 + number, phase="confirm"))
        return "cnn"

    words, asked = {"cnn": ["+experiment=cnn"]}, ConfirmConfig(top=1, seeds=3)
    left = gather(tmp_path, Arguments(run=False, studies=words), stub(asked, cnn=None), never)["cnn"]
    assert (len(left.records), left.confirmed) == (6, ()), "what is there is judged"
    done = gather(tmp_path, Arguments(run=True, studies=words), stub(asked, cnn=None), run)["cnn"]
    assert (len(done.records), len(done.confirmed), len(ran)) == (6, 3, 1)

    begin(tmp_path / "lstm", 6, confirm={"top": 1, "seeds": 2})
    for number in range(2):
        record.append(tmp_path / "lstm", make(10_000 + number, phase="confirm"))
    more = Arguments(run=True, studies={"lstm": ["+experiment=lstm"]})
    assert gather(tmp_path, more, stub(asked, lstm=None), never)["lstm"].records, "it stays confirmed as it was"


def test_a_finished_study_that_cannot_be_confirmed_is_judged_as_it_is(tmp_path):
    begin(tmp_path / "cnn", 6)

    def run(config, words):
        raise ConfigError("task.data: missing")

    words = Arguments(run=True, studies={"cnn": ["+experiment=cnn"]})
    found = gather(tmp_path, words, stub(ConfirmConfig(top=1, seeds=3), cnn=None), run)["cnn"]
    assert (len(found.records), found.confirmed, found.missing) == (6, (), "")


def test_a_study_whose_search_was_not_scored_on_test_is_missing(tmp_path):
    begin(tmp_path / "cnn", 5)
    record.append(tmp_path / "cnn", make(5, scores={"val": make(5).scores["val"]}))
    begin(tmp_path / "lstm", 5)
    record.append(tmp_path / "lstm", make(5, state="pruned", scores={"val": make(5).scores["val"]}))
    claims = Arguments(run=True, studies={"cnn": ["+experiment=cnn"], "lstm": ["+experiment=lstm"]})
    studies = gather(tmp_path, claims, stub(cnn=None, lstm=None), never)
    assert studies["cnn"].records == ()
    assert studies["cnn"].missing == "study cnn: its search was neither scored on test nor confirmed; run=confirm does"
    assert len(studies["lstm"].records) == 6, "a trial that was pruned never is"


@pytest.mark.parametrize("name", ["cnn", "lstm", "translation", "rank", "little", "lr", "continual"])
def test_the_studies_of_the_claims_have_three_of_what_they_repeat(name):
    sweep = compose(compose(["+experiment=claims"]).arguments["studies"][name]).sweep
    repeated = {"little": "task.split_seed", "lr": "seed"}.get(name)
    if repeated:
        assert (len(sweep.scientific[repeated]), sweep.test, sweep.confirm) == (3, True, None)
    else:
        assert sweep.confirm.seeds == 3
        assert sweep.confirm.set == {}, "costs and scores are of trainings of the same length"
        assert sweep.confirm.top >= sum(not arm.baseline for arm in arms(sweep)), "every arm is judged"


@pytest.mark.parametrize("error", [ConfigError("task.data: missing"), AssetError("task.data: missing")])
def test_a_study_that_cannot_be_had_says_why_and_the_others_go_on(tmp_path, error):
    begin(tmp_path / "cnn", 6)

    def run(config, words):
        raise error

    claims = Arguments(
        run=True, studies={"little": ["+experiment=x"], "lstm": ["+experiment=lstm"], "cnn": ["+experiment=cnn"]}
    )
    studies = gather(tmp_path, claims, stub(cnn=None, lstm=None), run)
    assert studies["little"].missing == "+experiment=x: no such experiment"
    assert studies["lstm"].missing == "task.data: missing"
    assert studies["cnn"].records


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"claims: nothing to judge by; \+experiment=claims names the studies"),
        ({"run": "yes", "studies": {}}, "claims.run: input should be a valid boolean"),
        ({"run": True, "studies": {"rnk": ["x"]}}, "claims.studies.rnk: input should be 'rank', 'cnn'"),
        ({"run": True, "studies": {"cnn": []}}, "claims.studies.cnn: list should have at least 1 item"),
    ],
)
def test_arguments_that_are_wrong_are_named(given, said):
    with pytest.raises(ConfigError, match=said):
        read_arguments(given)
