"""A trial from configuration to record, on a tiny encoder; its files; the ways it can end."""

import csv
import errno
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import BertModel

from harness import record
from harness.config import ConfigError
from harness.lora import import_adapter, task_adapters
from harness.model import build_model
from harness.record import Merge, Record, figure, plain
from harness.record.figures import COUNTED
from harness.system import assets
from harness.system.out_of_memory import DiskFull
from harness.system.signals import Interrupted
from harness.task import build_task, encode
from harness.training import Trainer
from harness.trial import TrialContext, single
from harness.trial.adapt import count
from harness.trial.fingerprints import fingerprint_of
from harness.trial.inputs import read_inputs
from harness.trial.run import run_trial
from tests.tiny import ON_GPU


@pytest.fixture
def run(compose, tmp_path, own_cache):
    def go(*overrides, report=lambda step, scores: False, number=0, test=True) -> Record:
        folder = tmp_path / "results" / "s" / "trials" / f"{number:04d}"
        folder.mkdir(parents=True)
        return run_trial(compose(*overrides), TrialContext("s", number, "arm", folder, test=test), report)

    return go


def test_a_record_says_what_was_run_what_it_cost_and_what_it_scored(run, compose, tmp_path):
    words = ["trainer.epochs=20.0", "trainer.max_steps=120", "optimizer.lr=0.03", "optimizer.head_lr=0.1"]
    entry = run(*words)
    assert (entry.state, entry.reason, entry.trial, entry.study) == ("complete", "", 0, "s")
    assert json.loads(record.to_json(entry))["fingerprint"] == fingerprint_of(compose(*words))
    assert entry.adapter.ranks == {
        f"encoder.layer.{layer}.attention.self.{name}": 2 for name in ("query", "value") for layer in (0, 1)
    }
    assert entry.parameters.adapter == 2 * 2 * 2 * (16 + 16)
    assert entry.parameters.head == 2 * 16 + 2
    assert entry.parameters.trainable == entry.parameters.adapter + entry.parameters.head
    parts = ("process", "parameters", "gradients", "optimizer", "activations")
    assert sum(getattr(entry.memory, part) for part in parts) == entry.memory.train_peak
    assert entry.memory.gradients == 4 * (entry.parameters.adapter + entry.parameters.head)
    assert entry.memory.optimizer == 2 * entry.memory.gradients + 4 * (8 + 2)
    foreseen = count(compose(*words))["memory"]
    assert foreseen == {part: getattr(entry.memory, part) for part in ("parameters", "gradients", "optimizer")}
    assert entry.memory.kind == ("cuda allocated" if ON_GPU else "resident set")
    assert entry.steps.made == 120
    assert 0 < entry.time.step_median_s < entry.time.train_s < entry.time.total_s
    assert entry.scores["test"]["accuracy"] > 0.7
    assert entry.dead == []
    assert entry.data.rows == {"train": 168, "validation": 24, "test": 48}


def test_words_that_the_tokenizer_does_not_know_stand_in_the_record_and_are_said(run, tiny_data, tmp_path, caplog):
    lines = tiny_data.read_text().splitlines()
    odd = [
        lines[0],
        *(f"{line.rpartition(',')[0]} ቃ,{line[-1]}" if n % 4 else line for n, line in enumerate(lines[1:])),
    ]
    (tmp_path / "odd.csv").write_text("\n".join(odd) + "\n")
    entry = run(f"task.data={tmp_path}/odd.csv", "trainer.max_steps=2", "trainer.evaluations=1")
    assert entry.state == "complete"
    found = entry.data.details["unknown_tokens"]
    assert list(found) == ["train", "validation", "test"]
    assert all(0.1 < share < 0.4 for share in found.values())
    assert f"train: {100 * found['train']:.2g} % of the tokens are unknown" in caplog.text
    assert "unknown_tokens" not in run("trainer.max_steps=2", "trainer.evaluations=1", number=1).data.details


