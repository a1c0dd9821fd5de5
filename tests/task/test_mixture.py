"""Rows of several tasks in one numbering, in batches of one task each, whose order is a function of seed and epoch."""

import collections
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import ConfigError
from harness.task import MixtureBatches, build_task
from harness.trial.inputs import loader, read_inputs

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=4)


def batches(sizes, sampling="round_robin", shuffle=True, rank=0, world=1, seed=0):
    lengths = [np.random.default_rng(size).integers(1, 9, size) for size in sizes]
    return MixtureBatches(lengths, 4, seed, shuffle=shuffle, sampling=sampling, process_index=rank, world=world)


def tasks_of(rows, sizes):
    ends = np.cumsum(sizes)
    return {int(np.searchsorted(ends, row, side="right")) for row in rows}


@settings(max_examples=60, deadline=None)
@given(SIZES, st.sampled_from(["round_robin", "root_size"]))
def test_every_batch_is_of_one_task_and_an_epoch_is_as_long_as_all_rows(sizes, sampling):
    sampler = batches(sizes, sampling)
    found = list(sampler)
    assert len(found) == len(sampler) == sum(math.ceil(size / 4) for size in sizes)
    order = [tasks_of(rows, sizes) for rows in found]
    assert all(len(tasks) == 1 for tasks in order)
    if sampling == "round_robin":
        assert order == [{place % len(sizes)} for place in range(len(found))]


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 3))
def test_evaluation_has_every_row_once_over_all_devices(sizes, world):
    seen = [
        row for rank in range(world) for rows in batches(sizes, shuffle=False, rank=rank, world=world) for row in rows
    ]
    assert sorted(seen) == list(range(sum(sizes)))


@settings(max_examples=40, deadline=None)
@given(SIZES, st.sampled_from(["round_robin", "root_size"]))
def test_the_order_is_a_function_of_seed_and_epoch_and_no_pass_repeats_another(sizes, sampling):
    first, second = batches(sizes, sampling), batches(sizes, sampling)
    epochs = [list(first), list(first)]
    second.epoch = 1
    assert list(second) == epochs[1]
    if max(sizes) > 12:
        assert epochs[0] != epochs[1]


@settings(max_examples=60, deadline=None)
@given(SIZES, st.sampled_from(["round_robin", "root_size"]), st.integers(1, 3), st.data())
def test_who_resumes_draws_what_is_left(sizes, sampling, world, data):
    for rank in range(world):
        whole, later = (batches(sizes, sampling, rank=rank, world=world) for _ in range(2))
        if len(whole) == 0:
            return
        drawn = data.draw(st.integers(0, 3 * len(whole) - 1))
        epochs = [rows for _ in range(3) for rows in whole]
        later.resume_at(drawn)
        left = [rows for _ in range(3 - drawn // len(later)) for rows in later]
        assert left == epochs[drawn:]


def test_within_a_task_every_row_comes_before_one_comes_again():
    rows = [row for batch in batches([8, 40]) for row in batch if row < 8]
    assert sorted(rows[:8]) == sorted(rows[8:16]) == list(range(8))


def test_the_root_of_the_size_says_how_often_a_task_comes():
    sizes = [100 * 4, 900 * 4]
    order = [tasks_of(rows, sizes).pop() for rows in batches(sizes, "root_size")]
    share = collections.Counter(order)[0] / len(order)
    assert share == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / len(order)))  # √100 / (√100 + √900)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.1), (2.0, 0.25), (1e6, 0.5)])
def test_the_temperature_levels_how_often_tasks_come(temperature, expected):
    sizes = [100 * 4, 900 * 4]
    lengths = [np.ones(size, dtype=int) for size in sizes]
    sampler = MixtureBatches(lengths, 4, 0, shuffle=True, sampling="by_size", temperature=temperature)
    order = [tasks_of(rows, sizes).pop() for rows in sampler]
    share = collections.Counter(order)[0] / len(order)
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / len(order)))


def test_a_temperature_without_its_sampling_is_refused_and_the_other_way_round(compose_mixture):
    with pytest.raises(ConfigError, match="task.sampling=by_size: give task.temperature"):
        compose_mixture(sampling="by_size")
    with pytest.raises(ConfigError, match="task.sampling=round_robin: task.temperature is of by_size"):
        compose_mixture(temperature=2.0)
    assert build_task(compose_mixture(sampling="by_size", temperature=3.0).task).temperature == 3.0


def test_a_batch_is_its_parts_with_its_task_and_its_rows_in_the_whole(compose_mixture):
    config = compose_mixture()
    task = build_task(config.task)
    assert task.outputs == {"good": 2, "size": 1, "again": 2}
    inputs = read_inputs(config, task, "test")
    start = len(inputs.parts[0])
    batch, alone = inputs.batch([start + 3, start + 1]), inputs.parts[1].batch([3, 1])
    assert batch["tasks"].tolist() == [1, 1]
    assert batch["rows"].tolist() == [start + 3, start + 1]
    assert batch["ids"].equal(alone["ids"])
    mean, sd = task.parts["size"].spread
    truth = [(task.parts["size"].splits["test"].labels[row] - mean) / sd for row in (3, 1)]
    assert batch["labels"].tolist() == pytest.approx(truth)
    seen = [row for batch in loader(inputs, 64, config.seed, training=False) for row in batch["rows"].tolist()]
    assert sorted(seen) == list(range(len(inputs)))


def test_only_the_chosen_tasks_are_there_and_a_misspelt_one_is_named(compose_mixture):
    assert list(build_task(compose_mixture(only=["again"]).task).parts) == ["again"]
    with pytest.raises(ConfigError, match="no task agan; did you mean again"):
        compose_mixture(only=["agan"])
    with pytest.raises(ConfigError, match="trainer.objective=accuracy: task=mixture has none"):
        compose_mixture("trainer.objective=accuracy")


def test_what_one_task_is_scored_on_is_not_learned_by_another(compose_mixture):
    config = compose_mixture()
    other = dataclasses.replace(config.task.tasks["again"], split_seed=1)
    leaking = dataclasses.replace(config.task, tasks=config.task.tasks | {"again": other})
    with pytest.raises(ConfigError, match="validation sentences of again stand in the training split of good"):
        build_task(leaking)


def test_the_packaged_tasks_are_split_alike_by_one_seed(compose_plain):
    config = compose_plain("task=mixture", "trainer.objective=score", "task.split_seed=5")
    assert {part.split_seed for part in config.task.tasks.values()} == {5}
