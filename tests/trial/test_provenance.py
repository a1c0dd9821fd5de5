"""A record says which code made it, wherever that code lies, and what else moves the result."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from harness.trial.provenance import environment, source, source_of

ROOT = Path(__file__).parents[2]


def git(folder, *words):
    identity = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=0"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True, env=_without_git()
    )
    return done.stdout.strip()


def _without_git():
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


@pytest.fixture
def tree(tmp_path):
    """A small source tree with this project's pyproject.toml."""
    top = tmp_path / "tree"
    (top / "harness" / "trial").mkdir(parents=True)
    (top / "conf").mkdir()
    (top / "harness" / "__init__.py").write_text("")
    (top / "harness" / "trial" / "run.py").write_text("x = 1\n")
    (top / "conf" / "config.yaml").write_text("seed: 0\n")
    (top / ".gitignore").write_text("__pycache__/\nresults/\n.venv/\n")
    shutil.copy(ROOT / "pyproject.toml", top)
    return top


@pytest.fixture
def checkout(tree):
    git(tree, "init")
    git(tree, "add", ".")
    git(tree, "commit", "-m", "first")
    return tree


def test_a_checkout_has_its_revision_and_is_dirty_when_its_code_or_configuration_changed(checkout):
    package, revision = checkout / "harness", git(checkout, "rev-parse", "HEAD")
    clean = source_of(package)
    assert (clean["origin"], clean["revision"], clean["dirty"]) == ("git checkout", revision, False)
    (checkout / "results").mkdir()
    (checkout / "results" / "records.jsonl").write_text("{}\n")
    (checkout / "notes.txt").write_text("nobody imports this\n")
    (package / "__pycache__").mkdir()
    assert source_of(package) == clean
    (checkout / "conf" / "config.yaml").write_text("seed: 1\n")
    assert source_of(package) == clean | {"dirty": True}
    git(checkout, "checkout", "conf")
    (package / "new.py").write_text("")
    fresh = source_of(package)
    assert (fresh["revision"], fresh["dirty"]) == (revision, True)
    assert fresh["code"] != clean["code"]


def test_results_that_are_made_anew_are_no_change_of_what_makes_them(checkout):
    kept = checkout / "results" / "curated.csv"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("1\n")
    git(checkout, "add", "-f", str(kept))
    git(checkout, "commit", "-q", "-m", "results")
    kept.write_text("2\n")
    assert git(checkout, "status", "--porcelain")
    assert source_of(checkout / "harness")["dirty"] is False


