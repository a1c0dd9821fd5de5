"""A model and a task of the user's own, written outside the repository as the pages of docs/ show them."""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException

from harness.config import ConfigError, check, composition, to_dict
from harness.config.guests import FOLDERS, add_folder
from harness.trial.adapt import count
from harness.trial.guests import check_guests
from harness.trial.inputs import input_digests
from tests import tiny

ROOT = Path(__file__).parents[1]
PAGES = {"own_model": ("networks.py", "model/small_cnn.yaml"), "own_task": ("tickets.py", "task/tickets.yaml")}


def blocks(page: str) -> list[str]:
    """The first two blocks of code of a page: the class and its option."""
    text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text()
    return re.findall(r"```(?:python|yaml)\n(.*?)```", text, re.DOTALL)[:2]


@pytest.fixture
def lab(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the pages describe, and tickets for the task."""
    folder = tmp_path / "lab"
    for page, files in PAGES.items():
        for name, text in zip(files, blocks(page), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    lines = [line.rpartition(",") for line in tiny_data.read_text().splitlines()[1:]]
    rows = [
        {"text": f"ticket {text}", "team": ("sales", "care")[int(label)], "day": n}
        for n, (text, _, label) in enumerate(lines)
    ]
    (tmp_path / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv(FOLDERS, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("networks", "tickets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    add_folder(str(folder))
    return folder


@pytest.fixture
def guest_model(compose_plain):
    """A configuration of the digits with a guest's model."""

    def compose(*overrides, **keys):
        tree = to_dict(compose_plain("task=digits", "model=resnet18", "lora.targets=[conv]", *overrides))
        return check(tree | {"model": {"kind": "networks:SmallCnn", "name": "small_cnn"} | keys})

    return compose


@pytest.fixture
def guest_task(tree, tmp_path):
    """A configuration of the tiny text encoder with a guest's task."""

    def compose(*overrides, **keys):
        task = {"reader": "tickets:Tickets", "name": "tickets", "arguments": {"file": str(tmp_path / "tickets.jsonl")}}
        return check(tree(*overrides) | {"task": task | keys})

    return compose


@pytest.fixture
def run_config(tmp_path, own_cache):
    """Runs one trial in this process."""

    def go(config):
        from harness.trial import TrialContext
        from harness.trial.run import run_trial

        folder = tmp_path / "trials" / "0000"
        folder.mkdir(parents=True)
        return run_trial(config, TrialContext("study", 0, "lora", folder), lambda *_: False)

    return go


@pytest.mark.parametrize("page", PAGES)
def test_thirty_lines_are_enough(page):
    code, option = blocks(page)
    assert len(code.splitlines()) + len(option.splitlines()) <= 30


@pytest.fixture
def run(zygote):
    """Runs the command with the folder of the pages."""

    def go(lab: Path, *words: str) -> subprocess.CompletedProcess:
        environment = {key: value for key, value in os.environ.items() if key != FOLDERS}
        environment |= {"HARNESS_CACHE": str(lab.parent / "cache")}
        command = ["--config-dir", str(lab), *words, "tracking=off", "trainer=cpu"]
        return zygote.run(command, lab.parent, environment)

    return go


def test_a_guest_s_model_and_task_are_trained_by_the_command(lab, tiny_base, tiny_data, run):
    short = ("trainer.max_steps=6", "trainer.evaluations=2", "lora.rank=2")
    done = run(lab, "model=small_cnn", "task=digits", "lora.targets=[conv]", *short)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["state"], record["model"], record["base"]["sha256"]) == ("complete", "small_cnn", "fresh")
    assert record["parameters"]["adapter"] == 2 * (3 * 9 + 16) + 2 * (16 * 9 + 16)
    assert (
        record["provenance"]["inputs"]["model_code"] == hashlib.sha256((lab / "networks.py").read_bytes()).hexdigest()
    )
    words = [word for word in tiny.words_of(tiny_base, tiny_data) if not word.startswith("task")]
    done = run(lab, "task=tickets", *words, *short, "study=tickets", "lora.targets=[query]")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["data"]["rows"] == {"train": 144, "validation": 48, "test": 48}
    assert record["data"]["details"]["classes"] == ["care", "sales"]
    assert "accuracy" in record["scores"]["test"]


def test_a_guest_s_parameters_are_counted(lab, guest_model):
    counted = count(guest_model(arguments={"width": 8}))
    assert counted["params"]["base"] == (3 * 9 * 8 + 8) + (8 * 9 * 8 + 8) + (8 * 8 + 8)
    assert counted["params"]["head"] == 8 * 10 + 10


