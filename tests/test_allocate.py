"""run=allocate: ranks by layer under a budget, against all choices and other ways to the same figures."""

import csv
import dataclasses
import itertools
import json
import re
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness import __main__ as command
from harness import record
from harness.config import ConfigError, check
from harness.lora import named_updates
from harness.lora.truncation import cut
from harness.model import build_model
from harness.task import build_task
from harness.trial.allocation import TruncatedTrial, gradient_energies, variance_shares
from harness.trial.inputs import loader, read_inputs
from harness.trial.profiles import before_training
from harness.trial.trained import Trained, find_trained, load_trained
from tests.tiny import words_of

SMALL = ["trainer.batch_size=8", "trainer.max_steps=4", "trainer.evaluations=1", "trainer.accelerator=cpu"]
LAYERS = ["lora.targets=[query,ffn_up]", "tracking=off"]
COSTS = [32, 32, 48, 48]
"""Parameters of a rank of each layer, in the order of the targets, as a trial has them."""
IN_NETWORK = [32, 48, 32, 48]
"""The same in the order of the network."""


@pytest.fixture
def run(tiny_base, tiny_data, own_cache, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        command.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def words(tiny_base, tiny_data):
    return [*words_of(tiny_base, tiny_data), *SMALL, *LAYERS]


@pytest.fixture
def trained(words):
    """A trial of rank 3 on the query and the feed-forward layer of both blocks."""
    return [*words, "lora.rank=3", "optimizer.lr=0.01", "study=donor"]


def ranks_in(path):
    return [rank for _, rank in json.loads(path.read_text())]


def used(ranks, costs=COSTS):
    return sum(map(int.__mul__, costs, ranks))


def best_of_all(gains, most, highest, costs=COSTS):
    """The greatest sum of gains within a budget, by trying every choice."""
    allowed = (r for r in itertools.product(range(highest + 1), repeat=4) if used(r, costs) <= most)
    return max(kept(gains, ranks) for ranks in allowed)


def kept(gains, ranks):
    return sum(sum(gain[:rank]) for gain, rank in zip(gains, ranks, strict=True))


def test_the_spectrum_is_allocated_as_well_as_by_trying_all(run, trained, tmp_path):
    run(*trained)
    folder = tmp_path / "results/donor"
    (entry,) = record.read(folder)
    tensors = load_file(folder / entry.adapter.path / "adapter_model.safetensors")
    layers, most = list(entry.adapter.ranks), 200
    factors = [[tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "BA"] for name in layers]
    energies = [(torch.linalg.svdvals((b @ a).double())[:3] ** 2).tolist() for b, a in factors]
    assert [sum(b.shape) + sum(a.shape) - 6 for b, a in factors] == COSTS

    said = run("run=allocate", "study=donor", "method=spectrum", f"parameters={most}")
    written = json.loads((folder / "ranks_spectrum.json").read_text())
    assert [pattern for pattern, _ in written] == [re.escape(name) for name in layers]
    ranks = [rank for _, rank in written]
    assert kept(energies, ranks) == pytest.approx(best_of_all(energies, most, 3), rel=1e-4)
    assert "| layer" in said
    assert "ranks_spectrum.json; a trial takes it as lora.ranks" in said

    run(*trained[:-1], "study=again", f"lora.ranks={folder / 'ranks_spectrum.json'}")
    (again,) = record.read(tmp_path / "results/again")
    assert again.adapter.ranks == {name: rank for name, (_, rank) in zip(layers, written, strict=True) if rank}
    assert again.parameters.adapter == used(ranks) <= most


def test_a_trial_is_cut_to_a_curve_that_ends_at_its_own_score(run, trained, tmp_path):
    run(*trained)
    folder = tmp_path / "results/donor"
    (entry,) = record.read(folder)
    said = run("run=allocate", "study=donor", "method=truncate", "parameters=200", "trial=0")
    rows = list(csv.DictReader((folder / "truncation.csv").read_text().splitlines()))
    assert [int(row["rank"]) for row in rows] == [1, 2, 3]
    assert [int(row["parameters"]) for row in rows] == [160, 320, 480]
    assert all(int(row["allocated_parameters"]) <= int(row["parameters"]) for row in rows)
    for column in ("score", "allocated_score"):
        assert float(rows[-1][column]) == pytest.approx(entry.score("val", "accuracy"), abs=1e-6)
    assert (folder / "truncation.png").stat().st_size > 5000
    run("run=allocate", "study=donor", "method=spectrum", "parameters=200", f"output={tmp_path / 'other.json'}")
    assert ranks_in(folder / "ranks_truncate.json") == ranks_in(tmp_path / "other.json")
    assert "Cut to the ranks below, without training: validation accuracy 0." in said


def test_each_change_is_cut_to_the_nearest_of_its_rank_and_comes_back(run, trained, tmp_path):
    run(*trained)
    found = find_trained(str(tmp_path / "results"), "donor", None)
    whole = load_trained(found)
    deltas = {name: update.delta().detach().double().numpy() for name, update in named_updates(whole.base)}
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    ranks = dict(zip(deltas, [0, 1, 2, 3], strict=True))
    with cut(whole.base, ranks):
        for name, update in named_updates(whole.base):
            u, s, vh = np.linalg.svd(deltas[name])
            rank = ranks[name]
            nearest = (u[:, :rank] * s[:rank]) @ vh[:rank]
            np.testing.assert_allclose(update.delta().detach().numpy(), nearest, atol=1e-6)
    assert all(torch.equal(before[name], tensor) for name, tensor in whole.state_dict().items())
    cut_to_nothing = TruncatedTrial(found).score(dict.fromkeys(deltas, 0))
    bare = load_trained(found)
    for _, update in named_updates(bare.base):
        torch.nn.init.zeros_(update.lora_B)
    whole_network = TruncatedTrial(found)
    whole_network._network = bare
    assert whole_network.score(dict.fromkeys(deltas, 3)) == cut_to_nothing


def test_steps_after_a_cut_keep_its_rank_and_leave_the_trial_as_it_is(run, trained, tmp_path):
    run(*trained)
    run("run=allocate", "study=donor", "method=truncate", "steps=3")
    rows = list(csv.DictReader((tmp_path / "results/donor/truncation.csv").read_text().splitlines()))
    assert all(0 <= float(row["recovered_allocated_score"]) <= 1 for row in rows)
    drawn = (tmp_path / "results/donor/truncation.svg").read_text()
    assert "LoRA cut to one rank, and trained on" in drawn
    assert "PEFT" not in drawn
    network = TruncatedTrial(find_trained(str(tmp_path / "results"), "donor", None))
    before = {name: tensor.clone() for name, tensor in network._network.state_dict().items()}
    ranks = dict(zip(network.values, [0, 1, 2, 3], strict=True))
    network.recovered(ranks, 3)
    assert all(torch.equal(before[name], tensor) for name, tensor in network._network.state_dict().items())
    with cut(network._network.base, ranks):
        deltas = {name: update.delta().detach().clone() for name, update in named_updates(network._network.base)}
        network.train(3)
        for name, update in named_updates(network._network.base):
            assert torch.linalg.matrix_rank(update.delta().double(), rtol=1e-6) <= ranks[name]
            assert torch.equal(update.delta(), deltas[name]) == (ranks[name] == 0)


@pytest.fixture
def cuttable(run, trained, tmp_path):
    """Where a trial with dropout is cut and trained again; what is scored is the sum of its changes."""

    def make(*words):
        run(*trained, "lora.dropout=0.2", *words)
        network = TruncatedTrial(find_trained(str(tmp_path / "results"), "donor", None))
        network._score = lambda: sum(
            update.delta().abs().sum().item() for _, update in named_updates(network._network.base)
        )
        return network

    return make


def test_every_way_to_cut_is_trained_on_the_same_batches(cuttable):
    network = cuttable()
    ranks = dict.fromkeys(network.values, 2)
    first = network.recovered(ranks, 3)
    state = torch.get_rng_state()
    assert network.recovered(ranks, 3) == first != network.score(ranks)
    assert torch.equal(torch.get_rng_state(), state)


def test_steps_after_a_cut_have_the_rates_of_lora_plus(cuttable):
    """AdamW's first step moves every entry by its rate, where it has a gradient."""
    network = cuttable("lora=lora_plus", "lora.targets=[query,ffn_up]", "lora.lr_ratio=4.0", "lora.rank=3")
    rate = network.config.optimizer.lr
    moved = {"lora_A": rate, "lora_B": 4 * rate}
    before = {name: tensor.clone() for name, tensor in network._network.named_parameters() if "lora_" in name}
    network.train(1)
    for name, tensor in network._network.named_parameters():
        if name in before:
            most = (tensor - before[name]).abs().max().item()
            assert most == pytest.approx(moved[name.split(".")[-1]], rel=1e-2), name


def test_steps_in_float16_are_refused(compose, monkeypatch):
    monkeypatch.setattr("harness.trial.allocation.resolve_precision", lambda *_: "16-mixed")
    with pytest.raises(ConfigError, match=r"^steps=3: method=truncate trains without .*16-mixed"):
        TruncatedTrial(Trained(None, compose("lora.rank=2"), None, ()), steps=3)


def test_before_training_the_inputs_and_the_gradients_decide(run, words, tmp_path, compose):
    config = compose("lora.targets=[query,ffn_up]", "lora.calibration=2")
    for method, gains_of in (("eva", variance_shares), ("gradient", gradient_energies)):
        run("run=allocate", *words, "lora.calibration=2", "task.cut=drawn", f"method={method}", "parameters=300")
        gains = list(gains_of(config).values())
        ranks = ranks_in(tmp_path / f"results/single/ranks_{method}.json")
        assert [len(gain) for gain in gains] == [16, 16, 16, 16]
        assert all(gain == sorted(gain, reverse=True) for gain in gains)
        assert 300 - min(COSTS) < used(ranks, IN_NETWORK) <= 300, "no further rank would fit"
        assert kept(gains, ranks) == pytest.approx(best_of_all(gains, 300, 9, IN_NETWORK), rel=1e-6)
        assert max(ranks) > min(ranks)
    assert [sum(gain) for gain in variance_shares(config).values()] == pytest.approx([1.0] * 4, rel=1e-5)


def test_the_gradient_is_that_of_the_loss_in_the_frozen_weights(compose):
    """Against the gradient by autograd of a network that was never adapted."""
    config = compose("lora.targets=[query]", "lora.calibration=1", "trainer.batch_size=8")
    found = gradient_energies(config)
    torch.manual_seed(config.seed)
    task = build_task(config.task)
    inputs = read_inputs(config, task, "train")
    network = build_model(config.model, task.outputs).eval()
    batch = next(iter(loader(inputs, 8, config.seed, training=True)))
    torch.nn.functional.cross_entropy(network(batch), batch["labels"]).backward()
    for name, energies in found.items():
        gradient = network.base.get_submodule(name).weight.grad.double().numpy()
        np.testing.assert_allclose(energies, np.linalg.svd(gradient)[1] ** 2, rtol=1e-3, atol=1e-9)


def test_one_rank_for_all_and_adaloras_ranks_keep_the_budget(run, words, trained, tmp_path):
    run("run=allocate", *words, "method=uniform", "parameters=340")
    uniform = ranks_in(tmp_path / "results/single/ranks_uniform.json")
    assert used(uniform, IN_NETWORK) in range(340 - 32, 341)
    assert max(uniform) - min(uniform) <= 1
    longer = [word for word in words if not word.startswith("trainer.max_steps")]
    run(*longer, "trainer.max_steps=30", "lora=adalora", "lora.rank=2", "lora.targets=[query,ffn_up]", "study=ada")
    (entry,) = record.read(tmp_path / "results/ada")
    kept_by_name = dict(entry.adapter.kept_ranks)
    final = [kept_by_name[layer] for layer in entry.adapter.ranks]
    assert len(set(final)) > 1
    run("run=allocate", "study=ada", "method=adalora", f"parameters={used(final)}")
    assert ranks_in(tmp_path / "results/ada/ranks_adalora.json") == final, "at its own size its own ranks"
    run(*trained)
    with pytest.raises(SystemExit):
        run("run=allocate", "study=donor", "method=adalora", "parameters=100")


def test_no_layer_gets_a_rank_above_what_it_can_have(compose):
    config = compose("lora.targets=[query,ffn_up]")
    found = before_training(config, "uniform", 10**6)
    base = build_model(config.model, 2).base
    assert found.ranks == {layer: min(base.get_submodule(layer).weight.shape) for layer in found.ranks}


WRONG = [
    (["parameters=9"], "method: missing; run=allocate method=NAME, one of uniform, eva"),
    (["method=spectra", "parameters=9"], "method=\"spectra\": input should be 'uniform', 'eva'"),
    (["method=spectrum"], "parameters: missing; run=allocate method=spectrum parameters=N"),
    (["method=spectrum", "parameters=0"], "parameters=0: input should be greater than or equal to 1"),
    (["method=eva", "parameters=99", "trial=1"], "trial=1: method=eva looks at the network before training"),
    (["method=spectrum", "parameters=9", "steps=4"], "steps=4: of method=truncate; a profile is trained"),
    (["method=spectrum", "parameters=9", "study=none"], "study=none: no complete trial of LoRA in "),
    (["method=spectrum", "parameters=9"], "parameters=9: below 32, what the first rank costs"),
    (["method=truncate", "parameters=9"], "parameters=9: below 32, what the first rank costs"),
    (["method=spectrum", "parameters=900", "trial=7"], "study=donor: no complete trial 7 of LoRA"),
    (["method=uniform", "parameters=900", "lora=full"], "run=allocate: of lora=lora and its variants; lora.name=full"),
]


def test_each_mistake_is_a_line(run, trained, capsys):
    run(*trained)
    for given, line in [*WRONG, (["run=trial", "method=eva"], "method=eva: of run=allocate")]:
        with pytest.raises(SystemExit) as caught:
            run("run=allocate", "study=donor", *given)
        assert caught.value.code == 2
        assert capsys.readouterr().err.startswith(line)


def test_a_change_that_no_cut_leaves_as_it_was_is_a_line(run, trained, capsys):
    run(*trained, "lora=dora", "lora.targets=[query,ffn_up]")
    with pytest.raises(SystemExit) as caught:
        run("run=allocate", "study=donor", "method=truncate")
    assert caught.value.code == 2
    assert "its change is not the product of A and B alone, and cannot be cut by SVD" in capsys.readouterr().err


def test_a_trial_that_was_chosen_by_its_texts_is_not_scored_otherwise(compose):
    config = compose("lora.rank=2")
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, objective="bleu"))
    with pytest.raises(ConfigError, match=r"^method=truncate: trainer\.objective=bleu is of texts"):
        TruncatedTrial(Trained(None, config, None, ()))


def test_a_file_of_ranks_that_is_none_is_a_line(tree, tmp_path):
    (tmp_path / "x.json").write_text("[1")
    for name, rule in (("none.json", "No such file"), ("x.json", "Expecting")):
        with pytest.raises(
            ConfigError, match=rf"^lora\.ranks=\"{name}\": a list of \[pattern, rank\], or a JSON .*{rule}"
        ):
            check(tree(f"lora.ranks={name}"))
