"""A study that the code of before trained is continued where it was cut, and ends as that code ended it.

`tests/cases/parent_study` was written to its end by the commit before the record had sections. Its last trials are the
truth that this code's are held against.
"""

import json
import shutil
from pathlib import Path

import pytest

from harness import record
from harness.cluster.study_folder import load_study, study_folder
from harness.cluster.worker import join
from harness.record import Record
from harness.report import write_report
from harness.system.study_files import attempts_path
from tests.cluster import crowd

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
    return {entry.trial: entry for entry in record.read(folder)}


def test_a_study_of_the_parent_is_finished_as_the_parent_finished_it(folder):
    before = {name: (folder / name).read_bytes() for name in ("config.yaml", "records.jsonl", "claims.jsonl")}
    config = load_study("results", "parent_study")
    assert study_folder(config.results, config.study) == folder
    with join(config, folder) as worker:
        worker.work()
    for name, text in before.items():
        assert (folder / name).read_bytes().startswith(text), "what the parent wrote stays as it is"
    assert attempts_path(folder).name == "claims.jsonl"

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

    optunas = [trial for trials in crowd.optunas(folder).values() for trial in trials]
    assert not [trial for trial in optunas if trial.state.name in ("RUNNING", "WAITING")]
    told = {trial.user_attrs["trial"] for trial in optunas if trial.state.name in ("COMPLETE", "PRUNED")}
    assert told == {entry.trial for entry in theirs.values() if entry.state != "fail"}

    write_report(folder)
    assert answer(folder) == answer(PARENT) != []


def answer(folder: Path) -> list[list[str]]:
    """The cells of the answer's table that neither time, memory nor the wording of verdicts moves; its last row, of a
    constant answer, is one that the parent had not.
    """
    lines = (folder / "table.md").read_text().splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| ") and not line.startswith("| (")]
    return [[cell.strip() for cell in row[1:10]] for row in rows]
