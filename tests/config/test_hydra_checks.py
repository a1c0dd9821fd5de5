"""A shared configuration runs nothing: a pickle that would write a file is named in every place Hydra acts on."""

import copy
import os
import pickle
import subprocess
import sys

import hydra
import pytest
from omegaconf import OmegaConf

from harness.config import ConfigError, check, composition, hydra_checks

CALLBACK = "x: {_target_: pandas.read_pickle, filepath_or_buffer: PICKLE}"
HANDLER = "handlers: {x: {(): pandas.read_pickle, filepath_or_buffer: PICKLE}}"


class Writes:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


# Files of the shared folder, what is said on the command line, and the line that answers it. What is said besides is
# refused later, so that a command which gets that far ends.
ROUTES = {
    "callback": (
        {"experiment/e.yaml": f"# @package _global_\nhydra:\n  callbacks:\n    {CALLBACK}\n"},
        ["--config-dir", "shared", "+experiment=e", "seed=-1"],
        'hydra.callbacks.x._target_="pandas.read_pickle": a configuration names nothing to be run',
    ),
    "package": (
        {
            "experiment/e.yaml": "# @package hydra.callbacks.x\n"
            "_target_: pandas.read_pickle\nfilepath_or_buffer: PICKLE\n"
        },
        ["--config-dir", "shared", "+experiment=e", "seed=-1"],
        'hydra.callbacks.x._target_="pandas.read_pickle": ',
    ),
    "group": (
        {"hydra/callbacks/c.yaml": f"{CALLBACK}\n"},
        ["--help", "--config-dir", "shared", "hydra/callbacks=c"],
        'hydra.callbacks.x._target_="pandas.read_pickle": ',
    ),
    "interpolation": (
        {"experiment/e.yaml": f"# @package _global_\ny: {{{CALLBACK}}}\nhydra:\n  callbacks: ${{y}}\n"},
        ["--config-dir", "shared", "+experiment=e", "seed=-1"],
        'y.x._target_="pandas.read_pickle": no such key',
    ),
    "override": (
        {},
        ["+hydra.callbacks.x._target_=pandas.read_pickle", "+hydra.callbacks.x.filepath_or_buffer=PICKLE", "seed=-1"],
        'hydra.callbacks.x._target_="pandas.read_pickle": ',
    ),
    "multirun": (
        {"experiment/e.yaml": f"# @package _global_\nhydra:\n  callbacks:\n    {CALLBACK}\n"},
        ["--config-dir", "shared", "-m", "+experiment=e", "seed=-1,-2"],
        'hydra.callbacks.x._target_="pandas.read_pickle": ',
    ),
    "launcher": (
        {"hydra/launcher/l.yaml": "_target_: pandas.read_pickle\nfilepath_or_buffer: PICKLE\n"},
        ["--config-dir", "shared", "-m", "hydra/launcher=l", "seed=-1,-2"],
        'hydra.launcher._target_="pandas.read_pickle": ',
    ),
    "sweeper": (
        {"experiment/e.yaml": f"# @package _global_\nhydra:\n  sweeper:\n    params:\n      {CALLBACK}\n"},
        ["--config-dir", "shared", "-m", "+experiment=e", "seed=-1,-2"],
        'hydra.sweeper.params.x._target_="pandas.read_pickle": ',
    ),
    "made by a resolver": (
        {
            "experiment/e.yaml": "# @package _global_\nhydra:\n  sweeper:\n"
            f"    params: '${{oc.create:{{{CALLBACK}}}}}'\n"
        },
        ["--config-dir", "shared", "-m", "+experiment=e", "seed=-1,-2"],
        'hydra.sweeper.params="${oc.create:',
    ),
    "logging": (
        {"experiment/e.yaml": f"# @package _global_\nhydra:\n  job_logging:\n    root: {{}}\n    {HANDLER}\n"},
        ["--config-dir", "shared", "+experiment=e", "seed=-1"],
        "logging is one of Hydra's own; valid: hydra/job_logging= default, disabled, none, stdout",
    ),
    "environment": (
        {"experiment/e.yaml": "# @package _global_\nhydra:\n  job:\n    env_set: {LD_PRELOAD: PICKLE}\n"},
        ["--config-dir", "shared", "+experiment=e", "seed=-1"],
        "hydra.job.env_set.LD_PRELOAD=",
    ),
    "config name": (
        {"mine.yaml": f"hydra:\n  callbacks:\n    {CALLBACK}\n"},
        ["--config-path", "SHARED", "--config-name", "mine"],
        'hydra.callbacks.x._target_="pandas.read_pickle": ',
    ),
    "search path": (
        {"hydra/callbacks/c.yaml": f"{CALLBACK}\n"},
        ["hydra.searchpath=[file://SHARED]", "hydra/callbacks=c", "seed=-1"],
        'hydra.callbacks.x._target_="pandas.read_pickle": ',
    ),
    "package searched": (
        {"mine.yaml": "hydra:\n  searchpath: [pkg://evil]\n"},
        ["--config-path", "SHARED", "--config-name", "mine"],
        "hydra.searchpath=pkg://evil: a package is run when it is imported; give a folder",
    ),
    "package searched by an override": (
        {},
        ["hydra.searchpath=[pkg://evil]", "seed=-1"],
        "hydra.searchpath=pkg://evil: a package is run",
    ),
    "package given": ({}, ["--config-path", "pkg://evil"], "--config-path=pkg://evil: a package is run"),
    "rerun": ({}, ["--experimental-rerun", "PICKLE"], "--experimental-rerun: it unpickles a file"),
    "tag": (
        {"experiment/e.yaml": '# @package _global_\nstudy: !!python/object/apply:os.mkdir ["CANARY"]\n'},
        ["--config-dir", "shared", "+experiment=e", "seed=-1"],
        "could not determine a constructor for the tag",
    ),
    "plugin": (
        {"hydra_plugins/evil.py": "import os\nos.mkdir('CANARY')\n", "experiment/e.yaml": "# @package _global_\n"},
        ["--config-dir", "shared", "+experiment=e", "seed=-1"],
        "seed=-1: input should be greater than or equal to 0",
    ),
    "our own node": (
        {"experiment/e.yaml": "# @package _global_\nlora: {arguments: {_target_: os.mkdir}}\n"},
        ["--config-dir", "shared", "lora=peft", "+experiment=e", "seed=-1"],
        'lora.arguments._target_="os.mkdir": no such key',
    ),
}


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_that_a_shared_file_names_is_run(tmp_path, zygote, route):
    files, words, line = ROUTES[route]
    canary, shared, work = tmp_path / "canary", tmp_path / "work/shared", tmp_path / "work"
    (work / "evil").mkdir(parents=True)
    (work / "evil/__init__.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    (work / "planted.pickle").write_bytes(pickle.dumps(Writes(canary)))

    def fill(text):
        for name, path in (("PICKLE", work / "planted.pickle"), ("SHARED", shared), ("CANARY", canary)):
            text = text.replace(name, str(path))
        return text

    for name, text in files.items():
        (shared / name).parent.mkdir(parents=True, exist_ok=True)
        (shared / name).write_text(fill(text))
    before = sorted(work.rglob("*"))
    said = [fill(word) for word in words]
    if route == "plugin":  # which would be found while modules are imported
        command = [sys.executable, "-B", "-m", "harness", *said]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work)
    else:
        done = zygote.run(said, work, os.environ)
    assert not canary.exists()
    assert done.returncode == 2, done.stderr
    assert fill(line) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert sorted(work.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"lora: {rank: 010}\nseed: -1\n", "e.yaml, line 2: YAML reads 010 as 8; write a number without a 0 before it"),
        (b"study: 12:30:45\n", "e.yaml, line 2: YAML reads 12:30:45 as 45045; write a number"),
        (b"study: caf\xe9\n", "e.yaml: 'utf-8' codec can't decode byte 0xe9 in position 30: "),
        (b"study: '010'\nlora: {rank: 10}\nseed: -1\n", "seed=-1: input should be greater than or equal to 0"),
    ],
)
def test_what_a_file_does_not_say_as_it_stands_there_is_refused(tmp_path, zygote, text, line):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/e.yaml").write_bytes(b"# @package _global_\n" + text)
    done = zygote.run(["--config-dir", "mine", "+experiment=e"], tmp_path, os.environ)
    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


