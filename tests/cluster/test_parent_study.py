"""A study that the code of before trained is continued where it was cut, and ends as that code ended it.

`tests/cases/parent_study` was written to its end by the commit before the record had sections. Its last trials are the
truth that this code's are held against.
"""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from harness import record
from harness.cluster.study_folder import load_study, study_folder
from harness.cluster.worker import join
from harness.config.guests import FOLDERS
from harness.record import Record
from harness.report import write_report
from harness.system.study_files import attempts_path
from tests.cluster import crowd
from tests.tiny import words_of

PARENT = Path(__file__).parents[1] / "cases/parent_study"
KEPT = 7  # records; the trial after them was assigned, and its worker is gone
TOTAL = 12


def cut(folder: Path) -> None:
    """Leave what the parent's worker left when it was killed in trial 7."""
    for name, lines in (("records.jsonl", KEPT), ("claims.jsonl", KEPT + 1)):
        kept = (PARENT / name).read_text().splitlines(keepends=True)[:lines]
        (folder / name).write_text("".join(kept))
    journal = (PARENT / "optuna.journal").read_text().splitlines(keepends=True)
    begun = [number for number, line in enumerate(journal) if json.loads(line)["op_code"] == 4]
    (folder / "optuna.journal").write_text("".join(journal[: begun[KEPT] + 2]))  # with its first evaluation
    for trial in range(KEPT, TOTAL):
        shutil.rmtree(folder / "trials" / f"{trial:04d}")
    for answer in folder.glob("table.*"):
        answer.unlink()


@pytest.fixture
def folder(tmp_path, tiny_base, tiny_data, own_cache):
    """The cut study, with its data and its base where its configuration names them."""
    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "data").mkdir()
    shutil.copy(tiny_data, tmp_path / "data")
    shutil.copytree(PARENT, tmp_path / "results/parent_study")
    cut(tmp_path / "results/parent_study")
    return tmp_path / "results/parent_study"


def by_trial(folder: Path) -> dict[int, Record]:
    return {entry.trial: entry for entry in record.read(folder) if entry.phase == "search"}


def finished_as_the_parent_finished_it(folder: Path) -> None:
    ours, theirs = by_trial(folder), by_trial(PARENT)
    assert list(ours) == list(theirs) == list(range(TOTAL))
    for trial in range(KEPT, TOTAL):
        mine, its = ours[trial], theirs[trial]
        assert (mine.arm, mine.state, mine.point) == (its.arm, its.state, its.point)
        assert mine.fingerprint == its.fingerprint
        assert mine.reason == its.reason
        assert mine.scores.keys() == its.scores.keys()
        for split, scores in its.scores.items():
            assert mine.scores[split] == pytest.approx(scores, rel=1e-6), (trial, split)
        assert [step for step, _ in mine.reports] == [step for step, _ in its.reports]
    assert {entry.trial: entry.attempt for entry in ours.values() if entry.attempt > 1} == {7: 2}


def test_a_study_of_the_parent_is_finished_as_the_parent_finished_it(folder):
    before = {name: (folder / name).read_bytes() for name in ("config.yaml", "records.jsonl", "claims.jsonl")}
    config = load_study("results", "parent_study")
    assert study_folder(config.results, config.study) == folder
    with join(config, folder) as worker:
        worker.work()
    for name, text in before.items():
        assert (folder / name).read_bytes().startswith(text), "what the parent wrote stays as it is"
    assert attempts_path(folder).name == "claims.jsonl"

    finished_as_the_parent_finished_it(folder)
    optunas = [trial for trials in crowd.optunas(folder).values() for trial in trials]
    assert not [trial for trial in optunas if trial.state.name in ("RUNNING", "WAITING")]
    told = {trial.user_attrs["trial"] for trial in optunas if trial.state.name in ("COMPLETE", "PRUNED")}
    assert told == {entry.trial for entry in record.read(PARENT) if entry.state != "fail"}

    write_report(folder)
    assert answer(folder) == answer(PARENT) != []


def answer(folder: Path) -> list[list[str]]:
    """The cells of the answer's table that neither time, memory nor the wording of verdicts moves; its last row, of a
    constant answer, is one that the parent had not.
    """
    lines = (folder / "table.md").read_text().splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| ") and not line.startswith("| (")]
    return [[cell.strip() for cell in row[1:10]] for row in rows]


@pytest.fixture
def words(folder, monkeypatch):
    """The command that began the study; a file of the user's own has its sweep, without the keys that came later."""
    place = folder.parents[1]
    monkeypatch.chdir(place)
    monkeypatch.setenv(FOLDERS, "")
    (place / "own/sweep").mkdir(parents=True)
    sweep = yaml.safe_load((PARENT / "config.yaml").read_text())["sweep"]
    (place / "own/sweep/parent.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    said = [
        *words_of(Path("base"), Path("data/reviews.csv")),
        *("tracking=off", "trainer=cpu", "trainer.threads=1", "trainer.batch_size=8", "trainer.epochs=6.0"),
        *("trainer.max_steps=8", "trainer.evaluations=3", "lora.rank=2", "sweep=parent", "study=parent_study"),
    ]
    return ["run=study", "--config-dir", "own", *said]


def test_the_command_that_began_it_finishes_it_and_may_be_given_again(folder, words, run_here):
    for _ in range(2):  # the study's file has every key of today then
        code, _, said = run_here(*words)
        assert code == 0, said
        assert [entry.trial for entry in record.read(folder)] == list(range(TOTAL)), "nothing is confirmed"
    finished_as_the_parent_finished_it(folder)

    code, _, said = run_here("run=confirm", "study=parent_study", "top=1", "seeds=2")
    assert code == 0, said
    again = [entry for entry in record.read(folder) if entry.phase == "confirm"]
    assert [(entry.arm, entry.state) for entry in again].count(("vera", "complete")) == 2, "once with each seed"


def test_a_study_of_the_parent_is_confirmed_before_its_command_was_given_again(folder, run_here, monkeypatch):
    monkeypatch.chdir(folder.parents[1])
    code, _, said = run_here("run=confirm", "study=parent_study", "top=1", "seeds=2")
    assert code == 0, said
    finished_as_the_parent_finished_it(folder)
    assert [entry.arm for entry in record.read(folder) if entry.phase == "confirm"]


def test_what_the_command_names_is_not_taken_from_the_study(folder, words, run_here):
    before = (folder / "config.yaml").read_text()
    code, _, said = run_here(*words, "task.cut=stratified", "trainer.round_up=false", "optimizer.schedule=cosine")
    assert code == 2
    lines = [line for line in said.splitlines() if "was begun with another configuration" in line]
    assert [line.partition("=")[0] for line in lines] == ["task.cut", "optimizer.schedule", "trainer.round_up"]
    assert "run=worker study=parent_study goes on with it as it was begun" in said
    assert (folder / "config.yaml").read_text() == before