def test_a_repository_that_a_hook_runs_in_is_not_asked(checkout, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init")
    git(other, "commit", "--allow-empty", "-m", "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert source_of(checkout / "harness")["revision"] == git(checkout, "rev-parse", "HEAD")


def test_a_copied_tree_says_that_there_is_no_git_and_has_the_same_code(checkout, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git"))
    found = source_of(copy / "harness")
    assert found == {
        "origin": "source tree without git",
        "revision": None,
        "dirty": None,
        "code": source_of(checkout / "harness")["code"],
    }


def test_a_checkout_that_git_does_not_answer_for_says_why(checkout, tmp_path, monkeypatch, caplog):
    """As where another user owns it, or where there is no git."""
    fatal = "fatal: detected dubious ownership in repository"
    program = tmp_path / "programs" / "git"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent))
    code = source_of(checkout / "harness")
    assert code["origin"] == "checkout that git does not answer for (git: No such file or directory)"
    program.write_text(f"#!/bin/sh\necho '{fatal}' >&2\necho hint >&2\nexit 128\n")
    program.chmod(0o755)
    found = source_of(checkout / "harness")
    assert found == code | {"origin": f"checkout that git does not answer for ({fatal})"}
    assert (found["revision"], found["dirty"]) == (None, None)
    assert [entry.args for entry in caplog.records] == [("git: No such file or directory",), (fatal,)]


def test_git_hears_of_the_configuration_in_variables(checkout, monkeypatch):
    """The usual way to set safe.directory in a container; this setting shows in the answer for any user."""
    (checkout / "harness/new.py").write_text("")
    assert source_of(checkout / "harness")["dirty"]
    for name, value in {"COUNT": "1", "KEY_0": "status.showUntrackedFiles", "VALUE_0": "no"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert not source_of(checkout / "harness")["dirty"]


@pytest.mark.parametrize("tracked", [False, True])
def test_another_projects_repository_says_nothing_of_this_code(tree, tmp_path, tracked):
    foreign = tmp_path / "foreign"
    package = foreign / "vendor" / "harness"
    shutil.copytree(tree / "harness", package)
    (foreign / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    git(foreign, "init")
    git(foreign, "add", "." if tracked else "pyproject.toml")
    git(foreign, "commit", "-m", "theirs")
    found = source_of(package)
    assert (found["origin"], found["revision"], found["dirty"]) == ("source tree without git", None, None)


def test_a_package_in_a_virtual_environment_inside_the_checkout_is_not_the_checkout(checkout):
    package = checkout / ".venv" / "site-packages" / "harness"
    shutil.copytree(checkout / "harness", package)
    assert source_of(package)["revision"] is None


def _said_by(folder, *more):
    """What the package in a folder says of itself, in a process of its own."""
    code = "import json; from harness.trial.provenance import source; print(json.dumps(source()))"
    places = os.pathsep.join(map(str, (folder, *more)))
    words = [sys.executable, "-P", "-c", code]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, cwd=folder, env=_without_git() | {"PYTHONPATH": places}
    )
    return json.loads(done.stdout)


def test_the_package_itself_says_so_in_a_clone_in_a_copy_and_installed(tmp_path):
    clone, copy, site = tmp_path / "clone", tmp_path / "copy", tmp_path / "foreign" / "site"
    shutil.copytree(ROOT / "harness", copy / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(copy / "harness", clone / "harness")
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, clone)
    git(clone, "init")
    git(clone, "add", ".")
    git(clone, "commit", "-m", "first")
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(wheel, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as bundle:
        bundle.extractall(site)
    git(tmp_path / "foreign", "init")
    git(tmp_path / "foreign", "commit", "--allow-empty", "-m", "theirs")

    cloned, copied, installed = _said_by(clone), _said_by(copy), _said_by(site)
    assert (cloned["origin"], cloned["dirty"]) == ("git checkout", False)
    assert cloned["revision"] == git(clone, "rev-parse", "HEAD")
    assert (copied["origin"], copied["revision"]) == ("source tree without git", None)
    assert (installed["origin"], installed["revision"]) == ("lora-harness 0.1.0 wheel", None)
    assert cloned["code"] == copied["code"] == installed["code"]


def test_the_tests_own_code_is_named_by_what_git_says_of_this_repository():
    try:
        revision = git(ROOT, "rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        revision = None
    assert source()["revision"] == revision


def test_the_environment_holds_the_code_the_libraries_the_processor_and_the_threads(monkeypatch):
    found = environment(torch.device("cpu"), 3)
    assert {name: found[name] for name in ("revision", "dirty", "code")} == {
        name: source()[name] for name in ("revision", "dirty", "code")
    }
    assert found["torch"] == torch.__version__
    assert found["threads"] == 3
    assert found["deterministic"] is False
    assert all(found[name] for name in ("cpu", "instructions", "blas", "transformers", "lightning"))
    built = torch.__config__.show()
    assert all(found[name] in built for name in ("mkl", "onednn", "instructions") if found[name] is not None)
    assert json.loads(json.dumps(found)) == found
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    torch.use_deterministic_algorithms(True)
    try:
        changed = environment(torch.device("cpu"), 3)
    finally:
        torch.use_deterministic_algorithms(False)
    assert changed == found | {"MKL_CBWR": "COMPATIBLE", "deterministic": True}