def test_the_identity_of_a_trial_has_the_digest_of_the_guest_s_code(lab, guest_task):
    config = guest_task()
    check_guests(config)
    before = input_digests(config)
    assert before["task_code"] == hashlib.sha256((lab / "tickets.py").read_bytes()).hexdigest()
    (lab / "tickets.py").write_text((lab / "tickets.py").read_text() + "\n# changed\n")
    after = input_digests(config)
    assert {key for key in before if before[key] != after[key]} == {"task_code"}


def test_the_identity_of_a_trial_has_what_the_guest_imports_from_its_folder(lab, guest_task, monkeypatch):
    """A constant of a module that the class's module imports changes the task as its own file does."""
    assert "guest_imports" not in input_digests(guest_task()), "guests of one file are known as before"
    (lab / "parts").mkdir()
    files = {
        "rates.py": "import json\nfrom parts import words\nGAIN = words.ONE\n",
        "parts/__init__.py": "",
        "parts/words.py": "from . import numbers_of\nONE = numbers_of.ONE\n",
        "parts/numbers_of.py": "ONE = 1\n",
        "unused.py": "",
    }
    for name, text in files.items():
        (lab / name).write_text(text)
    (lab / "tickets.py").write_text("from rates import GAIN\n" + (lab / "tickets.py").read_text())
    for name in ("tickets", "rates", "parts", "parts.words", "parts.numbers_of"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    config = guest_task()
    seen = [input_digests(config)]
    for name, text in files.items():
        (lab / name).write_text(text + "# changed\n")
        seen.append(input_digests(config))
    changed = [before != after for before, after in itertools.pairwise(seen)]
    assert changed == [True, True, True, True, False]
    assert {key for key in seen[0] if seen[0][key] != seen[-1][key]} == {"guest_imports"}


ELSEWHERE = """
import pathlib
pathlib.Path("imported").write_text("")
class Other:
    pass
def function(**_):
    pathlib.Path("called").write_text("")
raising = function
"""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("elsewhere:Other", "no subclass of harness.model.guest.GuestModel"),
        ("elsewhere:function", "no subclass of harness.model.guest.GuestModel"),
        ("harness.model.guest:GuestModel", "no subclass of harness.model.guest.GuestModel"),
        ("networks:SmalCnn", "networks has no SmalCnn; did you mean SmallCnn?"),
        ("nowhere_at_all:Name", "importing nowhere_at_all failed, ModuleNotFoundError: No module named"),
        ("tickets:Tickets", "no subclass of harness.model.guest.GuestModel"),
    ],
)
def test_only_a_guest_s_class_is_used(lab, guest_model, kind, said):
    (lab / "elsewhere.py").write_text(ELSEWHERE)
    sys.modules.pop("elsewhere", None)
    with pytest.raises(ConfigError) as caught:
        check_guests(guest_model(kind=kind))
    assert str(caught.value).startswith(f"model.kind={kind}: ")
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("called").exists()


def test_a_guest_is_imported_after_all_other_checks(lab, guest_model, run):
    (lab / "elsewhere.py").write_text(ELSEWHERE)
    sys.modules.pop("elsewhere", None)
    config = guest_model(kind="elsewhere:Other")
    with pytest.raises(ConfigError, match=r"lora\.rank=0"):
        check(to_dict(config) | {"lora": to_dict(config.lora) | {"rank": 0}})
    assert not Path("imported").exists()
    done = run(lab, "+model.kind=elsewhere:Other", "model=small_cnn", "task.data=none", "task=image_folder")
    assert done.returncode == 2
    assert not Path("imported").exists()


def test_what_is_at_odds_with_a_guest_is_named(lab, guest_model, guest_task):
    with pytest.raises(ConfigError, match=r"^model\.arguments: SmallCnn takes other arguments: .*'depth'"):
        count(guest_model(arguments={"depth": 3}))
    with pytest.raises(ConfigError, match=r"^task\.arguments: Tickets takes other arguments: .*'file'"):
        check_guests(guest_task(arguments={}))
    mixed = check(to_dict(guest_task()) | {"model": to_dict(guest_model())["model"]})
    with pytest.raises(ConfigError, match=r"^model=small_cnn: a vision model; task=tickets needs a text model"):
        check_guests(mixed)
    (lab / "longer.py").write_text("import tickets\nclass Longer(tickets.Tickets):\n    max_length = 64\n")
    with pytest.raises(ConfigError, match=r"^task\.max_length=64: model=minilm has 40 positions"):
        check_guests(guest_task(reader="longer:Longer"))
    with pytest.raises(ConfigError, match=r"^trainer\.objective=score: task=tickets has none; trainer\.objective=acc"):
        check_guests(guest_task("trainer.objective=score"))