def test_what_a_search_compares_by_before_the_end_is_what_the_record_has(compose, tmp_path, own_cache):
    folder, ask, seen = tmp_path / "results/s/trials/0000", [], []
    folder.mkdir(parents=True)

    def report(step, scores):
        seen.append({name: figure(ask[0](), name) for name in COUNTED})
        return False

    context = TrialContext("s", 0, "arm", folder, watch=ask.append)
    entry = run_trial(compose("trainer.max_steps=4", "trainer.evaluations=2"), context, report)
    costs = {name: figure(entry, name) for name in COUNTED}
    assert seen == [costs, costs]
    left = {name for name, value in costs.items() if not value}
    assert left == ({"memory.step"} if ON_GPU else set()), "a GPU measures what a CPU counts"


def test_training_rows_are_scored_where_that_is_asked_for(run):
    entry = run("trainer.max_steps=60", "optimizer.lr=0.03", "optimizer.head_lr=0.1", "trainer.score_train=true")
    assert set(entry.scores) == {"val", "train", "test"}
    assert entry.scores["train"]["accuracy"] > 0.7
    assert entry.scores["train"] != entry.scores["test"]
    again = run("trainer.max_steps=60", "optimizer.lr=0.03", "optimizer.head_lr=0.1", number=1)
    assert again.scores["test"] == entry.scores["test"]
    assert again.fingerprint != entry.fingerprint


def test_the_latency_of_the_plain_base_is_measured_beside_the_merged_one(run):
    names = {"latency_merged_s", "latency_apart_s", "latency_base_s"}
    assert names < set(plain(run("trainer.max_steps=1").merge))
    assert run("trainer.max_steps=1", "lora=full", number=1).merge == Merge()


def test_a_trial_of_a_search_is_not_merged_and_scores_the_same(compose, tmp_path, own_cache):
    found = {}
    for compares in (True, False):
        folder = tmp_path / str(compares)
        folder.mkdir()
        context = TrialContext("s", 0, "arm", folder, test=False, compares=compares)
        found[compares] = run_trial(compose("trainer.max_steps=2"), context, lambda step, scores: False)
    assert found[True].merge != Merge() == found[False].merge
    assert found[True].scores == found[False].scores
    assert found[True].adapter.sha256 == found[False].adapter.sha256


def test_the_saved_adapter_and_head_give_the_scored_predictions_through_peft(run, compose, tiny_base, tmp_path):
    entry = run("trainer.max_steps=30", "optimizer.lr=0.02")
    folder = tmp_path / "results" / "s" / entry.adapter.path
    assert {file.name: assets.sha256_of(file) for file in folder.iterdir()} == entry.adapter.sha256
    base = PeftModel.from_pretrained(BertModel.from_pretrained(tiny_base, add_pooling_layer=False), str(folder)).eval()
    head = load_file(folder / "head.safetensors")
    task = build_task(compose().task)
    batch = encode(task.splits["test"], tiny_base / "tokenizer.json", 128, 0).batch(range(48))
    tokens = base(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state
    weight = batch["mask"].unsqueeze(-1)
    logits = (tokens * weight).sum(1) / weight.sum(1) @ head["weight"].T + head["bias"]
    with open(folder.parent / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["predicted"]) for row in rows] == logits.argmax(1).tolist()
    assert [int(row["label"]) for row in rows] == batch["labels"].tolist()
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert entry.scores["test"]["accuracy"] == pytest.approx(right / 48)


def test_the_same_configuration_gives_the_same_numbers(run):
    first, second = run(number=0), run(number=1)
    assert first.scores == second.scores
    assert first.adapter.sha256 == second.adapter.sha256
    assert run("seed=1", number=2).scores != first.scores


@pytest.mark.parametrize(("arm", "other", "adapter"), [("full", True, 0), ("head", False, 0)])
def test_baselines_train_all_or_only_the_head(run, tiny_base, tmp_path, arm, other, adapter):
    entry = run(f"lora={arm}")
    assert entry.state == "complete"
    assert entry.parameters.adapter == adapter
    assert bool(entry.parameters.other) == other
    saved = set(entry.adapter.sha256)
    assert entry.adapter.path == "trials/0000/weights", "no adapter is left by it"
    assert saved == ({"base.safetensors", "head.safetensors"} if other else {"head.safetensors"})


