"""Packed examples against transformers' own output of each of them alone."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from harness.config import ConfigError
from harness.model.architectures import DECODERS
from harness.model.hf import HfGenerator
from harness.model.roles import targets_of
from harness.task.packed_sequences import PackedSequences
from harness.training.module import mean_loss
from harness.trial.packed_sequences import check_packs_sequences
from tests.model.small import random_network
from tests.task.test_packed_sequences import Examples

SHORT_WINDOW = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
BASES = {"gpt2": STILL, "llama": {}, "qwen2": {}, "gemma3_text": SHORT_WINDOW}
APART = ("bloom", "falcon", "opt")
"""They count positions by themselves, or mask by them."""
SHORT_ROWS = ("gpt_neo",)
"""They keep examples apart, and take no row that is longer than their positions, as a trial may have."""
ATTENTION = {"bloom": "eager", "gemma2": "eager", "gpt_neo": "eager"}
"""Where sdpa is not to be had."""
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 104}
READS_ON = {
    "mamba": SMALL,
    "lfm2": SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]},
}
LENGTHS = [17, 5, 9, 31, 4, 12, 3, 20]
CPU = torch.device("cpu")


def inputs_of(lengths, seed=0):
    inputs, draw = Examples(lengths), np.random.default_rng(seed)
    inputs.ids = [draw.integers(4, 100, length) for length in lengths]
    return inputs


def network_of(model_type, attention="sdpa", **keys):
    base = random_network(AutoModelForCausalLM, model_type, **keys)
    own = HfGenerator(base, targets_of(base), 1)
    if own.attention_kind != attention:
        own.use_attention(attention)
    return own


def loss_alone(base, inputs):
    """The mean over all learned tokens, of passes of one example each, without mask or positions."""
    nats, count = 0.0, 0
    for ids in map(torch.from_numpy, inputs.ids):
        logits = base(input_ids=ids[None, :-1], use_cache=False).logits[0, 1:]
        nats = nats + F.cross_entropy(logits, ids[2:], reduction="sum")
        count += len(ids) - 2
    return nats / count


def gradients(own, loss):
    own.zero_grad()
    loss.backward()
    return {name: tensor.grad.clone() for name, tensor in own.named_parameters() if tensor.grad is not None}


@pytest.mark.parametrize("recomputed", [False, True], ids=["", "recomputed"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("model_type", "keys"), BASES.items(), ids=list(BASES))
def test_loss_and_gradients_are_those_of_the_examples_alone(model_type, keys, attention, recomputed):
    own, inputs = network_of(model_type, attention, **keys), inputs_of(LENGTHS)
    expected = loss_alone(own.base, inputs)
    wanted = gradients(own, expected)
    if recomputed:
        own.checkpoint_activations()
    batch = PackedSequences(inputs).training_batch(range(len(LENGTHS)))
    assert len(batch["ids"]) == 3, "eight examples in three rows"
    loss = mean_loss(own.train(recomputed), batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    found = gradients(own, loss)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert (gradient - wanted[name]).norm() <= 2e-6 * wanted[name].norm() + 1e-7, name


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "qwen2"])  # Gemma's norms have gradients in float32
def test_in_float64_they_are_the_same_to_ten_digits(model_type):
    own, inputs = network_of(model_type, **BASES[model_type]), inputs_of(LENGTHS)
    own.double()
    expected = loss_alone(own.base, inputs)
    wanted = gradients(own, expected)
    loss = mean_loss(own, PackedSequences(inputs).training_batch(range(len(LENGTHS))))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    for name, gradient in gradients(own, loss).items():
        assert (gradient - wanted[name]).norm() <= 1e-10 * wanted[name].norm() + 1e-12, name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("model_type", "keys"), BASES.items(), ids=list(BASES))
def test_no_attention_crosses_a_border(model_type, keys, attention):
    """Other tokens in an example move its own logits, and no bit of those beside it in the row."""
    own = network_of(model_type, attention, **keys)
    batch = PackedSequences(inputs_of([12, 11, 6, 4])).training_batch(range(4))
    starts = batch["positions"][0] == 0
    border = int(starts.nonzero()[1])
    other = batch["ids"].clone()
    other[0, :border] = 103 - other[0, :border]
    with torch.no_grad():
        one, moved = (own({"ids": ids, "positions": batch["positions"]}) for ids in (batch["ids"], other))
    assert not torch.equal(one[0, :border], moved[0, :border])
    assert torch.equal(one[0, border:], moved[0, border:])
    assert torch.equal(one[1:], moved[1:])


@pytest.mark.parametrize("model_type", DECODERS)
def test_a_base_is_taken_where_it_keeps_examples_apart(model_type):
    own, inputs = network_of(model_type, ATTENTION.get(model_type, "sdpa")), inputs_of([9, 60, 33, 5, 58, 7])
    same = False
    with torch.no_grad():
        alone = loss_alone(own.base, inputs)
        with suppress(RuntimeError):  # positions end where an example does, not where a row does
            found = mean_loss(own, PackedSequences(inputs).training_batch(range(6)))
            same = found.item() == pytest.approx(alone.item(), rel=1e-5)
    assert same == (model_type not in APART)
    if same and model_type not in SHORT_ROWS:
        check_packs_sequences("mine", own, inputs, CPU)
    else:
        refused(own, inputs)


def refused(own, inputs):
    said = r"^trainer\.pack_sequences=true: model=mine: a \w+ .*; trainer\.pack_sequences=false, which pads them$"
    with pytest.raises(ConfigError, match=said):
        check_packs_sequences("mine", own, inputs, CPU)


@pytest.mark.parametrize(("model_type", "keys"), READS_ON.items(), ids=list(READS_ON))
def test_a_base_that_reads_on_is_refused_though_its_fresh_weights_hardly_show_it(model_type, keys):
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **keys))
    refused(HfGenerator(base.eval(), {}, 1), inputs_of([9, 60, 33, 5, 58, 7]))


def test_a_bfloat16_base_is_taken_and_a_single_example_is_enough():
    own = network_of("llama")
    own.bfloat16().compute_dtype = torch.bfloat16
    check_packs_sequences("mine", own, inputs_of([9, 60, 33, 5]), CPU)
    for lengths in ([9], [9, 4], [9, 4, 3]):
        check_packs_sequences("mine", network_of("llama"), inputs_of(lengths), CPU)
    assert own.training
