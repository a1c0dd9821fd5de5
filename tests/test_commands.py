"""What each command imports, what it says of itself, and commands that somebody else has made."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness import record
from harness.commands.study import sharing_cores
from harness.config import check, to_dict, to_yaml
from tests.test_record import make


@pytest.fixture
def python(tmp_path):
    """A Python of its own, with the command in it."""

    def go(code, *words, **environment):
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": f"{tmp_path}:{ROOT}"} | environment,
        )

    return go


ROOT = Path(__file__).parents[1]
IMPORTED = """
    import json, sys
    from harness.__main__ import main
    main()
    print(json.dumps([name for name in HEAVY if name in sys.modules]), file=sys.stderr)
"""


def imported(done):
    """Of what was not to be imported, what was."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


@pytest.fixture
def study(tmp_path, tree):
    """A study of one record."""
    config = check(tree("run=study", "study=s", "sweep=rank_alpha_lr"))
    folder = tmp_path / "results/s"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(to_dict(config)))
    record.append(folder, make(0))
    return folder


def test_the_status_of_a_study_imports_no_torch(python, study):
    heavy = ["torch", "lightning", "optuna", "wandb", "pandas", "matplotlib", "transformers"]
    assert imported(python(IMPORTED.replace("HEAVY", str(heavy)), "run=status", "study=s")) == []


def test_a_report_imports_no_torch(python, study):
    heavy = ["torch", "lightning", "transformers", "wandb"]  # Optuna says which dimension mattered
    assert imported(python(IMPORTED.replace("HEAVY", str(heavy)), "run=report", "study=s")) == []


@pytest.mark.parametrize(("given", "threads"), [(None, 2), ("3", 3)])
def test_threads_are_a_number_on_any_machine(tree, monkeypatch, given, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert check(tree()).trainer.threads == threads


@pytest.mark.parametrize(
    ("launch", "workers", "asked", "threads"),
    [("local", 2, 2, 2), ("local", 3, 2, 1), ("local", 9, 2, 1), ("local", 2, "null", None), ("here", 1, 8, 8)],
)
def test_workers_of_one_machine_share_its_cores(tree, monkeypatch, caplog, launch, workers, asked, threads):
    monkeypatch.setattr("harness.commands.study.usable_cores", lambda: 4)
    words = [
        f"launch={launch}",
        f"trainer.threads={asked}",
        *([f"launch.workers={workers}"] if launch == "local" else []),
    ]
    with caplog.at_level("INFO"):
        found = sharing_cores(check(tree("run=study", "study=s", "sweep=rank_alpha_lr", *words)))
    assert found.trainer.threads == threads
    assert ("in place of" in caplog.text) == (threads == 1)


def test_counting_a_text_encoder_imports_torch_alone(python):
    heavy = ["lightning", "optuna", "wandb", "transformers", "pandas", "torch._dynamo"]
    assert imported(python(IMPORTED.replace("HEAVY", str(heavy)), "run=count")) == []


def test_the_command_says_its_own_version(python):
    done = python("from harness.__main__ import main; main()", "--version")
    assert (done.stdout, done.returncode) == ("harness 0.1.0\n", 0)


GUEST = """
from harness.commands import study_command

@study_command
def command(config, arguments, compose, run_study):
    other = compose(["lora.rank=3", "study=other"])
    return f"{arguments['greeting']}: rank {other.lora.rank} in {other.results}"

def not_marked(config, arguments, compose, run_study):
    raise AssertionError
"""


def test_a_guests_command_is_run_and_its_answer_printed(python, tmp_path):
    (tmp_path / "guest.py").write_text(GUEST)
    words = ["run=guest:command", "arguments={greeting: hello}", "results=here"]
    done = python("from harness.__main__ import main; main()", *words)
    assert (done.stdout, done.returncode) == ("hello: rank 3 in here\n", 0), done.stderr


@pytest.mark.parametrize(
    ("run", "line"),
    [
        ("guest:not_marked", "run=guest:not_marked: guest has no such command"),
        ("guest:nothing", "run=guest:nothing: guest has no such command"),
        ("nowhere.at_all:command", "run=nowhere.at_all:command: importing nowhere.at_all failed, ModuleNotFoundError"),
        ("os:system", "run=os:system: os has no such command; harness.commands.study_command marks one"),
    ],
)
def test_only_what_is_marked_as_a_command_is_run(run_here, tmp_path, monkeypatch, run, line):
    (tmp_path / "guest.py").write_text(GUEST)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "guest", raising=False)
    code, _, error = run_here(f"run={run}")
    assert code == 2
    assert error.startswith(line)
    assert len(error.splitlines()) == 1