def test_a_guest_s_task_is_one_of_several(lab, guest_task, compose_mixture):
    alone = guest_task()
    tree = to_dict(compose_mixture())
    tree["task"]["tasks"] = {"tickets": to_dict(alone)["task"], "good": tree["task"]["tasks"]["good"]}
    config = check(tree)
    check_guests(config)
    assert count(config)["params"]["head"] == 2 * (16 * 2 + 2)
    assert input_digests(config)["task_code"] == input_digests(alone)["task_code"]
    (lab / "seen.py").write_text((lab / "tickets.py").read_text().replace('reads = "text"', 'reads = "vision"'))
    tree["task"]["tasks"]["tickets"]["reader"] = "seen:Tickets"
    with pytest.raises(ConfigError, match=r"^model=minilm: a text model; task=mixture needs a vision model"):
        check_guests(check(tree))


OWN_METRIC = """
import torch
from harness.task import TextTask
from harness.task.metrics import ClassMetrics
from tickets import Tickets

class Half(ClassMetrics):
    names = (*ClassMetrics.names, "half")
    def compute_and_reset(self):
        scores = super().compute_and_reset()
        return scores | {"half": scores["accuracy"] / 2}

class OwnTask(TextTask):
    def metrics(self):
        return Half(len(self.classes))

class Measured(Tickets):
    def task(self, name, source):
        return OwnTask(**vars(super().task(name, source)))
"""


def test_a_guest_s_task_has_metrics_of_its_own(lab, guest_task, run_config):
    (lab / "measured.py").write_text(OWN_METRIC)
    record = run_config(guest_task(reader="measured:Measured"))
    assert record.scores["test"]["half"] == record.scores["test"]["accuracy"] / 2


def test_a_path_that_is_none_is_refused_by_the_schema(guest_model):
    for kind in ("networks.SmallCnn:", "os:system()", ":Name", "a b:C", "../x:Y"):
        with pytest.raises(ConfigError, match=r"^model\.kind="):
            guest_model(kind=kind)


GUESTS = {
    "vision": "rows = (rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), [i % 3 for i in range(60)])",
    "speech": "rows = (list(rng.integers(-9, 9, (60, 900), dtype=np.int16)), ['ab'[i % 2] for i in range(60)])",
    "generator": "rows = ([f's {i}' for i in range(60)], [f't {i}' for i in range(60)])",
    "text": "rows = ([f's {i}' for i in range(60)], [float(i) for i in range(60)])",
}


@pytest.mark.parametrize("reads", GUESTS)
def test_rows_of_every_kind_make_a_task(lab, reads):
    from harness.config import GuestTaskConfig
    from harness.task import build_task

    (lab / f"rows_of_{reads}.py").write_text(
        "import numpy as np\nfrom harness.task import GuestTask\n"
        f"class Rows(GuestTask):\n    reads = {reads!r}\n    numbers = {reads == 'text'}\n"
        f"    def splits(self):\n        rng = np.random.default_rng(0)\n        {GUESTS[reads]}\n"
        "        cuts = {'train': slice(0, 40), 'validation': slice(40, 50), 'test': slice(50, 60)}\n"
        "        return {name: (rows[0][cut], rows[1][cut]) for name, cut in cuts.items()}\n"
    )
    task = build_task(GuestTaskConfig(reader=f"rows_of_{reads}:Rows", name="mine"))
    assert task.describe()["rows"] == {"train": 40, "validation": 10, "test": 10}
    assert task.outputs == {"vision": 3, "speech": 2, "generator": 0, "text": 1}[reads]
    names = {"vision": "accuracy", "speech": "accuracy", "generator": "perplexity", "text": "r2"}
    assert names[reads] in task.metrics().names


def test_a_row_in_two_splits_is_refused(lab):
    from harness.config import GuestTaskConfig
    from harness.task import build_task

    (lab / "leaking.py").write_text(
        "import numpy as np\nfrom harness.task import GuestTask\n"
        "class Rows(GuestTask):\n    reads = 'vision'\n"
        "    def splits(self):\n"
        "        images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)\n"
        "        return {name: (images, [0, 1] * 20) for name in ('train', 'validation', 'test')}\n"
    )
    with pytest.raises(ConfigError, match=r"^task=mine: 40 rows of the validation split stand in train too"):
        build_task(GuestTaskConfig(reader="leaking:Rows", name="mine"))


def test_the_user_s_own_names_are_suggested(lab):
    assert "small_cnn" in composition.options("model")
    assert "tickets" in composition.options("task")
    error = HydraException("Could not find 'model/smal_cnn'")
    assert "did you mean small_cnn?" in composition.explain(error, ["model=smal_cnn"])
    os.environ[FOLDERS] = ""
    composition.use_config_dir(["run=count", "--config-dir", str(lab), "model=x"])
    assert "small_cnn" in composition.options("model")
