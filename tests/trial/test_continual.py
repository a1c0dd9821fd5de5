"""Tasks learned one after another: the matrix, what each way of learning keeps, how such a trial can end."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import BertModel

from harness import record
from harness.config import ConfigError, ContinualTaskConfig, check
from harness.record import Record
from harness.task import Inputs
from harness.trial import TrialContext
from harness.trial.adapt import count, method_of
from harness.trial.continual.forgetting import summary
from harness.trial.continual.methods import InfLora
from harness.trial.fingerprints import fingerprint_of
from harness.trial.run import run_trial

NAMES = ["first", "second", "third"]


@pytest.fixture
def run(several, tmp_path):
    def go(*overrides, number=0, report=lambda step, scores: False, **task) -> Record:
        folder = tmp_path / "results" / "s" / "trials" / f"{number:04d}"
        folder.mkdir(parents=True)
        made = several(*overrides)
        made["task"] |= task
        return run_trial(check(made), TrialContext("s", number, "arm", folder), report)

    return go


FAST = ["trainer.max_steps=40", "trainer.epochs=20.0", "optimizer.lr=0.03", "optimizer.head_lr=0.1"]


@pytest.mark.parametrize(
    ("arm", "learn"),
    [
        *(("lora", learn) for learn in ("continued", "separate", "orthogonal", "inflora", "replay")),
        *(("full", "continued"), ("full", "replay"), ("head", "continued")),
    ],
)
def test_every_way_of_learning_leaves_a_whole_record(run, tmp_path, arm, learn):
    words = ["lora.rank=2"] if arm == "lora" else []
    heard = []
    entry = run(f"lora={arm}", *words, learn=learn, report=lambda step, scores: bool(heard.append((step, scores))))
    assert (entry.state, entry.reason) == ("complete", "")
    assert record.from_tree(json.loads(record.to_json(entry))) == entry
    assert np.array(entry.continual.test).shape == np.array(entry.continual.val).shape == (4, 3)
    assert [step for step, _ in heard] == [8, 16, 24]
    assert heard[-1][1]["score"] == entry.scores["val"]["score"]
    assert entry.scores["test"]["score"] == pytest.approx(np.mean(entry.continual.test[-1]))
    figures = summary(entry.continual.test)
    assert dataclasses.replace(entry.continual_summary, overlap=0.0, kept=0) == figures
    assert entry.steps.planned == entry.steps.made == 24
    assert entry.memory.train_peak > 0
    assert entry.dead == []
    assert not list(tmp_path.rglob("best.safetensors"))
    assert not entry.merge if arm != "lora" else entry.merge.max_logit_difference < 1e-5


def test_the_matrix_is_what_was_predicted(run, tmp_path):
    entry = run(*FAST)
    with open(tmp_path / "results/s/trials/0000/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3 * 48
    for learned in range(4):
        for task in range(3):
            mine = [row for row in rows if (row["learned"], row["task"]) == (str(learned), str(task))]
            right = sum(float(row["label"]) == float(row["predicted"]) for row in mine)
            assert entry.continual.test[learned][task] == pytest.approx(right / 48)


def test_a_task_that_contradicts_another_is_forgotten_and_separate_adapters_forget_nothing(run):
    continued, separate = run(*FAST), run(*FAST, number=1, learn="separate")
    assert continued.continual.test[1][0] > 0.7
    assert continued.continual.test[2][0] < 0.5  # the second task says the opposite
    assert continued.continual_summary.forgetting > 0.1
    assert separate.continual_summary.bwt == separate.continual_summary.forgetting == 0.0
    for learned in range(1, 4):
        for task in range(learned):
            assert separate.continual.test[learned][task] == separate.continual.test[task + 1][task]
    # What no task of its own has been learned for is answered by the newest.
    assert separate.continual.test[2][2] < 0.5
    assert separate.continual_summary.kept == 3 * (separate.parameters.adapter + separate.parameters.head)
    assert continued.continual_summary.kept == continued.parameters.adapter + continued.parameters.head


def test_the_first_task_is_learned_alike_in_every_way(run):
    rows = [run(number=number, learn=learn).continual.test[:2] for number, learn in enumerate(WAYS)]
    assert all(each == rows[0] for each in rows)


WAYS = ["continued", "separate", "orthogonal", "replay"]


def test_orthogonal_pairs_are_saved_as_one_adapter_that_peft_loads(run, tmp_path, tiny_base, several):
    entry = run(*FAST, learn="orthogonal")
    folder = tmp_path / "results/s" / entry.adapter.path
    loaded = PeftModel.from_pretrained(
        BertModel.from_pretrained(tiny_base, add_pooling_layer=False), str(folder)
    ).eval()
    assert loaded.peft_config["default"].r == 3 * 2
    assert entry.continual_summary.kept == 3 * entry.parameters.adapter + entry.parameters.head
    head = load_file(folder / "head.safetensors")
    from harness.task import build_task
    from harness.trial.inputs import read_inputs

    tree = several()
    config = check(tree | {"task": tree["task"]["tasks"]["first"], "trainer": tree["trainer"] | {"objective": "loss"}})
    batch = read_inputs(config, build_task(config.task), "test").batch(range(48))
    with torch.no_grad():
        tokens = loaded(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state
    weight = batch["mask"].unsqueeze(-1)
    logits = (tokens * weight).sum(1) / weight.sum(1) @ head["weight"].T + head["bias"]
    right = (logits.argmax(1) == batch["labels"]).float().mean()
    assert entry.continual.test[-1][0] == pytest.approx(float(right))


def test_the_penalty_lowers_the_overlap(run):
    free, bound = run(*FAST, learn="orthogonal", penalty=0.0), run(*FAST, number=1, learn="orthogonal", penalty=50.0)
    assert bound.continual_summary.overlap < 0.5 * free.continual_summary.overlap


def test_inflora_trains_b_alone_and_its_directions_are_apart_from_those_kept(run, several, monkeypatch):
    kept = []
    end = InfLora.end

    def look(method, number):
        end(method, number)
        kept.append({name: directions.clone() for name, directions in method.memory.items()})

    monkeypatch.setattr(InfLora, "end", look)
    entry = run(*FAST, learn="inflora", input_rows=30, input_share=0.6)
    made = several(*FAST)
    trained = count(check(made))["params"]
    made["task"]["learn"] = "inflora"
    alone = count(check(made))["params"]
    assert entry.parameters.adapter == alone["adapter"]
    assert 0 < alone["adapter"] < trained["adapter"]
    assert entry.continual_summary.kept == 3 * trained["adapter"] + entry.parameters.head, "A is needed to answer"
    assert entry.dead == []
    assert len(kept) == 3
    for name, found in kept[1].items():
        first, directions = kept[0][name].cpu(), found.cpu()
        assert torch.equal(directions[:, : first.shape[1]], first)
        assert torch.allclose(directions.T @ directions, torch.eye(directions.shape[1]).double(), atol=1e-8)
    assert kept[2].keys() == kept[1].keys(), "nothing comes after the last task"


def test_replay_keeps_what_a_contradiction_would_overwrite(run):
    """The second task says the opposite of the first: kept rows of the first hold its loss down."""
    continued, replayed = run(*FAST), run(*FAST, number=1, learn="replay", replay_rows=40)
    assert replayed.continual.test[2][0] > continued.continual.test[2][0] + 0.05
    assert replayed.steps.made == continued.steps.made


def test_replay_trains_a_head_for_each_task_on_rows_of_all(run):
    entry = run(*FAST, learn="replay", heads="separate")
    assert entry.state == "complete", entry.reason
    assert entry.continual.test[2][0] > 0.6, "the first task's head still fits the adapter"


def test_a_head_for_each_task_on_a_frozen_base_forgets_nothing(run):
    entry = run("lora=head", *FAST, heads="separate")
    assert entry.continual_summary.forgetting == 0.0
    matrix = entry.continual.test
    assert matrix[1][1] == matrix[0][1]  # the second head has not been touched
    assert entry.parameters.head == 3 * (2 * 16 + 2)


def test_separate_adapters_are_saved_each_with_its_head(run, tmp_path):
    entry = run(learn="separate")
    files = ("adapter_config.json", "adapter_model.safetensors", "head.safetensors")
    assert set(entry.adapter.sha256) == {f"{name}/{file}" for name in NAMES for file in files}
    assert len({entry.adapter.sha256[f"{name}/head.safetensors"] for name in NAMES}) == 3


def test_the_order_is_the_users_and_part_of_what_a_trial_is(run, several):
    entry = run(order=["third", "first"])
    assert entry.continual.tasks == ["third", "first"]
    made = several()
    backwards = made | {"task": made["task"] | {"tasks": dict(reversed(made["task"]["tasks"].items()))}}
    assert fingerprint_of(check(made)) != fingerprint_of(check(backwards))


def test_a_pruned_continual_trial_keeps_what_it_reached(run):
    entry = run(report=lambda step, scores: step == 16)
    assert entry.state == "pruned"
    assert entry.reason == "below the median of its arm after second"
    assert np.array(entry.continual.test).shape == (3, 3)
    assert entry.steps.made == 16
    assert entry.scores["val"]["score"] == pytest.approx(np.mean(entry.continual.val[-1]))


def test_a_loss_that_is_no_number_fails_the_sequence(run):
    entry = run("optimizer.lr=1e30", "optimizer.head_lr=1e30", "optimizer.clip=null", "trainer.max_steps=20")
    assert entry.state == "fail"
    assert entry.reason.startswith("diverged")
    assert len(entry.continual.test) >= 1


def test_a_part_with_several_labels_counts_by_its_f1(several, run):
    tasks = several()["task"]["tasks"]
    tasks["second"] |= {"answer": "labels"}
    entry = run(*FAST, heads="separate", tasks=tasks)
    scores = entry.scores["test"]
    assert entry.continual.test[-1][1] == scores["second/f1_micro"] > 0
    shares = [scores["first/accuracy"], scores["second/f1_micro"], scores["third/accuracy"]]
    assert scores["score"] == pytest.approx(np.mean(shares))


def test_the_same_continual_trial_gives_the_same_matrix(run):
    assert run(learn="orthogonal").continual == run(learn="orthogonal", number=1).continual


@pytest.mark.parametrize(
    ("words", "task", "line"),
    [
        (["lora=full"], {"learn": "separate"}, "task.learn=separate: it needs adapters; lora=full has task.learn=cont"),
        (["lora=head"], {"learn": "orthogonal"}, "task.learn=orthogonal: it needs adapters; lora=head"),
        (["lora=head"], {"learn": "inflora"}, "task.learn=inflora: it needs adapters; lora=head"),
        (["trainer.accumulate=2"], {"learn": "replay"}, "task.learn=replay: each batch is joined by rows of earlier"),
        (["trainer.batch_tokens=64"], {"learn": "replay"}, "trainer.batch_tokens=null"),
        (["lora=adalora", "lora.rank=2"], {}, "lora.variant=adalora: its ranks move"),
        ([], {"order": ["first", "thrid"]}, 'task.order=["first", "thrid"]: no task thrid; did you mean third'),
        ([], {"order": ["first", "first"]}, "a task is learned once"),
        (["trainer.devices=2"], {}, "one device"),
    ],
)
def test_what_cannot_be_learned_in_turn_is_named(several, words, task, line):
    made = several(*words)
    made["task"] |= task
    with pytest.raises(ConfigError) as caught:
        method_of(check(made)).check()
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (
            {"answer": "labels"},
            "task.learn=replay: rows of second have several labels; task.learn=continued, sep",
        ),
        (
            {"text_pair": "title"},
            "task.learn=replay: rows of second are two texts (text_pair), those of the others",
        ),
    ],
)
def test_rows_that_a_replay_cannot_join_are_refused_by_the_configuration(several, part, line):
    made = several()
    made["task"]["tasks"]["second"] |= part
    made["task"] |= {"learn": "replay", "heads": "separate"}
    with pytest.raises(ConfigError) as caught:
        check(made)
    assert line in str(caught.value)


def test_what_a_replay_cannot_join_is_refused_before_any_training(several, run, monkeypatch):
    """As of a guest with inputs of its own, of which the configuration does not tell."""

    def with_frames(inputs, rows):
        batch = plain(inputs, rows)
        return batch | ({"frames": torch.zeros(len(rows), 1)} if batch["labels"].ndim == 2 else {})

    plain = Inputs.training_batch
    monkeypatch.setattr(Inputs, "training_batch", with_frames)
    monkeypatch.setattr(ContinualTaskConfig, "_replay_mistakes", lambda config: [])
    made = several()
    made["task"]["tasks"]["third"] |= {"answer": "labels"}
    said = r"task\.learn=replay: for tasks of like inputs; task\.learn=continued, separate"
    with pytest.raises(ConfigError, match=said):
        run(
            learn="replay",
            heads="separate",
            tasks=made["task"]["tasks"],
            report=lambda step, scores: pytest.fail("a task was learned"),
        )


def test_an_update_that_is_no_plain_one_is_refused_before_any_training(run):
    with pytest.raises(ConfigError, match=r"task\.learn=inflora: .*plain updates of linear layers"):
        run("lora=dora", learn="inflora", report=lambda step, scores: pytest.fail("a task was learned"))


def test_what_one_task_is_scored_on_is_not_learned_by_another(several):
    made = several()
    made["task"]["tasks"]["third"] = made["task"]["tasks"]["first"] | {"split_seed": 1}
    with pytest.raises(ConfigError, match="sentences of third stand in the training split of first"):
        fingerprint_of(check(made))


def test_tasks_that_share_a_head_have_the_same_classes(several, run, tmp_path):
    made = several()
    path = tmp_path / "other.csv"
    path.write_text(
        "text,label\n" + "".join(f"word{index} here,{'yes' if index % 2 else 'no'}\n" for index in range(60))
    )
    made["task"]["tasks"]["second"]["data"] = str(path)
    with pytest.raises(ConfigError, match="task.heads=shared: the tasks have not the same classes"):
        fingerprint_of(check(made))


def test_the_packaged_continual_task_is_counted_from_shapes_alone(compose_plain):
    counted = count(compose_plain("task=continual", "trainer.objective=score", "lora.rank=8"))
    assert counted["params"]["head"] == 384 * 2 + 2
    heads = count(compose_plain("task=continual", "trainer.objective=score", "task.heads=separate"))
    assert heads["params"]["head"] == 4 * (384 * 2 + 2)
