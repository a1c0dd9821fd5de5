"""Batches of several tasks at once: how rows are shared out, joined and scored, against the tasks by themselves."""

import collections

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from harness.config import ConfigError
from harness.model import build_model
from harness.task import build_task
from harness.task.mixed_batches import MixedBatches, joined, losses_by_task
from harness.training.module import mean_loss, task_losses
from harness.trial.inputs import loader, read_inputs

SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=4)


def owners(batch, sizes):
    return np.searchsorted(np.cumsum(sizes), batch, side="right").tolist()


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(2, 9), st.integers(0, 3))
def test_tasks_share_every_batch_alike_and_their_rows_come_in_turn(sizes, batch_size, seed):
    sampler = MixedBatches(sizes, batch_size, seed, None)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    totals = collections.Counter()
    for batch in batches:
        assert len(batch) == batch_size
        found = collections.Counter(owners(batch, sizes))
        assert max(found.values()) - min(found.get(task, 0) for task in range(len(sizes))) <= 1
        totals += found
    starts = np.cumsum([0, *sizes])
    for task, size in enumerate(sizes):
        mine = [row - starts[task] for batch in batches for row in batch if owners([row], sizes) == [task]]
        for start in range(0, len(mine) - size + 1, size):
            assert sorted(mine[start : start + size]) == list(range(size))


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(2, 9), st.data())
def test_who_resumes_draws_what_is_left_and_no_epoch_repeats_another(sizes, batch_size, data):
    whole, later = (MixedBatches(sizes, batch_size, 1, None) for _ in range(2))
    epochs = [list(whole) for _ in range(2)]
    drawn = data.draw(st.integers(0, 2 * len(whole) - 1))
    later.resume_at(drawn)
    left = [batch for _ in range(2 - drawn // len(later)) for batch in later]
    assert left == [batch for epoch in epochs for batch in epoch][drawn:]


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(2, 9), st.integers(1, 3), st.data())
def test_several_devices_share_the_batches_out_and_resume_at_the_same_step(sizes, batch_size, world, data):
    whole = MixedBatches(sizes, batch_size, 1, None)
    devices = [MixedBatches(sizes, batch_size, 1, None, process_index=index, world=world) for index in range(world)]
    assert len({len(each) for each in devices}) == 1
    steps = len(devices[0])
    for _ in range(2):
        batches = list(whole)[: steps * world]
        mine = [list(each) for each in devices]
        assert [batch for step in zip(*mine, strict=True) for batch in step] == batches
    if steps:
        drawn = data.draw(st.integers(0, steps - 1))
        again = [MixedBatches(sizes, batch_size, 1, None, process_index=index, world=world) for index in range(world)]
        for each in again:
            each.resume_at(steps + drawn)
        assert [list(each) for each in again] == [part[drawn:] for part in mine]


def test_weights_say_how_often_a_task_comes():
    sizes = [3000, 1000]
    rows = [row for batch in MixedBatches(sizes, 8, 0, np.array([0.2, 0.8])) for row in batch]
    share = owners(rows, sizes).count(0) / len(rows)
    assert share == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / len(rows)))


def test_a_joined_batch_gives_each_task_its_own_loss_and_the_network_its_own_answers(compose_mixture):
    config = compose_mixture(batches="mixed")
    task = build_task(config.task)
    inputs = read_inputs(config, task, "train")
    model = build_model(config.model, task.outputs).eval()
    size = len(inputs.parts[0])
    rows = [3, 1, 2, size + 5, size + 1, 2 * size]
    batch = inputs.batch(rows)
    assert batch["tasks"].tolist() == [0, 0, 0, 1, 1, 2]
    assert batch["rows"].tolist() == rows
    with torch.no_grad():
        outputs = model(batch)
        found, numbers = task_losses(model, batch, task.losses)
        assert numbers.tolist() == [0, 1, 2]
        for number, mine in enumerate((rows[:3], rows[3:5], rows[5:])):
            alone = inputs.batch(mine)
            torch.testing.assert_close(outputs[batch["tasks"] == number, : model(alone).shape[1]], model(alone))
            torch.testing.assert_close(found[number], mean_loss(model, alone), atol=1e-5, rtol=1e-5)
        some, there = task_losses(model, inputs.batch([rows[5], rows[0]]), task.losses)
    assert (there.tolist(), len(some)) == ([0, 2], 2)
    drawn = next(iter(loader(inputs, 9, config.seed, training=True)))
    assert collections.Counter(drawn["tasks"].tolist()) == {0: 3, 1: 3, 2: 3}
    held = [batch["tasks"].unique().tolist() for batch in loader(inputs, 64, config.seed, training=False)]
    assert all(len(tasks) == 1 for tasks in held)  # evaluation is task by task


def test_padding_goes_to_the_end_and_classes_become_numbers_exactly():
    one = {"ids": torch.tensor([[5, 6, 7]]), "labels": torch.tensor([2])}
    other = {"ids": torch.tensor([[8]]), "labels": torch.tensor([0.1])}
    found = joined([one, other], {"ids": 9})
    assert found["ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert found["labels"].dtype == torch.float64
    assert found["labels"][0] == 2
    with pytest.raises(ConfigError, match="task.batches=mixed: for tasks of like inputs; task.batches=one_task"):
        joined([one, {"frames": torch.zeros(1, 1), "labels": other["labels"]}], {})


def test_labels_of_several_and_of_tokens_stand_in_front_and_one_text_is_a_first_text():
    sets = {"ids": torch.tensor([[5, 6]]), "labels": torch.tensor([[1.0, 0.0]])}
    tags = {"ids": torch.tensor([[7, 8, 9]]), "labels": torch.tensor([[-100, 2, 1]]), "tags": torch.tensor([[2, 1]])}
    pair = {"ids": torch.tensor([[4]]), "types": torch.tensor([[1]]), "labels": torch.tensor([3])}
    found = joined([sets, tags, pair], {"ids": 0})
    assert found["labels"].tolist() == [[1, 0, -100], [-100, 2, 1], [3, -100, -100]]
    assert found["types"].tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert set(found) == {"ids", "types", "labels"}


def test_a_number_has_the_squared_error_and_a_class_the_cross_entropy():
    outputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    batch = {"tasks": torch.tensor([1, 0, 1, 0]), "labels": torch.tensor([2.0, 0.5, 0.0, -1.0]).double()}
    found, numbers = losses_by_task([1, 3], outputs, batch)
    assert numbers.tolist() == [0, 1]
    torch.testing.assert_close(found[0], F.mse_loss(outputs[[1, 3], 0], torch.tensor([0.5, -1.0])))
    torch.testing.assert_close(found[1], F.cross_entropy(outputs[[0, 2]], torch.tensor([2, 0])))