def test_a_pruned_trial_keeps_what_it_reached(run, tmp_path):
    entry = run(report=lambda step, scores: step == 4)
    assert entry.state == "pruned"
    assert entry.steps.made == 4
    assert entry.scores.keys() == {"val"}
    assert entry.memory.train_peak > 0
    assert not list(tmp_path.rglob("best.safetensors"))


def test_no_more_steps_are_made_than_asked_for_and_evaluations_are_spread_over_them(run):
    seen = []
    entry = run("trainer.max_steps=10", "trainer.evaluations=4", report=lambda step, scores: bool(seen.append(step)))
    assert seen == [2, 5, 8, 10]
    assert (entry.steps.planned, entry.steps.made) == (10, 10)


def test_half_precision_on_a_cpu_is_refused_and_not_recorded_as_what_it_is_not(run):
    with pytest.raises(ConfigError, match=r"trainer\.precision=16-mixed: not on a CPU; trainer\.precision=bf16-mixed"):
        run("trainer.accelerator=cpu", "trainer.precision=16-mixed")


def test_mixed_precision_trains_with_clipping(run):
    entry = run("trainer.precision=bf16-mixed")
    assert (entry.state, entry.reason) == ("complete", "")
    assert entry.provenance.inputs["precision"] == "bf16-mixed"


def test_a_loss_that_is_no_number_fails_the_trial(run):
    entry = run("optimizer.lr=1e30", "optimizer.head_lr=1e30", "optimizer.clip=null", "trainer.max_steps=20")
    assert entry.state == "fail"
    assert entry.reason.startswith("diverged")
    assert "test" not in entry.scores


def test_a_measure_that_is_no_number_fails_the_trial_and_is_named(run, monkeypatch):
    monkeypatch.setattr(single, "compare_merged", lambda *_: Merge(max_logit=math.nan, batch=1.0))
    entry = run()
    assert (entry.state, entry.reason) == ("fail", "diverged: merge.max_logit is nan")
    assert entry.merge == Merge(batch=1.0)
    assert 0 <= entry.scores["test"]["accuracy"] <= 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_no_failure_of_the_trial(run, monkeypatch, error):
    def full(*_, **__):
        try:
            raise error
        finally:
            raise RuntimeError("unexpected pos 704 vs 598")  # as torch.save does, the cause behind it

    monkeypatch.setattr(Trainer, "fit", full)
    with pytest.raises(DiskFull, match="a disk that is full: RuntimeError: unexpected pos"):
        run()


def test_running_out_of_memory_fails_the_trial(run, monkeypatch):
    def exhausted(*_, **__):
        torch.empty(1 << 60, dtype=torch.uint8)

    monkeypatch.setattr(Trainer, "fit", exhausted)
    entry = run()
    assert entry.state == "fail"
    assert re.fullmatch(
        r"out of memory: 1,099,511,627,776 MiB were asked for, [\d,]+ MiB had been reached; .* has [\d,]+ MiB",
        entry.reason,
    )
    assert entry.out_of_memory.asked == 1 << 60
    assert 0 < entry.out_of_memory.reached < entry.out_of_memory.limit
    assert record.is_final(entry), "it is not tried again"


