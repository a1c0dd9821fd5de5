"""run=wandb_workspace: the view that is written is one that W&B's own package reads, of keys that runs have."""

import json
import os

import pytest

from harness.commands import wandb_workspace
from harness.config import to_dict, to_yaml
from harness.record import tracked
from tests.commands import compose
from tests.report.studies import factorial, write_study

pytestmark = pytest.mark.slow


@pytest.fixture
def results(tmp_path):
    words = ["sweep=rank_alpha_lr", "run=study", "study=simulated", "tracking.mode=offline", "tracking.entity=team"]
    folder = write_study(tmp_path / "simulated", factorial()[:3])
    (folder / "config.yaml").write_text(to_yaml(to_dict(compose([*words, f"results={tmp_path}"]))))
    return tmp_path


@pytest.fixture
def command(results, zygote):
    words = ["run=wandb_workspace", "study=simulated", f"results={results}"]
    return lambda *more: zygote.run([*words, *more], results, os.environ)


@pytest.mark.filterwarnings("ignore")  # of pydantic, at the package's import
def test_the_view_is_written_and_its_panels_show_keys_that_runs_have(results, command):
    pytest.importorskip("wandb_workspaces", reason="the extra wandb is not installed")
    done = command("tracking.mode=offline")
    assert done.returncode == 0, done.stderr
    tree = json.loads((results / "simulated" / wandb_workspace.FILE).read_text())
    assert (tree["entity"], tree["project"]) == ("team", "lora-harness")
    from wandb_workspaces.workspaces import Workspace, internal

    view = internal.View.model_validate(tree)
    again = Workspace._from_model(view)
    assert [section.name for section in again.sections] == ["Scores and costs", "Learning curves"]
    text = json.dumps(tree)
    known = tracked(factorial()[0]) | {"score/test": 0.5}
    used = {word.split('"')[0] for word in text.split("summary:")[1:]}
    assert used
    assert used <= known.keys()
    assert "simulated" in json.dumps(tree["spec"])


def test_a_study_of_another_tracker_is_refused(results, command):
    path = results / "simulated/config.yaml"
    path.write_text(path.read_text().replace("name: wandb", "name: csv"))
    done = command()
    assert done.returncode == 2
    assert done.stderr == "run=wandb_workspace: study=simulated has tracking=csv\n"
