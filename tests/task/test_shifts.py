"""Held-out files on another scale, or with labels counted otherwise, are told of; chance is not."""

import re

import numpy as np
import pytest

from harness.task.intake.shifts import shifts

FOUR = ["0", "1", "2", "3"] * 20


@pytest.mark.parametrize(
    ("trained", "held", "said"),
    [
        (FOUR, ["1", "2", "3"] * 14, "test: none of 42 rows is '0', which is 25 % of training: .* one higher there"),
        (FOUR, ["0", "1", "2"] * 14, "none of 42 rows is '3', .* one lower there"),
        ([str(int(label) + 1) for label in FOUR], ["2", "3", "4"] * 14, "none of 42 rows is '1'"),
        (FOUR, ["1", "2", "3"] * 4, ""),  # so few may lack it by chance
        (["0", *["1", "2", "3"] * 30], ["1", "2", "3"] * 14, ""),  # it is rare
        (FOUR, ["0", "1", "3"] * 14, ""),
        (FOUR, FOUR, ""),
        (["neg", "none", "pos"] * 20, ["none", "pos"] * 20, ""),
    ],
)
def test_labels_that_look_shifted_are_told(trained, held, said):
    assert_told(shifts("class", "label", {"train": trained, "test": held}), said)


def drawn(low, high, count=40, seed=0):
    return list(np.random.default_rng(seed).uniform(low, high, count))


@pytest.mark.parametrize(
    ("trained", "held", "said"),
    [
        (
            drawn(0, 1),
            drawn(0, 100),
            r"test: score is .* and in train .*\(\d+ of 40 are beyond all of train\): is it on",
        ),
        (drawn(0, 100), drawn(0, 1), "of 40 are beyond all of train"),
        (drawn(0, 1), drawn(0, 100, 5), "is it on the same scale"),
        (drawn(32, 80), drawn(-10, 20), "40 of 40 are beyond"),
        (drawn(0, 1), drawn(0, 1, 4), ""),
        (drawn(0, 1), drawn(0, 1.5, seed=1), ""),
        ([1.0] * 20 + [2.0] * 20, [1.0] * 20 + [2.0] * 20, ""),
        ([1.0] * 40, [1.0] * 40, ""),
    ],
)
def test_numbers_on_another_scale_are_told(trained, held, said):
    assert_told(shifts("number", "score", {"train": trained, "test": held}), said)


@pytest.mark.parametrize("seed", range(20))
def test_of_numbers_that_are_far_apart_nothing_is_told(seed):
    draw = np.random.default_rng(seed)
    trained, held = (list(np.exp(2 * draw.standard_normal(count))) for count in (200, 40))
    assert shifts("number", "score", {"train": trained, "test": held}) == []


def assert_told(told, said):
    if not said:
        assert told == []
        return
    (line,) = told
    assert re.search(said, line)
