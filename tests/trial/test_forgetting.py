"""The figures of continual training, against matrices worked out by hand and against the formulas in numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.trial.continual.forgetting import summary

BY_HAND = [
    # before    after the first, the second, the third
    ([[0.5, 0.4, 0.3], [0.9, 0.5, 0.4], [0.7, 0.8, 0.5], [0.8, 0.6, 0.9]], (2.3 / 3, -0.15, 0.15, 0.15, 2.6 / 3)),
    # the first task is best after the second one: its forgetting is more than its loss since it was learned
    ([[0.5, 0.5], [0.6, 0.5], [0.9, 0.7]], (0.8, 0.3, 0.0, 0.0, 0.65)),
    ([[0.5, 0.5, 0.5], [0.6, 0.5, 0.5], [0.9, 0.7, 0.5], [0.7, 0.7, 0.8]], (2.2 / 3, 0.05, 0.0, 0.1, 2.1 / 3)),
    ([[0.5], [0.8]], (0.8, 0.0, 0.0, 0.0, 0.8)),
]


@pytest.mark.parametrize(("matrix", "expected"), BY_HAND)
def test_matrices_worked_out_by_hand(matrix, expected):
    found = summary(matrix)
    assert (found.acc, found.bwt, found.fwt, found.forgetting, found.new) == pytest.approx(expected)


def matrices():
    score = st.floats(0, 1)
    return st.integers(2, 5).flatmap(
        lambda tasks: st.lists(st.lists(score, min_size=tasks, max_size=tasks), min_size=tasks + 1, max_size=tasks + 1)
    )


@given(matrices())
def test_the_formulas_as_written(rows):
    whole = np.array(rows)
    before, after = whole[0], whole[1:]  # R[i, j] of the papers counts rows from the first task learned
    tasks = len(after)
    found = summary(rows)
    assert found.acc == pytest.approx(after[-1].mean())
    assert found.bwt == pytest.approx(np.mean([after[-1, j] - after[j, j] for j in range(tasks - 1)]))
    assert found.fwt == pytest.approx(np.mean([after[j - 1, j] - before[j] for j in range(1, tasks)]))
    assert found.forgetting == pytest.approx(
        np.mean([max(after[i, j] - after[-1, j] for i in range(j, tasks)) for j in range(tasks - 1)])
    )
    assert found.forgetting >= max(0.0, -found.bwt) - 1e-12


@given(matrices(), st.floats(-1, 1))
def test_a_shift_of_every_score_moves_only_means(rows, shift):
    plain, moved = summary(rows), summary([[value + shift for value in row] for row in rows])
    assert moved.acc == pytest.approx(plain.acc + shift)
    assert (moved.bwt, moved.fwt, moved.forgetting) == pytest.approx((plain.bwt, plain.fwt, plain.forgetting), abs=1e-9)
