"""What a text user need not install is imported only where it is used, and its absence is one line."""

import ast
import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from harness.config import ConfigError, GuestModelConfig, extras
from tests.commands import compose

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The import names of packages that are called otherwise.
MODULE_OF = {"pillow": "PIL", "scikit-learn": "sklearn", "wandb-workspaces": "wandb_workspaces"}


def packages_of(extra: str) -> list[str]:
    return [re.split(r"[\[<>=!, ]", line)[0] for line in PROJECT["optional-dependencies"][extra]]


@pytest.mark.parametrize("extra", sorted(extras._MODULES))
def test_the_modules_are_those_of_the_extra(extra):
    assert {MODULE_OF.get(name, name) for name in packages_of(extra)} == set(extras._MODULES[extra])


def test_every_extra_but_those_of_developers_is_checked():
    assert set(PROJECT["optional-dependencies"]) - {"all", "docs", "test"} == set(extras._MODULES)
    (everything,) = PROJECT["optional-dependencies"]["all"]
    # One tracker is enough, MLflow and bitsandbytes are large; few have recordings that are no WAV.
    apart = {"tensorboard", "mlflow", "trackio", "wandb", "audio", "quantization"}
    assert set(re.findall(r"[a-z]+", everything.partition("[")[2])) == set(extras._MODULES) - apart


def imported_at_once(path: Path) -> set[str]:
    """The packages that a module imports when it is imported itself."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_no_module_imports_an_extra_before_it_is_used():
    optional = {name for modules in extras._MODULES.values() for name in modules}
    eager = {
        path.name: both for path in (ROOT / "harness").rglob("*.py") if (both := imported_at_once(path) & optional)
    }
    assert eager == {"postgres.py": {"psycopg"}}, "postgres.py itself is imported only where there is a database"


CASES = [
    (["task=spoken_digits", "model=lstm_speech"], "soxr", "task=spoken_digits: needs the extra speech"),
    (["task=digits", "model=resnet18"], "timm", "task=digits: needs the extra vision"),
    (
        ["task=seq2seq", "model=t5_small", "trainer.objective=loss"],
        "sacrebleu",
        "task=seq2seq: needs the extra translation",
    ),
    (["launch=slurm"], "submitit", "launch=slurm: needs the extra cluster"),
]


@pytest.mark.parametrize(("words", "module", "line"), CASES, ids=lambda value: str(value)[:24])
def test_a_missing_extra_is_one_line(monkeypatch, words, module, line):
    config = compose(words)
    extras.check_extras(config, "journal")
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == module else name)
    with pytest.raises(ConfigError) as caught:
        extras.check_extras(config, "journal")
    extra = line.rpartition(" ")[2]
    assert str(caught.value) == f"{line}: pip install 'lora-harness[{extra}]'"


def test_a_database_needs_its_driver_and_says_no_password(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "psycopg" else name)
    with pytest.raises(ConfigError, match="needs the extra cluster") as caught:
        extras.check_extras(compose([]), "postgresql://me:secret@host/name")
    assert "secret" not in str(caught.value)


def test_a_text_user_needs_no_extra(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    extras.check_extras(compose(["task=movie_snippets"]), "journal")


def test_counting_needs_only_what_builds_the_network(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    extras.check_extras(compose(["run=count", "task=seq2seq", "model=gpt2", "trainer.objective=loss"]), "journal")
    with pytest.raises(ConfigError, match="extra vision"):
        extras.check_extras(compose(["run=count", "task=digits", "model=resnet18"]), "journal")


def test_a_task_asks_for_its_own_extra_beside_a_model_of_one_s_own(monkeypatch):
    config = compose(["task=digits", "model=resnet18"])
    config = dataclasses.replace(config, model=GuestModelConfig(kind="own:Net", name="net"))
    extras.check_extras(config, "journal")
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "sklearn" else name)
    with pytest.raises(ConfigError) as caught:
        extras.check_extras(config, "journal")
    assert str(caught.value) == "task=digits: needs the extra vision: pip install 'lora-harness[vision]'"
