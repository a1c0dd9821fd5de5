"""The life of a trial of dense tasks: trained, scored, saved, and read back to the same answers."""

import csv

import pytest
import torch
from safetensors.torch import load_file

from harness.config import ConfigError, check, fingerprint, to_dict
from harness.lora import import_adapter
from harness.model import build_model
from harness.task import build_task
from harness.trial.context import TrialContext
from harness.trial.run import run_trial

SWIN = {
    "kind": "dense",
    "name": "small_swin",
    "architecture": "swin",
    "weights": None,
    "image_size": 32,
    "shape": {"patch": 2, "window": 4, "width": 8, "depths": [1, 2], "heads": [2, 4]},
    "decoder": [6, 8],
}
SMALL = ["task.image_size=32", "task.train_rows=48", "task.validation_rows=16", "task.test_rows=20"]


@pytest.fixture
def compose_dense(compose_plain):
    def compose(*words, **model):
        words = ["task=shapes_dense", "model=dense_lite0", "trainer.objective=score", *SMALL, *words]
        return check(to_dict(compose_plain(*words)) | {"model": SWIN | model})

    return compose


TRAINED = ["trainer.max_steps=40", "trainer.batch_size=8", "trainer.epochs=20.0", "optimizer.lr=5e-3"]


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ("mtlora", ["lora.targets=[query,value,output,ffn_up,ffn_down]", "task.weighting=uncertainty"]),
        ("mtlora", ["lora.targets=[qkv,output,ffn_up,ffn_down,merging]", "lora.mode=both"]),
        ("mtlora", ["lora.targets=[output,ffn_up]", "task.weighting=gradnorm", "task.gradients=true"]),
        ("lora", ["lora.targets=[query,value]", "task.only=[normals]"]),
        ("full", []),
    ],
)
def test_dense_tasks_train_in_one_pass_and_what_is_saved_gives_the_scored_answers(compose_dense, tmp_path, lora, words):
    folder = tmp_path / "trials" / "0000"
    folder.mkdir(parents=True)
    config = compose_dense(f"lora={lora}", *TRAINED, *words)
    entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert (entry.state, entry.reason) == ("complete", "")
    tasks = list(config.task.chosen)
    assert list(entry.data.tasks) == tasks
    assert entry.scores["test"]["score"] > 0.25  # mIoU of ground alone is 0.1, the mean depth has R² 0
    if config.task.gradients:
        found = entry.task_gradients
        assert (found.tasks, found.steps[-1], found.rows) == (tasks, 40, 64)
        cosines = torch.tensor(found.cosines[-1])
        torch.testing.assert_close(cosines.diagonal(), torch.ones(4), atol=1e-4, rtol=0)
        assert float(cosines.abs().max()) < 1.001
        torch.testing.assert_close(cosines, cosines.T)
    if lora == "mtlora":
        assert list(entry.parameters.groups) == ["shared", *tasks]
        similarity = torch.tensor(entry.adapter.task_similarity)
        assert similarity.shape == (4, 4)
        assert 0 <= float(similarity.min()) <= float(similarity.max()) <= 1 + 1e-6
        assert entry.parameters.other > 0  # norms and what else is trained; weights of losses
        last = "fc2" if "ffn_down" in config.lora.targets else "fc1"
        dead = {f"base.network.layers.1.blocks.1.mlp.{last}.updates.all.lora_{part}" for part in "AB"}
        assert set(entry.dead) == (set() if config.lora.mode == "both" else dead)

    if lora != "full":
        assert entry.merge.max_logit_difference < 1e-3
        return
    task, model = build_task(config.task), build_model(config.model, build_task(config.task).outputs).eval()
    model.base.load_state_dict(load_file(folder / "weights" / "base.safetensors"), strict=False)
    model.head.load_state_dict(load_file(folder / "weights" / "head.safetensors"))
    metrics, batch = task.metrics(), task.inputs("test", None).batch(range(20))
    with torch.no_grad():
        rows = metrics.update(model(batch), batch)
    assert metrics.compute_and_reset() == pytest.approx(entry.scores["test"], abs=1e-4)
    with open(folder / "predictions.csv", newline="") as file:
        told = [[float(row[name]) for name in metrics.columns] for row in csv.DictReader(file)]
    torch.testing.assert_close(rows, torch.tensor(told, dtype=torch.float64), atol=1e-3, rtol=1e-3)


def test_an_adapter_and_decoders_of_a_pretrained_network_are_read_back(compose_dense, tmp_path):
    """Its base lies in a file here, as it would for a network with published weights."""
    folder = tmp_path / "trials" / "0000"
    folder.mkdir(parents=True)
    plain = compose_dense("lora=mtlora")
    torch.manual_seed(3)
    fresh = build_model(plain.model, plain.task.known_outputs)
    torch.save(fresh.base.network.state_dict(), tmp_path / "swin.pth")
    weights = {"address": f"path:{tmp_path / 'swin.pth'}", "sha256": None}
    config = compose_dense("lora=mtlora", *TRAINED, "lora.targets=[qkv,output,ffn_up]", weights=weights)
    entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert (entry.state, entry.reason) == ("complete", "")
    task = build_task(config.task)
    model = build_model(config.model, task.outputs).eval()
    import_adapter(model.base, folder / "adapter")
    model.head.load_state_dict(load_file(folder / "adapter" / "head.safetensors"))
    metrics, batch = task.metrics(), task.inputs("test", None).batch(range(20))
    with torch.no_grad():
        metrics.update(model(batch), batch)
    scores = metrics.compute_and_reset()
    assert scores == pytest.approx(entry.scores["test"], abs=1e-4)
    assert entry.base.address == weights["address"]


def test_tasks_are_told_apart_by_the_fingerprint(compose_dense):
    words = [[], ["task.only=[depth]"], ["task.train_rows=49"], ["task.weighting=uncertainty"], ["task.image_size=32"]]
    found = [fingerprint(compose_dense(*one), {}) for one in words]
    assert found[0] == found[4]
    assert len(set(found)) == 4


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["task.only=[parts]"], r"task.only: no task parts; valid: segmentation, depth"),
        (["task.answers=[depth,depth]"], "task.answers: depth is named twice"),
        (["task.image_size=64"], "model.image_size=32: the images of task=shapes_dense are 64 pixels"),
        (["lora=mtl_lora"], "lora=mtl_lora: a row is of one task there"),
        (["lora=shared"], "lora.match=task_fork: a row is of one task there"),
        (["trainer.devices=2", "task.weighting=gradnorm"], "gradnorm follows the gradients of one device; equal, unc"),
        (["trainer.devices=2", "trainer.strategy=fsdp"], "trainer.strategy=fsdp: task=shapes_dense is several tasks"),
        (["trainer.objective=my.module:Measure"], "task=shapes_dense is several tasks, and a measure is of one"),
        (["trainer.objective=accuracy"], "trainer.objective=accuracy: task=shapes_dense has none"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(compose_dense, words, line):
    with pytest.raises(ConfigError) as caught:
        compose_dense(*words)
    assert line in str(caught.value)
