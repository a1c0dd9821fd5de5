"""Nothing that data names is run, nothing is unpickled, no secret is kept, and what is kept is the owner's alone."""

import ast
import json
import os
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from harness.config import ConfigError, check

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "harness").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
KEY, PASSWORD, TOKEN = "planted-key-0123456789", "planted-password-4711", "planted-token-0815"

# Each can run code out of what it reads.
LOADERS = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "dill.load"),
    *("joblib.load", "cloudpickle.load", "cloudpickle.loads", "pd.read_pickle", "pandas.read_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "torch.hub.load", "torch.jit.load"),
    *("eval", "exec", "compile", "__import__", "os.system", "hydra.utils.instantiate", "instantiate", "get_class"),
}


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def options(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_and_nothing_named_in_data_is_run(path):
    for call, name in calls(path):
        assert name not in LOADERS, f"{path}:{call.lineno}: {name}"
        said = options(call)
        if name == "torch.load":
            assert said.get("weights_only") == "True", f"{path}:{call.lineno}"
        if name.endswith("load_from_checkpoint") or name == "L.Trainer.load":
            assert said.get("weights_only") == "True", f"{path}:{call.lineno}"
        assert said.get("allow_pickle", "False") == "False", f"{path}:{call.lineno}"
        assert said.get("trust_remote_code", "False") == "False", f"{path}:{call.lineno}"
        assert said.get("shell", "False") == "False", f"{path}:{call.lineno}"
        if name.endswith(".extractall") and name.startswith("tape"):
            assert said.get("filter") == "'data'", f"{path}:{call.lineno}"


def test_no_configuration_names_something_to_run(tree):
    for folder in ("conf", "sweeps"):
        for path in (ROOT / folder).rglob("*.yaml"):
            assert "_target_" not in path.read_text(), path
    for place in ((), ("task",), ("model", "weights"), ("lora",), ("tracking",)):
        bad = tree()
        node = bad
        for key in place:
            node = node[key]
        node["_target_"] = "os.system"
        with pytest.raises(ConfigError, match=r"_target_: no such key"):
            check(bad)


def test_releases_known_to_be_unsafe_are_excluded():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {item.name: item.specifier for item in map(Requirement, project["dependencies"])}
    assert not any(version in wanted["lightning"] for version in ("2.6.2", "2.6.3"))
    assert not any(version in wanted["torch"] for version in ("2.5.1", "2.9.1"))
    assert not any(version in wanted["hydra-core"] for version in ("1.3.2", "1.3.7"))
    assert "3.1.5" not in wanted["jinja2"]


def test_planted_secrets_are_in_no_file_and_every_file_is_the_owners_alone(tiny_base, tiny_data, zygote, tmp_path):
    shape = "{hidden: 16, layers: 2, heads: 2, ffn: 32, vocabulary: 40, positions: 40, types: 2}"
    words = ["task=text_csv", f"task.data={tiny_data}", f"model.shape={shape}", "task.max_length=40"]
    words += [f"model.weights.address=path:{tiny_base}", "model.weights.sha256=null", "lora.rank=2"]
    words += ["trainer.max_steps=2", "trainer.evaluations=1", "tracking.mode=offline"]
    # Even where somebody writes them where they do not belong.
    words += [f"tracking.project={TOKEN}", f"tracking.entity=postgresql://me:{PASSWORD}@db"]
    planted = {"WANDB_API_KEY": KEY, "HF_TOKEN": TOKEN, "HARNESS_STORAGE": f"postgresql://me:{PASSWORD}@db.invalid/s"}
    place = {"HARNESS_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home")}
    for folder in ("tmp", "home"):
        (tmp_path / folder).mkdir(mode=0o700)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | planted | place
    with zygote.popen(["-m", "harness", *words], cwd=tmp_path, env=environment, umask=0o022, **pipes) as done:
        out, error = done.communicate()
    assert done.returncode == 0, error
    assert json.loads(out)["state"] == "complete"
    kept = [path for path in tmp_path.rglob("*") if not path.is_symlink()]
    assert any(path.suffix == ".wandb" for path in kept)
    for secret in (KEY, PASSWORD, TOKEN):
        assert secret not in out + error
        for path in kept:
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    state = [path for path in kept if "results" in path.parts or "cache" in path.parts]
    assert [path for path in state if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_a_failure_that_holds_a_secret_is_told_without_it(zygote, tmp_path):
    folder = tmp_path / "results/s"
    folder.mkdir(parents=True)
    (folder / "records.jsonl").write_text(f"{KEY}: no JSON\n")
    environment = os.environ | {"WANDB_API_KEY": KEY, "TMPDIR": str(tmp_path)}
    done = zygote.run(["run=report", "study=s"], tmp_path, environment)
    assert done.returncode == 70
    log = Path(done.stderr.strip().rpartition(" ")[2])
    assert "***" in done.stderr
    assert KEY not in done.stderr + log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