LOADERS = (
    "pandas.read_pickle",
    "torch.load",
    "numpy.load",
    "joblib.load",
    "builtins.open",
    "os.system",
    "builtins.int",
)


@pytest.fixture(scope="module")
def whole():
    composition.register_sweeps()
    with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
        return hydra.compose("config", return_hydra_config=True)


@pytest.fixture
def composed(whole):
    return copy.deepcopy(whole)


def with_value(composed, key, value):
    OmegaConf.set_struct(composed, False)
    OmegaConf.update(composed, key, value, merge=False, force_add=True)
    return composed


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize(
    "place",
    ["hydra.callbacks.x", "hydra.launcher", "hydra.sweeper", "hydra.runtime.choices", "hydra.run", "task.x", "x"],
)
def test_no_name_is_allowed_anywhere(composed, place, name):
    with pytest.raises(ConfigError, match="a configuration names nothing to be run"):
        hydra_checks.refuse(with_value(composed, f"{place}._target_", name))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hydra.verbose", True),
        ("hydra.mode", "MULTIRUN"),
        ("hydra.sweep.dir", "${results}/elsewhere"),
        ("hydra.sweep.subdir", "${hydra.job.num}"),
        ("hydra.sweeper.max_batch_size", 2),
        ("hydra.sweeper.params", {"lora.rank": "1,2"}),
        ("hydra.job.chdir", False),
        ("hydra.help.footer", "Ask us."),
        ("hydra.searchpath", ["file:///elsewhere"]),
    ],
)
def test_what_is_hydras_own_may_be_set(composed, key, value):
    hydra_checks.refuse(with_value(composed, key, value))


