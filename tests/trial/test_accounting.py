"""Counts add up by tensor identity; memory components add up to the peak; a step's tensors are what is allocated."""

import os
from itertools import accumulate

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import BertConfig, BertModel

from harness.model import build_model
from harness.model.hf_classifier import checkpoint_layers
from harness.record import Parameters
from harness.task import build_task
from harness.training import ResourceMeter
from harness.training.accounting import MemoryMeter, StepClock, bytes_of, optimizer_bytes
from harness.trial.adapt import method_of
from harness.trial.counting import flops_of, memory_needed, parameters_by_group, peak_of
from harness.trial.inputs import read_inputs, training_collate
from harness.trial.passes import step_bytes


def test_a_shared_tensor_counts_once_and_groups_add_up():
    base = nn.Linear(4, 3)
    tied = nn.Linear(4, 3)
    tied.weight = base.weight
    model = nn.ModuleDict({"base": base, "tied": tied, "head": nn.Linear(3, 2)})
    base.weight.requires_grad_(False)
    params = parameters_by_group(model, adapter=[tied.bias], head=model["head"].parameters())
    assert params == Parameters(adapter=3, head=8, other=3, frozen=12, total=26)
    assert params.trainable == 14


def test_groups_that_do_not_add_up_are_an_error():
    with pytest.raises(AssertionError):
        Parameters(adapter=1, head=1, other=1, frozen=1, total=5)


def test_bytes_of_gradients_and_adamw_states_follow_from_shapes():
    model = nn.Linear(10, 5)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 10)).sum().backward()
    optimizer.step()
    assert bytes_of(model.parameters()) == 55 * 4
    assert optimizer_bytes(optimizer) == 2 * 55 * 4 + 2 * 4  # two moments, and a step counter for each tensor


