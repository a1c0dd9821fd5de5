"""Trials of unlike tasks at once: each way of sharing a base trains on mixed batches, and tags are scored by spans."""

import csv

import pytest
import torch

from harness.config import ConfigError
from harness.report import multitask
from harness.trial import TrialContext
from harness.trial.multi_adapter import load_multi_adapter
from harness.trial.run import run_trial
from tests.task.test_unlike_tasks import TASKS, WAYS

ALONE = dict.fromkeys(TASKS, 0.5)
MEASURES = {"good": "accuracy", "size": "r2", "both": "accuracy", "kinds": "f1_micro", "names": "f1"}


@pytest.fixture
def trial(compose_unlike, tmp_path, own_cache):
    def go(*words, **changes):
        config = compose_unlike("trainer.max_steps=12", "trainer.batch_size=10", *words, **changes)
        folder = tmp_path / "trials" / "0000"
        folder.mkdir(parents=True)
        entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
        assert (entry.state, entry.reason) == ("complete", "")
        return entry, folder

    return go


@pytest.mark.parametrize("way", [*WAYS, "shared"])
def test_every_way_of_sharing_a_base_trains_on_mixed_batches(way, trial):
    words = WAYS.get(way, ["lora=shared", "lora.match.rank=1", "lora.match.task_rank=1", "lora.match.blocks=1"])
    more = [] if way == "full" else ["lora.targets=[output,ffn_down]"]
    entry, folder = trial(*words, *more, alone=ALONE, weighting="uncertainty")
    scores = entry.scores["test"]
    shares = {task: scores[f"{task}/{measure}"] for task, measure in MEASURES.items()}
    assert scores["score"] == pytest.approx(sum(shares.values()) / 5)
    assert scores["loss"] == pytest.approx(sum(scores[f"{task}/loss"] for task in TASKS) / 5)
    gains = [100 * (shares[task] - alone) / alone for task, alone in ALONE.items()]
    assert scores["delta_m"] == pytest.approx(sum(gains) / 5)
    with open(folder / "predictions.csv", newline="") as file:
        mine = [row for row in csv.DictReader(file) if float(row["task"]) == TASKS.index("names")]
    right, there, found = (sum(float(row[key]) for row in mine) for key in ("right", "label", "predicted"))
    assert scores["names/f1"] == pytest.approx(2 * right / (there + found))
    assert there == entry.data.tasks["names"].details["spans"]["test"]["NAME"]


def test_batches_of_one_task_learn_tags_beside_the_others_and_the_report_scores_them(trial):
    words = ["lora.rank=8", "lora.targets=all-linear", "trainer.max_steps=250", "trainer.epochs=50.0"]
    words += ["optimizer.lr=0.02", "optimizer.head_lr=0.05", "model.dropout=0.0"]
    entry, folder = trial(*words, only=["good", "names"], batches="one_task", gradients=True)
    assert entry.scores["test"]["names/f1"] > 0.9
    assert entry.task_gradients.tasks == ["good", "names"]
    assert multitask.measure_of(entry, "names") == "f1"
    items = multitask.items_of(entry, folder.parent.parent)["names"]
    weights = torch.ones(1, len(items.label)).numpy()
    assert items.score(weights)[0] == pytest.approx(entry.scores["test"]["names/f1"])
    with pytest.raises(ConfigError, match=r"names has a tag for each token, .*\(task.only\)"):
        load_multi_adapter([folder])
