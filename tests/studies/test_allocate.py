"""Ranks read off a trained adapter under a budget: against all choices, and taken by a trial of their own."""

import itertools
import json
import re
import sys

import pytest
import torch
from safetensors.torch import load_file

from harness import __main__ as command
from harness import record
from harness.config import ConfigError, check
from tests.tiny import words_of

SMALL = ["trainer.batch_size=8", "trainer.max_steps=4", "trainer.evaluations=1", "trainer.accelerator=cpu"]


@pytest.fixture
def run(tiny_base, tiny_data, own_cache, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        command.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def trained(run, tiny_base, tiny_data):
    """A trial of rank 3 on the query and the feed-forward layer of both blocks."""
    words = ["lora.rank=3", "lora.targets=[query,ffn_up]", "tracking=off", "study=donor"]
    return [*words_of(tiny_base, tiny_data), *SMALL, *words]


def test_the_spectrum_is_allocated_as_well_as_by_trying_all(run, trained, tmp_path):
    run(*trained)
    folder = tmp_path / "results/donor"
    (entry,) = record.read(folder)
    tensors = load_file(folder / entry.adapter.path / "adapter_model.safetensors")
    layers, most = list(entry.adapter.ranks), 200
    factors = [[tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "BA"] for name in layers]
    energies = [torch.linalg.svdvals((b @ a).double())[:3] ** 2 for b, a in factors]
    costs = [sum(b.shape) + sum(a.shape) - 6 for b, a in factors]
    assert costs == [32, 32, 48, 48]

    said = run("run=studies.allocate:command", "study=donor", f"+allocate={{method: spectrum, parameters: {most}}}")
    written = json.loads((folder / "ranks_spectrum.json").read_text())
    assert [pattern for pattern, _ in written] == [re.escape(name) for name in layers]
    allowed = [r for r in itertools.product(range(4), repeat=4) if sum(map(int.__mul__, costs, r)) <= most]

    def kept(ranks):
        return sum(float(energy[:rank].sum()) for energy, rank in zip(energies, ranks, strict=True))

    assert kept([rank for _, rank in written]) == pytest.approx(max(map(kept, allowed)), rel=1e-4)
    assert "| layer" in said
    assert "ranks_spectrum.json; a trial takes it as lora.ranks" in said

    run(*trained[:-1], "study=again", f"lora.ranks={folder / 'ranks_spectrum.json'}")
    (again,) = record.read(tmp_path / "results/again")
    assert again.adapter.ranks == {name: rank for name, (_, rank) in zip(layers, written, strict=True) if rank}
    assert again.parameters.adapter <= most

    run("run=studies.allocate:command", "study=donor", "+allocate={method: uniform, parameters: 340}")
    uniform = [rank for _, rank in json.loads((folder / "ranks_uniform.json").read_text())]
    assert sum(map(int.__mul__, costs, uniform)) in range(340 - 32, 341)
    assert max(uniform) - min(uniform) <= 1


WRONG = [
    (
        "{method: spectra, parameters: 9}",
        "allocate.method=spectra: no such method; did you mean spectrum?; valid: un",
    ),
    ("{method: kept}", "allocate.parameters=None: the most adapter parameters"),
    ("{method: kept, parameters: 9, steps: 3}", "allocate.steps: no such key"),
    ("{method: kept, parameters: 9}", "allocate.parameters=9: below 32, what the first rank costs"),
    ("{method: kept, parameters: 900, trial: 7}", "study=donor: no complete trial 7 of LoRA"),
]


def test_each_mistake_is_a_line(run, trained, capsys):
    run(*trained)
    for node, line in WRONG:
        with pytest.raises(SystemExit) as caught:
            run("run=studies.allocate:command", "study=donor", f"+allocate={node}")
        assert caught.value.code == 2
        assert capsys.readouterr().err.startswith(line)


def test_a_file_of_ranks_that_is_none_is_a_line(tree, tmp_path):
    (tmp_path / "x.json").write_text("[1")
    for name, rule in (("none.json", "No such file"), ("x.json", "Expecting")):
        with pytest.raises(
            ConfigError, match=rf"^lora\.ranks=\"{name}\": a list of \[pattern, rank\], or a JSON .*{rule}"
        ):
            check(tree(f"lora.ranks={name}"))
