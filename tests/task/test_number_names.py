"""Labels that say one number are one, however it is written, and others are not."""

import pytest

from harness.config import ConfigError
from harness.task.intake.labels import alike, settle_alike

ALIKE = [
    ("1000", "1,000"),
    ("1000", "1 000"),
    ("1000", "1'000"),
    ("1000", "1\u202f000"),
    ("1000", "1.000"),
    ("1000", "1e3"),
    ("1", "1.000"),
    ("1", "1,000"),
    ("1,000", "1.000"),
    ("1234567", "1,234,567"),
    ("1234567.5", "1.234.567,5"),
    ("1.5", "1,5"),
    ("1.5", "1,50"),
    ("0.5", ".5"),
    ("0.5", ",5"),
    ("5", "05"),
    ("5", "+5"),
    ("5", "5."),
    ("5", "٥"),
    ("-5", "\u22125"),
    ("-5", "\u20135"),
    ("-1,5", "\u22121.5"),
    ("0", "-0"),
    ("50%", "50 %"),
    ("50%", "50.0%"),
    ("50%", "50\u00a0%"),
    ("50%", "５０％"),
    ("5 km", "5km"),
    ("5 km", "5.0 KM"),
    ("$5", "$ 5"),
    ("$1000", "$1,000"),
    ("18-24", "18\u201324"),
    ("1/2", "½"),
]
APART = [
    ("1000", "10000"),
    ("1.5", "15"),
    ("1", "1000"),
    ("-5", "5"),
    ("5%", "5"),
    ("5%", "0.05"),
    ("$5", "€5"),
    ("5 km", "5 m"),
    ("1.1.0", "1.1"),
    ("v1.10", "v1.1"),
    ("1, 2", "12"),
    ("1 2", "12"),
    ("1-2", "12"),
    ("10:30", "10.30"),
    ("2024-05-31", "20240531"),
    ("c++", "c"),
    ("1st", "1"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_numbers_that_are_written_otherwise_are_alike(one, other):
    assert [sorted(group) for group in alike([one, other, "7"])] == [sorted((one, other))]
    with pytest.raises(ConfigError, match=r"differ in blanks, case or number format: .*task\.labels\.normalise=true"):
        settle_alike("task.data=x", [one, other, "7"], ["2", "3", "4"], None)
    names = settle_alike("task.data=x", [one, one, other, "7"], ["2", "3", "4", "5"], True)
    assert names[one] == names[other]
    assert settle_alike("task.data=x", [one, other], ["2", "3"], False) == {one: one, other: other}


@pytest.mark.parametrize(("one", "other"), APART)
def test_labels_that_mean_another_number_are_not(one, other):
    assert alike([one, other, "pos"]) == []


def test_a_number_that_may_be_one_or_a_thousand_is_alike_with_what_there_is_alone():
    assert [set(group) for group in alike(["1.000", "1000", "2", "3.000"])] == [{"1.000", "1000"}]
    assert [set(group) for group in alike(["1,000", "1", "2,000", "2000"])] == [{"1,000", "1"}, {"2,000", "2000"}]
    assert alike(["1.000", "2.000", "3.000"]) == []
