"""Generators: targets, counts, what a forward pass sees, and that writing does not depend on the batch."""

import dataclasses

import pytest
import torch

from harness.config import AssetConfig, GeneratorModelConfig
from harness.lora import LoraSpec, adapt, adapter_parameters
from harness.model import base_file, build_model
from harness.model.generator import save_generator, special_tokens_of
from harness.system import assets

SHAPES = {"gpt2": 24, "t5": None, "marian": 24}
FAMILIES = tuple(SHAPES)


def config(family, **changes):
    shape = {"hidden": 16, "layers": 2, "decoder_layers": 2, "heads": 2, "head_size": 8, "ffn": 32}
    made = GeneratorModelConfig(
        kind="generator",
        name=family,
        family=family,
        shape=shape | {"vocabulary": 300, "positions": SHAPES[family]},
        weights=None,
        tokenizer=None,
        made_by=None,
        separator="",
        beams=1,
        dropout=0.0,
    )
    return dataclasses.replace(made, **changes)


def model(family, **changes):
    torch.manual_seed(0)
    return build_model(config(family, **changes), 0).eval()


def batch(family, rows):
    """Two target ids after each source."""
    pad, _, start = special_tokens_of(config(family))
    width = max(map(len, rows))
    if start is None:
        ids = [row + [7, 8] + [pad] * (width - len(row)) for row in rows]
        made = {"prompt": torch.tensor([len(row) for row in rows])}
        mask = [[1] * (len(row) + 2) + [0] * (width - len(row)) for row in rows]
    else:
        ids = [row + [pad] * (width - len(row)) for row in rows]
        made = {"decoder_ids": torch.tensor([[start, 7, 8]] * len(rows))}
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return made | {"ids": torch.tensor(ids), "mask": torch.tensor(mask)}


ROWS = [[11, 12, 13, 14, 15], [21, 22], [31, 32, 33]]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_target_names_layers_and_starts_without_a_change(family):
    plain, adapted = model(family), model(family)
    ranks = adapt(adapted.base, LoraSpec(2, 1.0, tuple(adapted.targets)), adapted.targets)
    expected = {"gpt2": 2 * 6, "t5": 2 * 6 + 2 * 10, "marian": 2 * 6 + 2 * 10}
    assert len(ranks) == expected[family]
    given = batch(family, ROWS)
    torch.testing.assert_close(plain(given), adapted.eval()(given))


@pytest.mark.parametrize(
    ("family", "shape", "total", "per_rank"),
    [
        # Published sizes; query and value of every attention, in + out each.
        ("gpt2", (768, 12, 12, 64, 3072, 50257, 1024), 124_439_808, 12 * 2 * (768 + 768)),
        ("t5", (512, 6, 8, 64, 2048, 32128, None), 60_506_624, 12 * 2 * (512 + 512)),
    ],
)
def test_sizes_are_the_published_ones_and_tied_weights_count_once(family, shape, total, per_rank):
    hidden, layers, heads, size, ffn, vocabulary, positions = shape
    dimensions = {"hidden": hidden, "layers": layers, "decoder_layers": layers, "heads": heads, "head_size": size}
    dimensions |= {"ffn": ffn, "vocabulary": vocabulary, "positions": positions}
    made = config(family)
    built = build_model(dataclasses.replace(made, shape=type(made.shape)(**dimensions)), 0, weights=False)
    assert sum(tensor.numel() for tensor in built.parameters()) == total
    adapt(built.base, LoraSpec(1, 1.0, ("query", "value")), built.targets)
    assert sum(tensor.numel() for tensor in adapter_parameters(built.base)) == per_rank
    assert not list(built.head.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_written_for_a_source_does_not_depend_on_the_others_in_its_batch(family, beams):
    writer = model(family, beams=beams)
    together = writer.generate(batch(family, ROWS), 6)
    for index, row in enumerate(ROWS):
        alone = writer.generate(batch(family, [row]), 6)[0]
        assert together[index, : len(alone)].tolist() == alone.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_writing_takes_the_likeliest_token_of_the_forward_pass(family):
    writer = model(family)
    pad, _, start = special_tokens_of(config(family))
    row, written = ROWS[0], []
    wanted = writer.generate(batch(family, [row]), 5)[0].tolist()
    while len(written) < len(wanted):
        if start is None:
            ids = torch.tensor([row + written])
            given = {"ids": ids, "mask": torch.ones_like(ids)}
        else:
            ids = torch.tensor([row])
            given = {"ids": ids, "mask": torch.ones_like(ids), "decoder_ids": torch.tensor([[start, *written]])}
        logits = writer(given)[0, -1]
        if family == "marian":
            logits[pad] = -torch.inf
        written.append(int(logits.argmax()))
    assert written == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_no_logit_of_a_real_token(family):
    reader = model(family)
    together = reader(batch(family, ROWS))
    for index, row in enumerate(ROWS):
        alone = reader(batch(family, [row]))[0]
        torch.testing.assert_close(together[index, : len(alone)], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_base_is_loaded_by_its_path(family, tmp_path):
    first = model(family)
    save_generator(first.base, tmp_path / "no_codec", tmp_path)
    stored = AssetConfig(address=f"path:{tmp_path}", sha256=None)
    torch.manual_seed(1)
    second = build_model(config(family, weights=stored), 0)
    assert second.training
    given = batch(family, ROWS)
    torch.testing.assert_close(first(given), second.eval()(given))
    assert base_file(config(family, weights=stored)) == tmp_path / "model.safetensors"


def test_weights_that_were_pickled_are_read_as_tensors_only(tmp_path):
    first = model("marian")
    torch.save(first.base.state_dict(), tmp_path / "pytorch_model.bin")
    second = build_model(config("marian", weights=AssetConfig(address=f"path:{tmp_path}", sha256=None)), 0)
    given = batch("marian", ROWS)
    torch.testing.assert_close(first(given), second.eval()(given))


def test_weights_that_are_not_there_name_the_command_that_makes_them(tmp_path):
    stored = AssetConfig(address=f"path:{tmp_path}/none", sha256=None)
    with pytest.raises(assets.AssetError, match=r"none: no such.*; this makes it: python -m harness \+experiment=base"):
        build_model(config("t5", weights=stored, made_by="python -m harness +experiment=base"), 0)
