"""The Python of the pages runs, on a tiny base, and does what the page says."""

import csv
import re
from pathlib import Path

import pytest
import torch

from harness import record
from harness.lora import adapter_parameters
from harness.task import build_task
from harness.trial import TrialContext
from harness.trial.run import run_trial

DOCS = Path(__file__).parents[1] / "docs"


def code(page: str, number: int) -> str:
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)[number]


@pytest.fixture
def reviews(compose, tmp_path, own_cache) -> Path:
    """results/reviews with one trial, that learned something, in its log."""
    config = compose("trainer.max_steps=60", "optimizer.lr=0.03", "optimizer.head_lr=0.1")
    study = tmp_path / "results/reviews"
    (study / "trials/0000").mkdir(parents=True)
    entry = run_trial(config, TrialContext("reviews", 0, "rank=2", study / "trials/0000"), lambda *_: False)
    record.append(study, entry)
    return study


def test_the_tutorial_serves_what_the_trial_predicted(reviews, compose, tiny_base):
    block = code("tutorial.md", 0).replace("path/to/minilm", str(tiny_base)).replace("trials/0003", "trials/0000")
    names: dict = {}
    exec(block.replace("max_length=128", "max_length=40"), names)
    with open(reviews / "trials/0000/predictions.csv", newline="") as file:
        predicted = {int(row["row"]): int(row["predicted"]) for row in csv.DictReader(file)}
    texts = build_task(compose().task).splits["test"].texts
    assert len(set(predicted.values())) == 2
    assert names["classify"](list(texts)) == [predicted[row] for row in range(len(texts))]


def test_the_records_are_read_as_the_pages_say(reviews):
    names: dict = {}
    exec(code("reference/record.md", 0), names)
    assert names["best"].trial == 0
    exec(code("reference/python_api.md", 0), names)
    (row,) = names["frame"].to_dict("records")
    assert (row["arm"], row["params_adapter"]) == ("rank=2", 256)
    assert row["test_accuracy"] == names["accuracies"]["rank=2"] == names["best"].scores["test"]["accuracy"]


def test_the_adapter_of_a_network_of_one_s_own_goes_out_and_in(tmp_path):
    names: dict = {"Path": Path}
    torch.manual_seed(0)
    exec(code("reference/python_api.md", 1), names)
    assert names["ranks"] == {"0": 4}
    for tensor in adapter_parameters(names["network"]):
        tensor.data += 0.1
    x = torch.ones(3, 16)
    before = names["network"](x)
    torch.manual_seed(0)  # the page's fresh network is the same one
    exec(code("reference/python_api.md", 2), names)
    assert torch.equal(names["network"](x), before)
    assert (tmp_path / "adapter/adapter_config.json").exists()
    torch.testing.assert_close(names["fresh"](x), before)