def test_memory_components_add_up_and_the_peak_sees_an_allocation():
    model = nn.Linear(10, 5)
    optimizer = torch.optim.AdamW(model.parameters())
    meter = MemoryMeter(torch.device("cpu"))
    meter.reset()
    before = meter.peak()
    torch.ones(64 * 2**20 // 4).sum()
    peak = meter.peak()
    assert peak - before > 60 * 2**20
    parts = meter.components(model, optimizer, peak, before)
    assert parts.process + parts.parameters + parts.gradients + parts.optimizer + parts.activations == peak
    meter.reset()
    assert meter.peak() < peak


def test_the_load_is_the_highest_that_was_seen_and_stays_where_a_trial_goes_on(monkeypatch):
    loads = iter([1.0, 9.0, 2.0])
    monkeypatch.setattr(os, "getloadavg", lambda: (next(loads), 0.0, 0.0))
    meter = ResourceMeter(torch.device("cpu"))
    for _ in range(3):
        meter.clock.start()
        meter.clock.stop(examples=1)
    assert meter.clock.summary().load == 9.0
    later = ResourceMeter(torch.device("cpu"))
    later.load_state_dict(meter.state_dict())
    assert later.clock.summary().load == 9.0


def test_the_clock_leaves_the_first_steps_out():
    clock = StepClock(torch.device("cpu"), warmup=2)
    for _ in range(5):
        clock.start()
        clock.stop(examples=8)
    clock.seconds = [9.0, 9.0, 0.1, 0.2, 0.3]
    summary = clock.summary()
    assert summary.step_median_s == pytest.approx(0.2)
    assert summary.examples_per_s == pytest.approx(24 / 0.6)


@pytest.mark.parametrize("length", [40, 512])
@pytest.mark.parametrize("gradients", [False, True])
def test_operations_are_those_of_the_matrix_products_attention_included(length, gradients):
    from transformers import BertConfig, BertModel

    layers, hidden, ffn, batch = 2, 64, 128, 2
    config = BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=ffn,
        vocab_size=50,
        max_position_embeddings=512,
        attn_implementation="sdpa",
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    words, mask = torch.zeros(batch, length, dtype=torch.long), torch.ones(batch, length, dtype=torch.long)
    mask[0, -3:] = 0

    def work():
        out = model(input_ids=words, attention_mask=mask).last_hidden_state
        if gradients:
            out.sum().backward()

    tokens = batch * length
    linear = layers * 2 * tokens * (4 * hidden**2 + 2 * hidden * ffn)
    attention = layers * 2 * 2 * batch * length**2 * hidden  # scores, and the values that they weigh
    forward = linear + attention
    backward = 2 * forward if gradients else 0  # by each product's two factors
    assert flops_of(work, torch.device("cpu")) == pytest.approx(forward + backward, rel=0.01)


@pytest.mark.parametrize("shared", [1, 2])
def test_the_fused_attention_of_a_gpu_is_counted_as_its_products(shared):
    """Shapes alone, as no GPU is needed for: two products forward, four backward; heads of queries may share a key."""
    batch, heads, length, width = 2, 4, 24, 8
    query, out = (torch.empty(batch, heads, length, width, device="meta", dtype=torch.bfloat16) for _ in range(2))
    key, value = (torch.empty(batch, heads // shared, length, width, device="meta", dtype=torch.bfloat16),) * 2
    sums, seed = torch.empty(batch, heads, length, device="meta"), torch.empty((), device="meta", dtype=torch.int64)
    ops, scale = torch.ops.aten, width**-0.5
    forward = {
        ops._scaled_dot_product_flash_attention: (0.0, False),
        ops._scaled_dot_product_efficient_attention: (None, True),
        ops._scaled_dot_product_cudnn_attention: (None, True),
    }
    product = 2 * batch * heads * length * length * width
    for attend, more in forward.items():
        found = flops_of(lambda: attend(query, key, value, *more, scale=scale), torch.device("cuda"))  # noqa: B023
        assert found == 2 * product
    if shared == 1:
        flash = (out, query, key, value, out, sums, seed, seed, length, length, 0.0, False, seed, seed)
        efficient = (out, query, key, value, None, out, sums, seed, seed, 0.0, [True] * 3 + [False], False)
        backward = {
            ops._scaled_dot_product_flash_attention_backward: flash,
            ops._scaled_dot_product_efficient_attention_backward: efficient,
        }
        for attend, given in backward.items():
            assert flops_of(lambda: attend(*given, scale=scale), torch.device("cuda")) == 4 * product  # noqa: B023


def test_bytes_of_the_optimizer_are_those_that_torch_keeps():
    model = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2).to(torch.bfloat16))
    model[0].bias.requires_grad_(False)
    needed = memory_needed(model)
    trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
    for tensor in trained:
        tensor.grad = torch.ones_like(tensor)
    optimizer = torch.optim.AdamW(trained)
    optimizer.step()
    assert needed["optimizer"] == bytes_of(value for held in optimizer.state.values() for value in held.values())
    assert needed["gradients"] == bytes_of(tensor.grad for tensor in trained)


def test_tensors_count_while_they_live_and_views_and_known_ones_not_at_all():
    known = torch.zeros(1000)
    assert peak_of(lambda: known.view(10, 100).t(), [known]) == 0
    assert peak_of(lambda: known.add(1).add(1).add(1), [known]) == 2 * 4000, "each is freed once the next is made"
    assert peak_of(lambda: [known.add(1) for _ in range(3)], [known]) == 3 * 4000
    assert peak_of(lambda: known.add_(1), [known]) == 0


def allocated(work):
    """The peak of what torch's allocator hands out, by its own events."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("trained", ["encoder", "query", "layer.1"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_bytes_of_a_step_are_those_that_the_allocator_hands_out(trained, checkpointed, dropout):
    kind = BertConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(0)
    model = BertModel(kind, add_pooling_layer=False).train()
    if checkpointed:
        checkpoint_layers(model)
    for name, tensor in model.named_parameters():
        tensor.requires_grad_(trained in name)
    batch = {"input_ids": torch.randint(0, 50, (16, 40)), "attention_mask": torch.ones(16, 40, dtype=torch.int64)}

    def step():
        model(**batch).last_hidden_state.sum().backward()

    step()
    model.zero_grad()
    truth = allocated(step)
    model.zero_grad()
    found = peak_of(step, [*model.parameters(), *model.buffers(), *batch.values()])
    assert found == pytest.approx(truth, rel=0.01)


def test_the_bytes_of_a_step_follow_how_it_is_made_and_leave_no_trace(compose, own_cache):
    """Dropout is there as in training; in parts, each with its activations, the gradients are held throughout."""

    def counted(*words):
        config = compose("model.dropout=0.1", "trainer.batch_size=16", *words)
        torch.manual_seed(0)
        model = build_model(config.model, 2)
        method_of(config).adapt(model)
        rows = read_inputs(config, build_task(config.task), "train")
        settings = config.trainer
        collate = training_collate(rows, accumulate=settings.accumulate, tokens=settings.batch_tokens)
        batch = collate(rows.sample(settings.rows_of_step))
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        found = step_bytes(model, batch, None, device=torch.device("cpu"), precision="32-true")
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        assert all(tensor.grad is None for tensor in model.parameters())
        gradients = bytes_of(tensor for tensor in model.parameters() if tensor.requires_grad)
        return found, gradients

    whole, gradients = counted("lora=full")
    small, _ = counted("lora=full", "trainer.batch_size=4")
    assert counted("lora=full", "model.dropout=0.0")[0] < whole
    assert gradients < small < whole
    parts, _ = counted("lora=full", "trainer.batch_size=4", "trainer.accumulate=4")
    assert small < parts < whole
    assert counted("lora=full", "trainer.batch_tokens=40")[0] < whole
