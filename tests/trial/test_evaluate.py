"""Saved adapters scored without training: a trial's own, exported, pushed, and PEFT's."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from harness.config import ConfigError
from harness.report.statistics import wilson_interval
from harness.system import hub_models
from harness.system.assets import AssetError
from harness.task import SPLITS, build
from harness.trial import evaluate
from harness.trial.evaluate import evaluate_saved, evaluate_trial
from harness.trial.export import export_trial
from harness.trial.saved import find_saved
from tests.hub import serving
from tests.model.small import save_small
from tests.task.chat_fixtures import CHATML, MARKED, save_base
from tests.trial.test_chat_trial import chats  # noqa: F401  a fixture
from tests.trial.test_export import trained  # noqa: F401  a fixture
from tests.trial.test_hf_trial import SHORT, based_on, pairs, reviews  # noqa: F401  fixtures

LORA = ["lora.targets=all-linear", "lora.rank=2"]


@pytest.fixture
def base(tmp_path):
    save_small(AutoModelForSequenceClassification, "llama", tmp_path / "base", num_labels=2)
    return based_on(tmp_path / "base")


@pytest.fixture
def score(compose_plain):
    def go(address, *words, split="test"):
        return evaluate_saved(find_saved(str(address)), compose_plain(*SHORT, *words), split)

    return go


def test_a_trial_has_the_scores_that_it_recorded(trained, reviews, base):  # noqa: F811
    made = trained(*reviews, *base, *LORA)
    found = {split: evaluate_trial(made, split)[0] for split in ("test", "validation", "all")}
    assert found["test"].scores == made.entry.scores["test"]
    rows = made.entry.data.rows
    assert found["test"].intervals["accuracy"] == wilson_interval(found["test"].scores["accuracy"], rows["test"])
    assert {split: len(each.items) for split, each in found.items()} == {
        "test": rows["test"],
        "validation": rows["validation"],
        "all": sum(rows.values()),
    }
    head, lines = found["all"].table
    assert head[:4] == ["split", "item", "label", "predicted"]
    assert [line[1:] for line in lines if line[0] == "test"] == found["test"].table[1]
    parts = [evaluate_trial(made, split)[0] for split in ("test", "validation")]
    right = sum(label == said for part in parts for _, (label, said) in part.items)
    assert right <= sum(label == said for _, (label, said) in found["all"].items)


@pytest.mark.parametrize("pooling", ["auto", "mean"])
def test_the_folder_of_a_trial_and_its_export_score_the_same(pooling, trained, reviews, base, score, tmp_path):  # noqa: F811
    words = [*reviews, *base, f"model.pooling={pooling}"]
    made = trained(*words, *LORA)
    export_trial(made, tmp_path / "out", merged=False)
    for folder in (made.folder / "adapter", tmp_path / "out"):
        found, said = score(folder, *words)
        assert found.scores == made.entry.scores["test"]
        assert said["base"]["quantization"] is None
    assert find_saved(str(made.folder / "adapter")).classes == ("0", "1")


def test_a_stored_head_is_the_trained_one_or_the_base_s(trained, reviews, base, score, tmp_path):  # noqa: F811
    words = [*reviews, *base, "model.head=stored"]
    made = trained(*words, *LORA)
    found, _ = score(made.folder / "adapter", *words)
    assert found.scores == made.entry.scores["test"]
    (made.folder / "adapter" / "head.safetensors").unlink()
    moved, _ = score(made.folder / "adapter", *words)
    assert moved.scores["loss"] != found.scores["loss"]


def test_another_base_is_said(trained, reviews, base, score, tmp_path):  # noqa: F811
    pytest.importorskip("bitsandbytes")
    made = trained(*reviews, *base, *LORA)
    export_trial(made, tmp_path / "out", merged=False)
    save_small(AutoModelForSequenceClassification, "llama", tmp_path / "other", num_labels=2, seed=5)
    other = based_on(tmp_path / "other")
    _, said = score(made.folder / "adapter", *reviews, *other, "model.quantization=nf4")
    assert said["notes"] == [
        f"it was trained over path:{tmp_path}/base, other weights than path:{tmp_path}/other",
        "it was trained over weights held as floats; here they are nf4",
    ]
    _, said = score(tmp_path / "out", *reviews, *other)
    assert said["notes"] == [f"adapter_config.json names the base {tmp_path}/base; here it is path:{tmp_path}/other"]
    assert score(tmp_path / "out", *reviews, *base)[1]["notes"] == []


def test_rows_that_are_not_scored_are_said(trained, reviews, base, score, tmp_path):  # noqa: F811
    made = trained(*reviews, *base, *LORA)
    lines = (tmp_path / "reviews.csv").read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([*lines, *lines[1:4]]) + "\n")
    words, last = [f"task.data={tmp_path}/twice.csv", *reviews[1:], *base], len(lines)
    found, said = score(made.folder / "adapter", *words, split="all")
    assert said["notes"] == [f"left out, repeated: 3 (rows {last + 1}, {last + 2}, {last + 3})"]
    assert said["data"]["rows"] == {"all": len(found.items)} == {"all": last - 1}
    assert set(score(made.folder / "adapter", *words)[1]["data"]["rows"]) == set(SPLITS)
    rows = made.entry.data.rows
    told = f"{rows['train']} of these {sum(rows.values())} rows are of training; split=test has none of them"
    assert evaluate_trial(made, "all")[1]["notes"] == [told]
    assert evaluate_trial(made, "test")[1]["notes"] == []


def test_a_label_of_the_adapter_without_a_column_is_said(trained, reviews, base, score, tmp_path):  # noqa: F811
    lines = (tmp_path / "reviews.csv").read_text().splitlines()[1:]
    rows = [line.rpartition(",") for line in lines]
    table = [f"{text},{number % 2},{number // 2 % 2},{number // 4 % 2}" for number, (text, _, _) in enumerate(rows)]
    (tmp_path / "sets.csv").write_text("\n".join(["text,good,long,odd", *table]) + "\n")
    words = [f"task.data={tmp_path}/sets.csv", "task.answer=labels", "trainer.objective=f1_micro", *reviews[1:], *base]
    made = trained(*words, "task.label=[good,long,odd]", *LORA)
    _, said = score(made.folder / "adapter", *words, "task.label=[good,long]")
    assert said["notes"] == ["no column of task.label is odd: in every row that counts as not so"]
    assert score(made.folder / "adapter", *words, "task.label=[good,long,odd]")[1]["notes"] == []


def test_rows_of_one_class_are_scored_by_what_has_a_value(trained, reviews, base, score, tmp_path):  # noqa: F811
    made = trained(*reviews, *base, *LORA)
    lines = (tmp_path / "reviews.csv").read_text().splitlines()
    ones = [line for line in lines if line.endswith("1")]
    (tmp_path / "one.csv").write_text("\n".join([lines[0], *ones]) + "\n")
    asked = "trainer.measures=[auroc,average_precision,f1,f1_micro,f1_macro,balanced_accuracy,matthews]"
    words = [*reviews[1:], *base, asked]
    found, said = score(made.folder / "adapter", f"task.data={tmp_path}/one.csv", *words, split="all")
    whole, _ = score(made.folder / "adapter", *reviews, *base, split="all")
    recall = sum(label == given for _, (label, given) in whole.items if label == 1) / len(ones)
    assert found.scores["accuracy"] == pytest.approx(recall)
    assert [label for _, (label, _) in found.items] == [1] * len(ones)
    assert set(found.scores) == {"accuracy", "loss", "f1", "f1_micro"}
    assert found.scores["f1"] == pytest.approx(2 * recall / (1 + recall))
    of_all, one = "no row of '0', and it is of all classes", f"all {len(ones)} rows are of '1'"
    assert found.without_value == dict.fromkeys(("auroc", "average_precision"), of_all) | dict.fromkeys(
        ("f1_macro", "balanced_accuracy", "matthews"), one
    )
    assert said["notes"] == [f"{one}: accuracy is its recall, and 1 where all is taken for it"]
    (tmp_path / "held.csv").write_text("text,label\nw90 w91 w92,0\nw93 w94,0\n")
    held, _ = score(made.folder / "adapter", *reviews, f"task.test={tmp_path}/held.csv", *words[2:])
    assert len(held.items) == 2
    assert held.without_value["f1"] == "no row of '1', of which it is"
    with pytest.raises(ConfigError, match="all 2 rows of the test split are '0'"):
        build.read_task(replace(made.config.task, test=f"{tmp_path}/held.csv"))
    (tmp_path / "odd.csv").write_text("\n".join([lines[0], *(f"{line[:-1]}7" for line in ones)]) + "\n")
    with pytest.raises(ConfigError, match=r"all \d+ are '7'; at least 2 are needed, .* to be scored: any score"):
        score(made.folder / "adapter", f"task.data={tmp_path}/odd.csv", *words, split="all")


def test_rows_of_one_number_are_scored_by_their_errors(trained, base, score, tmp_path):  # noqa: F811
    for name, labels in (("one", range(7)), ("same", [3])):
        rows = [f"w{4 + row % 40} w{50 + row % 37} w{row % 90},{labels[row % len(labels)]}" for row in range(120)]
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    usual = ["task=text_csv", "task.answer=number", "task.max_length=12", *base, "model.pooling=last"]
    made = trained(*usual, f"task.data={tmp_path}/one.csv", "trainer.objective=rmse", *LORA)
    asked = ["trainer.objective=rmse", "trainer.measures=[pearson,spearman,mae]"]
    found, _ = score(made.folder / "adapter", *usual, f"task.data={tmp_path}/same.csv", *asked, split="all")
    errors = [given - 3 for _, (_, given) in found.items]
    assert found.scores["rmse"] == pytest.approx((sum(error**2 for error in errors) / 120) ** 0.5)
    assert found.scores["mae"] == pytest.approx(sum(map(abs, errors)) / 120)
    assert found.without_value == dict.fromkeys(("r2", "pearson", "spearman"), "all 120 rows have the number 3")
    assert not set(found.without_value) & set(found.scores)


def test_full_fine_tuning_is_scored_too(trained, reviews, base, score):  # noqa: F811
    made = trained(*reviews, *base, "lora=full")
    found, _ = score(made.folder / "weights", *reviews, *base)
    assert found.scores == made.entry.scores["test"]


def test_classes_are_taken_by_name_whatever_their_numbers(trained, reviews, base, score, tmp_path):  # noqa: F811
    made = trained(*reviews, *base, *LORA)
    lines = (tmp_path / "reviews.csv").read_text().splitlines()
    named = [lines[0], *(f"{line[:-1]}{('zero', 'b_one')[int(line[-1])]}" for line in lines[1:])]
    (tmp_path / "named.csv").write_text("\n".join(named) + "\n")
    export_trial(made, tmp_path / "out", merged=False)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    other = [f"task.data={tmp_path}/named.csv", *reviews[1:], *base]
    with pytest.raises(ConfigError, match=r"its classes are 0, 1; those of task=text_csv are b_one, zero"):
        score(tmp_path / "out", *other)
    (tmp_path / "out" / "config.json").write_text(json.dumps(config | {"id2label": {"0": "zero", "1": "b_one"}}))
    swapped, _ = score(tmp_path / "out", *other, split="all")
    assert swapped.scores["accuracy"] == evaluate_trial(made, "all")[0].scores["accuracy"]


def test_numbers_are_in_the_unit_that_the_head_was_trained_in(trained, base, score, tmp_path):  # noqa: F811
    for name, add in (("one", 0.0), ("two", 30.0)):
        rows = [f"w{4 + row % 40} w{50 + row % 37} w{row % 90},{row % 7 + add}" for row in range(120)]
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    usual = ["task=text_csv", "task.answer=number", "task.max_length=12", "trainer.objective=rmse"]
    made = trained(*usual, f"task.data={tmp_path}/one.csv", *base, "model.pooling=last", *LORA)
    export_trial(made, tmp_path / "out", merged=False)
    for folder in (made.folder / "adapter", tmp_path / "out"):
        same, _ = score(folder, *usual, f"task.data={tmp_path}/one.csv", *base, "model.pooling=last")
        assert same.scores["rmse"] == pytest.approx(made.entry.scores["test"]["rmse"], rel=1e-4)
        far, _ = score(folder, *usual, f"task.data={tmp_path}/two.csv", *base, "model.pooling=last")
        assert far.scores["rmse"] == pytest.approx(30, rel=0.1)  # as it would be, were answers in other units
    here = [*usual, f"task.data={tmp_path}/two.csv", *base, "model.pooling=last"]
    (tmp_path / "link").symlink_to(made.folder / "adapter")
    assert score(tmp_path / "link", *here)[0].scores["rmse"] == pytest.approx(30, rel=0.1)
    shutil.copytree(made.folder / "adapter", tmp_path / "copied")
    with pytest.raises(ConfigError, match=r"^adapter=.*copied: nothing says in which unit its head\.safetensors gives"):
        score(tmp_path / "copied", *here)


def test_an_adapter_that_peft_wrote_is_scored(reviews, base, score, tmp_path, own_cache):  # noqa: F811
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=2)
    theirs = get_peft_model(network, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            if "lora_B" in name:
                tensor.normal_(std=0.3)
    theirs.save_pretrained(tmp_path / "peft")
    found, said = score(tmp_path / "peft", *reviews, *base)
    assert said["notes"] == ["nothing names the classes of its head; they are taken as 0, 1, in order"]
    items = dict(found.items)
    assert found.scores["accuracy"] == sum(label == said for label, said in items.values()) / len(items)


def test_layers_that_an_adapter_leaves_as_they_are_are_said(reviews, base, score, tmp_path, own_cache):  # noqa: F811
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=2)
    theirs = get_peft_model(network, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj", "v_proj"]))
    theirs.save_pretrained(tmp_path / "peft")
    path, (_, first) = tmp_path / "peft" / "adapter_model.safetensors", score(tmp_path / "peft", *reviews, *base)
    assert "the adapter changes nothing: all of its B are zero, as before any training" in first["notes"]
    tensors = {name: tensor + 0.1 for name, tensor in load_file(path).items() if "layers.1.self_attn.v" not in name}
    save_file(tensors, path)
    name = "model.layers.1.self_attn.v_proj"
    said = f"the file has no A and B for 1 layers that target_modules names ({name})"
    assert said in score(tmp_path / "peft", *reviews, *base)[1]["notes"]


def test_labels_that_are_written_otherwise_are_its_classes(trained, reviews, base, score, tmp_path):  # noqa: F811
    made = trained(*reviews, *base, *LORA)
    rows = pd.read_csv(tmp_path / "reviews.csv")
    rows.assign(label=rows.label.astype(float)).to_parquet(tmp_path / "floats.parquet")
    other = [f"task.data={tmp_path}/floats.parquet", *reviews[1:], *base]
    (same, _), (found, said) = (score(made.folder / "adapter", *words) for words in ([*reviews, *base], other))
    assert found.scores == same.scores
    assert "labels are taken for its classes: 0.0 as 0, 1.0 as 1" in said["notes"]
    for words, told in (([*reviews, *base], True), (other, False)):
        _, said = score(made.folder / "adapter", *words, split="all")
        assert any(note.startswith("it was trained on rows of") for note in said["notes"]) == told
    rows.assign(label=rows.label.map({0: "bad", 1: "good"})).to_parquet(tmp_path / "floats.parquet")
    with pytest.raises(ConfigError, match=r"those of task=text_csv are bad, good; write the labels of the data as its"):
        score(made.folder / "adapter", *other)
    with pytest.raises(ConfigError, match=r"head\.safetensors: .* is \(2.*, that of the task is \(1.*task\.answer"):
        score(made.folder / "adapter", *reviews, *base, "task.answer=number", "trainer.objective=rmse")


def test_a_writer_is_scored_by_its_loss_and_its_texts(trained, pairs, score, tmp_path):  # noqa: F811
    save_small(AutoModelForCausalLM, "llama", tmp_path / "base")
    words = [*pairs, *based_on(tmp_path / "base")]
    made = trained(*words, *LORA)
    found, _ = score(made.folder / "adapter", *words)
    assert found.scores == made.entry.scores["test"]
    low, high = found.intervals["loss"]
    assert low < found.scores["loss"] < high


def test_another_chat_template_is_said(trained, chats, score, tmp_path):  # noqa: F811
    save_base(tmp_path / "base", MARKED["turns"])
    words = [*chats, *based_on(tmp_path / "base")]
    made = trained(*words, *LORA)
    export_trial(made, tmp_path / "out", merged=False)
    (tmp_path / "other.jinja").write_text(CHATML)
    for folder in (made.folder / "adapter", tmp_path / "out"):
        found, said = score(folder, *words)
        assert (found.scores, said["notes"]) == (made.entry.scores["test"], [])
        (note,) = score(folder, *words, f"task.template={tmp_path}/other.jinja")[1]["notes"]
        assert note.startswith("it was trained with the chat template of SHA-256 ")


def test_a_batch_holds_no_more_tokens_than_in_training(trained, reviews, base, monkeypatch):  # noqa: F811
    made = trained(*reviews, *base, *LORA, "trainer.batch_tokens=30")
    held, on_device = [], evaluate.on_device
    monkeypatch.setattr(
        evaluate, "on_device", lambda batch, device: held.append(batch["ids"].numel()) or on_device(batch, device)
    )
    found, _ = evaluate_trial(made, "test")
    assert len(found.items) == made.entry.data.rows["test"]
    assert max(held) <= 30


def test_changed_data_are_refused(trained, reviews, base, run_here, score, tmp_path, monkeypatch):  # noqa: F811
    made = trained(*reviews, *base, *LORA)
    monkeypatch.setattr(build, "_built", {})  # as in another process
    with open(tmp_path / "reviews.csv", "a") as file:
        file.write("w5 w6 w7,1\n")
    code, _, said = run_here("run=evaluate", "study=s", "results=results", "tracking=off")
    assert (code, said.strip().partition(", SHA")[0]) == (
        2,
        "trial=0: the data of task=text_csv have changed since it was trained",
    )
    score(made.folder / "adapter", *reviews, *base)


def test_words_that_are_not_read_are_refused(run_here):
    code, _, said = run_here(
        "run=evaluate", "study=s", "task.data=other.csv", "split=all", "model=minilm", "tracking=off"
    )
    assert (code, [line.partition(" scores a trial")[0] for line in said.splitlines()]) == (
        2,
        [f"{word}: run=evaluate of a study" for word in ("task.data=other.csv", "model=minilm")],
    )
    code, _, said = run_here("run=evaluate", "adapter=x", "trial=3")
    assert (code, said.partition(";")[0]) == (2, "trial=3: has no effect with adapter=x")


def test_of_all_rows_none_are_cut_and_a_class_that_is_not_known_is_named(trained, reviews, base, score, tmp_path):  # noqa: F811
    made = trained(*reviews, *base, *LORA)
    rows = (tmp_path / "reviews.csv").read_text().splitlines()
    labels = sorted({row.rpartition(",")[2] for row in rows[1:]})
    few = [next(row for row in rows[1:] if row.endswith(f",{label}")) for label in labels]
    words = [f"task.data={tmp_path}/few.csv", *reviews[1:], *base]
    (tmp_path / "few.csv").write_text("\n".join([rows[0], *few]) + "\n")
    found, said = score(made.folder / "adapter", *words, split="all")
    assert said["data"]["rows"] == {"all": len(few)}
    assert [row[1] for row in found.table[1]] == labels
    (tmp_path / "odd.csv").write_text("\n".join([rows[0], *few, "another one,neutral"]) + "\n")
    words[0] = f"task.data={tmp_path}/odd.csv"
    with pytest.raises(ConfigError, match=r"its classes are .*; those of task=text_csv are .*neutral"):
        score(made.folder / "adapter", *words, split="all")


def test_what_does_not_fit_is_one_line(trained, reviews, base, score, tmp_path):  # noqa: F811
    made = trained(*reviews, *base, *LORA)
    with pytest.raises(ConfigError, match=r"^adapter=.*nowhere: no such folder$"):
        find_saved(str(tmp_path / "nowhere"))
    with pytest.raises(
        ConfigError, match=r"^adapter=.*base: no adapter_config\.json in it; it is a whole model, which"
    ):
        find_saved(str(tmp_path / "base"))
    shutil.copytree(made.folder / "adapter", tmp_path / "out" / "checkpoint-500")
    with pytest.raises(
        ConfigError, match=r"^adapter=.*out: no adapter_config\.json in it; checkpoint-500 in it has one$"
    ):
        find_saved(str(tmp_path / "out"))
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "other", num_labels=2)
    with pytest.raises(ConfigError, match=r"^adapter=.*: .* has no such module"):
        score(made.folder / "adapter", *reviews, *based_on(tmp_path / "other"))
    (made.folder / "adapter" / "head.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"^adapter=.*: it has no head, in modules_to_save or head\.safetensors"):
        score(made.folder / "adapter", *reviews, *base)


def test_the_command_prints_scores_and_writes_rows(trained, reviews, base, run_here, tmp_path):  # noqa: F811
    made = trained(*reviews, *base, *LORA)
    code, said, _ = run_here("run=evaluate", "study=s", "results=results", "output=items.csv")
    assert code == 0
    found = json.loads(said)
    assert (found["trial"], found["split"], found["scores"]) == (0, "test", made.entry.scores["test"])
    assert found["base"]["sha256"] == made.entry.base.sha256
    assert (found["base"]["quantization"], found["precision"]) == (None, "32-true")
    assert found["data"] == {"sha256": made.entry.data.sha256, "rows": made.entry.data.rows}
    with open("items.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert found["rows"] == len(rows)
    assert Path("items.csv").read_text() == (made.folder / "answers.csv").read_text(), "by the same names"
    assert sum(row["label"] == row["predicted"] for row in rows) / len(rows) == pytest.approx(
        found["scores"]["accuracy"]
    )
    words = [*reviews, *base, "run=evaluate", f"adapter={made.folder}/adapter", "split=validation"]
    code, said, _ = run_here(*words)
    assert (code, json.loads(said)["split"]) == (0, "validation")
    code, _, said = run_here("run=evaluate", "study=s", "results=results", "output=items.csv")
    assert (code, said.strip()) == (2, "output=items.csv: is there already; name a new file")
    code, _, said = run_here("adapter=x")
    assert (code, said.strip()) == (2, "adapter=x: of run=evaluate")


PUSH = ["run=export", "study=s", "results=results"]


@pytest.fixture
def hub(tmp_path, own_cache, monkeypatch):
    """A hub with a base on it."""
    monkeypatch.setattr(hub_models, "_pins", hub_models._Pins())
    with serving(tmp_path / "hub_cache", monkeypatch) as made:
        save_small(AutoModelForSequenceClassification, "llama", tmp_path / "base", num_labels=2)
        made.repositories["lab/base"] = [tmp_path / "base"]
        yield made


def test_an_export_is_pushed(hub, trained, reviews, run_here, score, tmp_path, monkeypatch):  # noqa: F811
    based = ["model=hf", "model.address=hub:lab/base"]
    made = trained(*reviews, *based, *LORA)
    words, exports = [*PUSH, "push=me/mine"], tmp_path / "results" / "s" / "exports"
    code, _, said = run_here(*words)
    assert (code, said.strip().partition(";")[0]) == (2, "push=me/mine: there is no token of the hub")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    code, _, said = run_here(*words)
    assert (code, said.splitlines()[-1].partition(", ")[0]) == (69, "push=me/mine: the hub does not let it be written")
    assert not exports.exists()
    hub.uploads = tmp_path / "uploads"
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    code, said, failed = run_here(*words)
    assert code == 0, failed
    assert "/me/mine/commit/" in said.splitlines()[-1]
    assert hub.private == {"me/mine"}
    card = (tmp_path / "uploads" / "0" / "README.md").read_text()
    assert f"{made.entry.scores['test']['accuracy']:.4g}" in card
    assert made.entry.command not in card
    assert [
        file.name for file in exports.rglob("*") if file.is_file() and str(tmp_path) in file.read_text("latin1")
    ] == []
    found, _ = score("hub:me/mine", *reviews, *based)
    assert found.scores == made.entry.scores["test"]
    with pytest.raises(AssetError, match="no such repository"):
        find_saved("hub:me/none")
    code, _, failed = run_here(*words)  # the folder that is there, into the repository that holds it
    assert (code, len(hub.repositories["me/mine"])) == (0, 2), failed


def test_what_is_not_an_export_is_neither_pushed_nor_overwritten(
    hub,
    trained,  # noqa: F811
    reviews,  # noqa: F811
    run_here,
    tmp_path,
    monkeypatch,
):
    trained(*reviews, *based_on(tmp_path / "base"), *LORA)
    hub.uploads = tmp_path / "uploads"
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    code, _, said = run_here(*PUSH, "push=me/new")
    assert (code, said.strip().partition(",")[0]) == (2, "push=me/new: others cannot load the base of the adapter")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "model.safetensors").write_text("weights")
    for card in (None, "# A model of mine"):
        if card:
            (theirs / "README.md").write_text(card)
        hub.repositories["me/old"] = [theirs]
        code, _, said = run_here(*PUSH, "push=me/old", "format=merged")
        assert (code, said.strip().splitlines()[-1].partition(",")[0]) == (2, "push=me/old: is there")
        assert hub.repositories["me/old"] == [theirs]
    code, _, said = run_here(*PUSH, "push=me/new", "format=merged", "output=theirs")
    assert (code, said.strip().splitlines()[-1]) == (2, "output=theirs: is there already; name a new folder")
    assert hub.private == set()
    code, _, failed = run_here(*PUSH, "push=me/new", "format=merged")
    assert code == 0, failed
    made = hub.repositories["me/new"][0]
    assert [file.name for file in made.rglob("*") if file.is_file() and str(tmp_path) in file.read_text("latin1")] == []
