"""What is kept of a study, and how it says that it was made."""

import shlex
import subprocess
import tarfile

import pytest
import yaml

from harness import record
from harness.report import write_report
from tests.commands import compose
from tests.test_record import make
from tools import curate

RECIPES = yaml.safe_load(curate.RECIPES.read_text())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_command_that_makes_the_folder_of_its_name(name):
    *_, words = RECIPES[name]
    assert compose([*shlex.split(words), "results=elsewhere"]).study == name


def test_a_recipe_makes_the_studies_that_its_study_reads_before_it():
    read = {}
    for name, commands in RECIPES.items():
        *before, last = (compose([*shlex.split(words), "results=elsewhere"]) for words in commands)
        read[name] = {study for study in ((last.sweep and last.sweep.allocate) or {}).values() if study}
        assert read[name] <= {config.study for config in before}, name
    assert any(read.values())


def test_every_curated_study_has_a_recipe():
    assert {path.parent.name for path in curate.CURATED.glob("*/table.md")} <= set(RECIPES)


def test_every_page_of_how_a_study_was_made_is_linked():
    text = (curate.ROOT / "docs/reference/results.md").read_text()
    for path in curate.CURATED.glob("*/made.md"):
        assert f"results/curated/{path.parent.name}/made.md" in text


def study(folder):
    folder.mkdir(parents=True)
    for name in ("table.md", "pareto.png", "optuna.journal"):
        (folder / name).write_text(name)
    hardware = {"cpu": "a chip", "threads": 2}
    provenance = {"hardware": hardware, "versions": {"torch": "2.14.1"}}
    for number, revision, phase in ((0, "a" * 40, "search"), (1, "a" * 40, "search"), (10_000, "b" * 40, "confirm")):
        source = {"origin": "git checkout", "revision": revision, "dirty": phase == "confirm"}
        seeds = {"trial": 0 if phase == "search" else 1001, "split": 0}
        record.append(folder, make(number, phase=phase, seeds=seeds, provenance=provenance | {"source": source}))
    return folder


def test_what_is_kept_replaces_what_was_and_says_how_it_was_made(tmp_path):
    (tmp_path / "curated").mkdir()
    (tmp_path / "curated/old.png").write_text("of another study")
    assert curate.keep(study(tmp_path / "study"), tmp_path / "curated")
    kept = ["made.md", "pareto.png", "study.tar.xz", "table.md"]
    assert sorted(path.name for path in (tmp_path / "curated").iterdir()) == kept
    text = (tmp_path / "curated/made.md").read_text()
    assert "python -m harness\n" in text
    assert "| trials | 2 of the search, 1 that confirm; complete |" in text
    assert "| seeds | 0, 1001 |" in text
    assert f"git checkout {'a' * 12} (2); git checkout {'b' * 12}, with changes of its own (1)" in text
    assert "| machine | a chip, 2 threads |" in text
    assert "| versions | torch 2.14.1 |" in text


def test_an_archive_is_the_same_bytes_again_and_holds_no_weights_and_no_place(tmp_path):
    folder = study(tmp_path / "study")
    (folder / "config.yaml").write_text("study: s\nresults: /home/somebody/results\n")
    (folder / "trials/0000/adapter").mkdir(parents=True)
    (folder / "trials/0000/adapter/adapter_model.safetensors").write_text("weights")
    (folder / "trials/0000/predictions.csv").write_text("row,label,predicted\n")
    curate.archive(folder, tmp_path / "one.tar.xz")
    (folder / "config.yaml").touch()
    curate.archive(folder, tmp_path / "two.tar.xz")
    assert (tmp_path / "one.tar.xz").read_bytes() == (tmp_path / "two.tar.xz").read_bytes()
    with tarfile.open(tmp_path / "one.tar.xz") as tar:
        assert tar.getnames() == ["config.yaml", "records.jsonl", "trials/0000/predictions.csv"]
        assert tar.extractfile("config.yaml").read() == b"study: s\nresults: results\n"


@pytest.mark.parametrize("path", sorted(curate.CURATED.glob(f"*/{curate.ARCHIVE}")), ids=lambda path: path.parent.name)
def test_the_code_writes_the_curated_tables_from_the_records_of_their_trials(path, tmp_path):
    folder = curate.unpack(path.parent.name, tmp_path)
    write_report(folder)
    for name in ("table.md", "table.csv"):
        assert (folder / name).read_text() == (path.parent / name).read_text(), f"python -m tools.curate report: {name}"


def test_a_study_that_wrote_nothing_leaves_what_was_kept(tmp_path, capsys):
    (tmp_path / "curated").mkdir()
    (tmp_path / "curated/table.md").write_text("kept")
    assert not curate.keep(tmp_path / "missing", tmp_path / "curated")
    assert (tmp_path / "curated/table.md").read_text() == "kept"
    assert "missing: neither tables nor pictures" in capsys.readouterr().err


def test_a_study_that_fails_is_named_and_the_others_are_made(tmp_path, monkeypatch, capsys):
    ran = []

    def run(command, **_):
        ran.append(command[3:])
        return subprocess.CompletedProcess(command, int("+experiment=bad" in command))

    recipes = tmp_path / "recipes.yaml"
    recipes.write_text("bad: [+experiment=bad]\ngood: [+experiment=base, +experiment=good a=b]\n")
    monkeypatch.setattr(curate, "RECIPES", recipes)
    monkeypatch.setattr(curate, "ROOT", tmp_path)
    monkeypatch.setattr(curate, "CURATED", tmp_path / "results/curated")
    monkeypatch.setattr(curate.subprocess, "run", run)
    study(tmp_path / "results/good")
    assert curate.main(["task.data=x"]) == 1
    assert ran == [
        ["+experiment=bad", "task.data=x"],
        ["+experiment=base"],
        ["+experiment=good", "a=b", "task.data=x"],
    ]
    assert (tmp_path / "results/curated/good/table.md").is_file()
    assert capsys.readouterr().err == "not made: bad\n"


def test_a_name_without_a_recipe_is_refused(capsys):
    assert curate.main(["nothing"]) == 2
    assert capsys.readouterr().err.startswith("nothing: no such recipe; valid: movie_snippets_rank_sweep, ")