def test_a_defect_fails_the_trial_and_leaves_its_traceback(run, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise RuntimeError("shapes do not fit\nmore")

    monkeypatch.setattr(Trainer, "fit", broken)
    entry = run()
    assert entry.reason == "error: RuntimeError: shapes do not fit"
    assert "shapes do not fit" in (tmp_path / "results/s/trials/0000/error.log").read_text()


def test_a_specification_that_does_not_fit_is_the_users_mistake(run):
    with pytest.raises(ConfigError, match="rank 17"):
        run("lora.rank=17")


def test_early_stopping_keeps_the_best_evaluation(run):
    seen = []
    entry = run(
        "trainer.patience=1",
        "trainer.max_steps=60",
        "trainer.evaluations=20",
        "optimizer.lr=0.3",
        report=lambda step, scores: bool(seen.append((step, scores["accuracy"]))),
    )
    assert entry.state == "complete"
    best = max(accuracy for _, accuracy in seen)
    assert entry.scores["val"]["accuracy"] == best
    assert entry.steps.best == next(step for step, accuracy in seen if accuracy == best)
    assert entry.steps.made == seen[-1][0] < 60


def test_a_stop_that_is_asked_for_ends_the_trial(run, monkeypatch):
    import os
    import signal

    from harness.system.signals import graceful_stop

    def report(step, scores):
        os.kill(os.getpid(), signal.SIGTERM)
        return False

    with graceful_stop(), pytest.raises(Interrupted) as caught:
        run(report=report)
    assert caught.value.exit_code == 143


@pytest.mark.parametrize(
    "words",
    [
        ["lora=rslora"],
        ["lora=lora_plus"],
        ["lora=lora_fa"],
        ["lora=dora"],
        ["lora=pissa"],
        ["lora=olora"],
        ["lora=eva", "lora.redistribute=2.0"],
        ["lora=lora_ga"],
        ["lora.variant=dora+rslora", "lora.alpha=4.0"],
        ["lora=bitfit"],
        ["lora=norms"],
        ["lora=peft", "lora.method=LOHA", "lora.arguments={r: 2, alpha: 4}"],
    ],
)
def test_every_variant_runs_from_its_configuration(run, words):
    entry = run(*words, *(["lora.rank=2"] if "lora.rank" not in str(words) and needs_rank(words) else []))
    assert (entry.state, entry.reason) == ("complete", "")
    assert entry.parameters.adapter + entry.parameters.other > 0
    assert 0 < entry.flops.forward < entry.flops.step < 3.5 * entry.flops.forward
    if needs_rank(words):
        assert entry.merge.max_logit_difference < 1e-4
        assert entry.adapter.ranks.keys() >= entry.adapter.effective_ranks.keys()
        assert entry.merge.latency_merged_s > 0


def needs_rank(words: list[str]) -> bool:
    return not any(name in words[0] for name in ("bitfit", "norms", "peft"))


def test_adalora_ends_with_its_budget_and_names_its_allocation(run):
    entry = run("lora=adalora", "lora.rank=2", "trainer.max_steps=20", "trainer.evaluations=4")
    assert entry.state == "complete"
    assert sum(rank for _, rank in entry.adapter.kept_ranks) == 2 * 4
    assert set(entry.adapter.ranks.values()) == {3}
    assert entry.steps.best >= 14  # what it scored before its ranks were settled does not count
    again = run("lora.rank=2", f"lora.ranks={json.dumps(entry.adapter.kept_ranks)}", number=1)
    assert again.adapter.ranks == {name: rank for name, rank in entry.adapter.kept_ranks if rank}


def test_one_nested_run_is_scored_at_every_rank(run):
    entry = run("lora=dylora", "lora.rank=3")
    assert entry.state == "complete"
    assert entry.scores.keys() == {
        "val",
        "test",
        *(f"{split}@{rank}" for split in ("val", "test") for rank in (1, 2, 3)),
    }
    assert entry.scores["test@3"] == entry.scores["test"]


def test_one_nested_run_leaves_test_unread_at_every_rank(run, tmp_path):
    entry = run("lora=dylora", "lora.rank=2", test=False)
    assert entry.state == "complete"
    assert entry.scores.keys() == {"val", "val@1", "val@2"}
    assert entry.scores["val@2"] == entry.scores["val"]
    assert not (tmp_path / "results/s/trials/0000/predictions.csv").exists()


def test_ranks_by_layer_are_in_the_record_and_out_of_the_fingerprints_way(run):
    entry = run("lora.ranks=[[encoder.layer.0.*,1],[.*value,0]]")
    assert entry.adapter.ranks == {
        "encoder.layer.0.attention.self.query": 1,
        "encoder.layer.1.attention.self.query": 2,
        "encoder.layer.0.attention.self.value": 1,
    }
    assert run("lora.ranks=[[.*value,0],[encoder.layer.0.*,1]]", number=1).fingerprint != entry.fingerprint


@pytest.mark.parametrize(
    ("arm", "words"), [("lora", ["lora.targets=[conv,fc]", "lora.rank=4"]), ("full", []), ("norms", [])]
)
def test_images_train_and_what_is_saved_gives_the_scored_predictions(compose_plain, tmp_path, arm, words):
    folder = tmp_path / "trial"
    folder.mkdir()
    words = ["model=efficientnet_lite0", f"lora={arm}", *words, "task=digits", "task.image_size=32"]
    words += [
        "task.train_rows=64",
        "task.validation_rows=30",
        "task.test_rows=30",
        "trainer.batch_size=16",
        "trainer.max_steps=4",
        "trainer.threads=1",
    ]
    config = compose_plain(*words, "trainer.evaluations=2", "optimizer.lr=0.003")
    entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert (entry.state, entry.reason) == ("complete", "")
    assert entry.data.rows == {"train": 64, "validation": 30, "test": 30}
    assert entry.provenance.inputs["base"].startswith("57934424")

    saved = folder / Path(entry.adapter.path).name
    assert saved.name == ("adapter" if arm == "lora" else "weights")
    model = build_model(config.model, 10)
    if arm == "lora":
        base = PeftModel.from_pretrained(model.base, str(saved))
    else:
        base = model.base
        assert base.load_state_dict(load_file(saved / "base.safetensors"), strict=False) is not None
    head = load_file(saved / "head.safetensors")
    batch = read_inputs(config, build_task(config.task), "test").batch(range(30))
    with torch.no_grad():
        features = base.eval()((batch["images"] - model.mean) / model.std)
    predicted = (features @ head["weight"].T + head["bias"]).argmax(1).tolist()
    with open(folder / "predictions.csv", newline="") as file:
        assert [int(row["predicted"]) for row in csv.DictReader(file)] == predicted


@pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk")  # on a GPU
@pytest.mark.parametrize("arm", ["lora", "full", "head"])
def test_words_train_and_are_scored_on_voices_that_were_not_heard(compose_speech, tmp_path, own_cache, arm):
    folder = tmp_path / "trial"
    folder.mkdir()
    words = [f"lora={arm}", "trainer.batch_size=8", "trainer.epochs=20.0", "trainer.evaluations=2"]
    words += ["lora.targets=[lstm]", "lora.rank=4"] if arm == "lora" else []
    config = compose_speech(*words, "optimizer.lr=0.03", "optimizer.head_lr=0.1")
    entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert (entry.state, entry.reason) == ("complete", "")
    assert entry.data.rows == {"train": 36, "validation": 18, "test": 18}
    heard = entry.data.speakers
    assert not set(heard["test"]) & {*heard["train"], *heard["validation"]}
    assert entry.scores["test"]["accuracy"] > (0.6 if arm == "head" else 0.9)
    assert entry.provenance.inputs["data"] == entry.data.sha256


@pytest.mark.parametrize(("arm", "weighting"), [("lora", "equal"), ("full", "uncertainty")])
def test_several_tasks_train_together_and_each_is_scored_by_itself(compose_mixture, tmp_path, arm, weighting):
    folder = tmp_path / "trials" / "0000"
    folder.mkdir(parents=True)
    config = compose_mixture(
        f"lora={arm}", "trainer.max_steps=120", "optimizer.lr=1e-2", weighting=weighting, gradients=arm == "lora"
    )
    entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert (entry.state, entry.reason) == ("complete", "")
    assert entry.parameters.head == 16 * (2 + 1 + 2) + 5
    if arm == "lora":  # two of the tasks are of the same rows
        assert entry.task_gradients.tasks == ["good", "size", "again"]
        assert entry.task_gradients.cosines[-1][0][2] > 0.5
    assert not entry.dead
    if arm == "lora":
        assert entry.parameters.other == 0
    test = entry.scores["test"]
    items = np.loadtxt(folder / "predictions.csv", delimiter=",", skiprows=1)
    for number, name in enumerate(("good", "size", "again")):
        label, predicted = items[items[:, 1] == number, 2:4].T
        if name == "size":
            r2 = 1 - np.sum((label - predicted) ** 2) / np.sum((label - label.mean()) ** 2)
            assert test["size/r2"] == pytest.approx(r2, abs=1e-5)
            assert set(label.round(5)) == {-1.5, 2.5}
        else:
            assert test[f"{name}/accuracy"] == pytest.approx(np.mean(label == predicted))
    assert test["score"] == pytest.approx(np.mean([test["good/accuracy"], test["size/r2"], test["again/accuracy"]]))
    assert test["score"] > 0.5
    assert len(load_file(folder / Path(entry.adapter.path).name / "head.safetensors")) == 6


@pytest.mark.parametrize("lora", ["mtlora", "mtl_lora", "full"])
def test_tasks_train_on_batches_that_hold_rows_of_all(compose_mixture, tmp_path, lora):
    folder = tmp_path / "trials" / "0000"
    folder.mkdir(parents=True)
    words = [f"lora={lora}", "trainer.max_steps=60", "optimizer.lr=1e-2", "trainer.batch_size=9"]
    config = compose_mixture(*words, batches="mixed", weighting="uncertainty", gradients=True)
    entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert (entry.state, entry.reason) == ("complete", "")
    assert entry.scores["test"]["score"] > 0.38
    assert np.array(entry.task_gradients.cosines[-1]).shape == (3, 3)


@pytest.mark.parametrize("way", ["task_fork", "mtlora", "mtl_lora", "shared"])
def test_adapters_of_several_tasks_train_and_what_is_saved_gives_the_scored_answers(compose_mixture, tmp_path, way):
    folder = tmp_path / "trials" / "0000"
    folder.mkdir(parents=True)
    config = compose_mixture(f"lora={way}", "trainer.max_steps=60", "optimizer.lr=1e-2")
    entry = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
    assert (entry.state, entry.reason) == ("complete", "")
    assert entry.scores["test"]["score"] > 0.4
    assert entry.merge.max_logit_difference < 1e-4
    tasks = ["good", "size", "again"]
    if way == "shared":
        (rank,) = set(entry.adapter.ranks.values())
        assert (entry.lora.rank, entry.lora.settings["match"]["name"], entry.parameters.groups) == (
            rank,
            "task_fork",
            {},
        )
        assert len(entry.adapter.ranks) == len(entry.adapter.effective_ranks) == 12
    else:
        assert list(entry.parameters.groups) == ["shared", *tasks]
        assert sum(entry.parameters.groups.values()) == entry.parameters.adapter
        mixed = len([name for name in entry.adapter.effective_ranks if name.endswith(".size")])
        assert mixed == (12 if way == "mtl_lora" else 3)
    # Of MTLoRA the shared stream goes on inside of the block: W of the next layer acts on it.
    forked = {
        "task_fork": ("attention.output.dense", "intermediate.dense", "output.dense"),
        "mtlora": ("output.dense",),
    }
    dead = {f"base.encoder.layer.1.{name}.updates.all.lora_{part}" for name in forked.get(way, ()) for part in "AB"}
    assert set(entry.dead) == dead

    task = build_task(config.task)
    model = build_model(config.model, task.outputs).eval()
    import_adapter(model.base, folder / "adapter")
    model.head.load_state_dict(load_file(folder / "adapter" / "head.safetensors"))
    inputs, plan = read_inputs(config, task, "test"), task_adapters(model.base)
    items = np.loadtxt(folder / "predictions.csv", delimiter=",", skiprows=1)
    for number, name in enumerate(tasks):
        rows = items[items[:, 1] == number]
        batch = inputs.batch([int(row) for row in rows[:, 0]])
        if plan is not None:
            plan.route.set(batch["tasks"])
        with torch.no_grad():
            answers = model(batch)
        if name == "size":
            mean, sd = task.parts["size"].spread
            np.testing.assert_allclose(answers[:, 0] * sd + mean, rows[:, 3], atol=1e-3)
        else:
            assert answers.argmax(1).tolist() == rows[:, 3].tolist()