@pytest.mark.parametrize("word", ["hydra/job_logging=default", "hydra/hydra_logging=disabled", "hydra/launcher=basic"])
def test_hydras_own_options_may_be_chosen(word):
    composition.register_sweeps()
    with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
        hydra_checks.refuse(hydra.compose("config", overrides=[word], return_hydra_config=True))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hydra.run.dir", "elsewhere"),
        ("hydra.output_subdir", "elsewhere"),
        ("hydra.output_subdir", ".hydra"),
        ("hydra.job.env_copy", ["HOME"]),
        ("hydra.env", {"x": 1}),
        ("hydra.sweeper.params", {"lora.rank": "${oc.decode:x}"}),
        ("hydra.sweeper.params", {"+hydra.callbacks": "{x: 1}"}),
        ("hydra.sweeper.max_batch_size", "${oc.decode:x}"),
        ("hydra.launcher.more", 1),
        ("hydra.job_logging.handlers", {"x": {"class": "logging.FileHandler", "filename": "/tmp/x"}}),
    ],
)
def test_all_else_of_hydras_is_refused(composed, key, value):
    with pytest.raises(ConfigError, match=r"^hydra\.\S+=.*: "):
        hydra_checks.refuse(with_value(composed, key, value))


@pytest.mark.parametrize("key", ["arguments._target_", "x._target_"])
def test_a_target_in_our_own_tree_is_no_key(composed, key):
    with pytest.raises(ConfigError, match=r"_target_=.*: no such key"):
        hydra_checks.refuse(with_value(composed, f"lora.{key}", "os.system"))


def test_the_schema_refuses_a_target_that_did_not_come_through_hydra(tree):
    found = tree()
    found["lora"]["_target_"] = "os.system"
    with pytest.raises(ConfigError, match=r"lora\._target_: no such key"):
        check(found)


SECRETS = {
    "WANDB_API_KEY": "planted-value-0815",
    "AWS_SECRET_ACCESS_KEY": "planted-value-0815",
    "HARNESS_STORAGE": "postgresql://me:planted-value-0815@h/d",
    "OUR_ADDRESS": "host=h password=planted-value-0815",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_configuration_does_not_read_a_secret(monkeypatch, name):
    monkeypatch.setenv(name, SECRETS[name])
    with pytest.raises(ConfigError, match="may hold a secret") as caught:
        hydra_checks._environment(name, "something else")
    assert "planted" not in str(caught.value)


def test_other_variables_are_read(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert hydra_checks._environment("WORLD_SIZE") == "4"
    assert hydra_checks._environment("WANDB_API_KEY", "none") == "none"


@pytest.mark.parametrize("words", [["seed=-1"], ["--cfg", "job", "--resolve"]], ids=["trial", "shown"])
def test_a_secret_in_a_shared_file_is_refused_by_its_name(tmp_path, zygote, words):
    shared = tmp_path / "shared/experiment"
    shared.mkdir(parents=True)
    (shared / "e.yaml").write_text("# @package _global_\ntask:\n  name: x${oc.env:HARNESS_STORAGE}\n")
    done = zygote.run(["--config-dir", "shared", "+experiment=e", *words], tmp_path, os.environ | SECRETS)
    assert done.returncode == 2
    assert "planted" not in done.stderr + done.stdout
    assert "${oc.env:HARNESS_STORAGE}: it may hold a secret" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
