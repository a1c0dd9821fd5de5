"""Scores keep digits that tell them apart, however small."""

import pytest

from harness.system.figures import difference, figure


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (0.0, "0.0000"),
        (0.91234, "0.9123"),
        (0.0012345, "0.0012"),
        (4.8562e-7, "4.856e-07"),
        (0.00043217, "0.0004322"),
        (-0.00043217, "-0.0004322"),
        (1e-17, "0.0000"),
        (12.5, "12.5000"),
    ],
)
def test_a_score_has_four_decimals_or_four_digits(score, said):
    assert figure(score) == said


@pytest.mark.parametrize(
    ("value", "decimals", "said"),
    [
        (0.0, 4, "+0.0000"),
        (0.00033333, 4, "+0.0003"),
        (-2.04e-8, 4, "-2.04e-08"),
        (1e-17, 4, "+0.0000"),
        (0.0004, 3, "+0.0004"),
    ],
)
def test_a_difference_is_no_zero_unless_it_is_none(value, decimals, said):
    assert difference(value, decimals) == said
