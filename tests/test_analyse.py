"""run=analyse: what trials did to each layer, against the factors and the weights that lie in their folders."""

import csv

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import AutoModelForSequenceClassification

from harness import record
from tests.model.small import WORDS, save_small
from tests.tiny import DEVICE, words_of

SMALL = [*DEVICE, "trainer.batch_size=8", "trainer.max_steps=4", "trainer.evaluations=1", "optimizer.lr=0.01"]
SWEEP = ["sweep=rank_alpha_lr", "sweep.scientific={lora.rank: [1, 3]}", "sweep.nuisance={}", "sweep.trials=1"]
SWEEP += ["sweep.startup=1", "sweep.baselines={full: {set: {lora: {name: full}}, nuisance: {}}}"]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_confirmed_study_is_analysed_layer_by_layer(run_here, tiny_base, tiny_data, tmp_path, own_cache):
    confirm = "sweep.confirm={top: 2, seeds: 2, margin: 0.01, set: {}}"
    words = ["run=study", "study=s", "tracking=off", *SWEEP, confirm, *words_of(tiny_base, tiny_data), *SMALL]
    code, _, said = run_here(*words)
    assert code == 0, said
    folder = tmp_path / "results/s"
    code, said, why = run_here("run=analyse", "study=s", "tracking=off")
    assert code == 0, why

    layers, spectra = rows(folder / "layers.csv"), rows(folder / "spectra.csv")
    confirmed = [entry for entry in record.read(folder) if entry.phase == "confirm"]
    entries = {entry.trial: entry for entry in confirmed if entry.lora.name != "head"}  # which leaves its base alone
    assert {int(row["trial"]) for row in layers} == set(entries)
    for row in layers:
        entry, layer = entries[int(row["trial"])], row["layer"]
        values = [
            float(line["singular_value"])
            for line in spectra
            if line["trial"] == row["trial"] and line["layer"] == row["layer"]
        ]
        if entry.adapter.ranks:
            factors = load_file(folder / entry.adapter.path / "adapter_model.safetensors")
            name = f"base_model.model.{layer}"
            change = factors[f"{name}.lora_B.weight"].astype(float) @ factors[f"{name}.lora_A.weight"].astype(float)
            change *= entry.adapter.scales[layer]
            assert int(row["rank"]) == entry.adapter.ranks[layer]
        else:
            before = load_file(tiny_base / "model.safetensors")[f"{layer}.weight"].astype(float)
            after = load_file(folder / entry.adapter.path / "base.safetensors")[f"{layer}.weight"].astype(float)
            change = after - before
        wanted = np.linalg.svd(change, compute_uv=False)
        assert values == pytest.approx(wanted[: len(values)], rel=1e-4)
        assert float(row["norm"]) == pytest.approx(np.linalg.norm(change), rel=1e-4)
    full = [row for row in layers if row["arm"] == "full"]
    assert {row["layer"].rpartition(".")[2] for row in full} >= {"query", "key", "value", "dense"}
    pairs = {(row["trial"], row["other_trial"]) for row in rows(folder / "subspaces.csv")}
    assert (
        len({frozenset(pair) for pair in pairs}) == 3 * 1 + 3 * 2
    )  # three arms with two seeds each: one arm and two seeds, two arms and one seed
    assert (folder / "layers.png").stat().st_size > 10_000
    assert "Subspace similarity" in said
    assert said.split("\n\nWritten:")[0] == (folder / "layers.md").read_text().rstrip("\n")


def test_an_arm_of_another_method_is_left_out_and_the_others_are_analysed(
    run_here, tiny_base, tiny_data, own_cache, caplog
):
    sweep = ["sweep=rank_alpha_lr", "sweep.scientific={lora.rank: [1]}", "sweep.nuisance={}", "sweep.trials=1"]
    method = "{lora: {name: peft, method: VERA, arguments: null, targets: [query]}}"
    sweep += ["sweep.startup=1", f"+sweep.baselines.vera={{set: {method}, nuisance: {{}}}}", "sweep.confirm=null"]
    words = ["run=study", "study=s", "tracking=off", *sweep, *words_of(tiny_base, tiny_data), *SMALL]
    code, _, said = run_here(*words)
    assert code == 0, said
    code, said, why = run_here("run=analyse", "study=s", "tracking=off")
    assert code == 0, why
    assert "(vera): left out: " in caplog.text
    assert {row["arm"] for row in rows("results/s/layers.csv")} == {"rank=1", "full"}


def test_a_study_without_weights_is_told_apart_from_none(run_here, tiny_base, tiny_data, own_cache):
    code, _, why = run_here("run=analyse", "study=nothing")
    assert (code, why.startswith("study=nothing: no records in ")) == (2, True)
    words = ["run=trial", "study=h", "tracking=off", *words_of(tiny_base, tiny_data), *SMALL, "lora=head"]
    assert run_here(*words)[0] == 0
    code, _, why = run_here("run=analyse", "study=h")
    assert (code, why.startswith("study=h: no complete trial left an adapter or changed weights in ")) == (2, True)


def test_full_fine_tuning_that_left_a_whole_model_is_analysed_too(run_here, tmp_path, own_cache):
    before = save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base").base_model
    lines = [f"{WORDS[4 + row % 40]} {WORDS[50 + row % 37]} {WORDS[10 + row % 3]},{row % 2}" for row in range(120)]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    data = [f"task.data={tmp_path}/reviews.csv", "task=text_csv", "task.max_length=12"]
    words = ["run=trial", "study=w", "tracking=off", *data, "model=hf", f"model.address=path:{tmp_path}/base", *SMALL]
    code, _, said = run_here(*words, "lora=full")
    assert code == 0, said
    code, _, said = run_here("run=analyse", "study=w")
    assert code == 0, said
    (entry,) = record.read(tmp_path / "results/w")
    after = load_file(tmp_path / "results/w" / entry.adapter.path / "model.safetensors")
    found = {row["layer"]: float(row["norm"]) for row in rows(tmp_path / "results/w/layers.csv")}
    assert "encoder.layer.0.attention.self.query" in found
    for layer, norm in found.items():
        change = after[f"bert.{layer}.weight"] - before.get_submodule(layer).weight.detach().numpy()
        assert norm == pytest.approx(np.linalg.norm(change.astype(float)), rel=1e-4)
