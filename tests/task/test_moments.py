"""Times of rows are in the order of what they stand for, and refused where that may be another."""

import pandas as pd
import pytest

from harness.config import ConfigError
from harness.task.intake.moments import moments, ranges

AMBIGUOUS = {
    "months of years": ["01.2015", "02.2016", "12.2014"],
    "one digit": ["1.2015", "10.2014"],
    "numbers of a file": [1.2015, 10.2018, 6.202],
    "without a point": ["062020", "012021"],
    "as whole numbers": [62020, 12021],
    "days": ["31122019", "01012020"],
    "days as whole numbers": [31122019, 1012020],
    "months first": ["12312019", "01012020"],
    "days of a month": ["31.01", "05.02", "10.12"],
    "days of a file": [31.01, 5.02, 10.1],
    "years and months": ["2020.9", "2020.10"],
    "weeks": ["2020.2", "2020.11"],
    "counted": ["1.9", "1.10", "1.11"],
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_numbers_that_may_be_dates_in_another_order_are_refused(kind):
    with pytest.raises(ConfigError, match=r"data=a\.csv: when, as .*; write dates like 2024-05-31, months like"):
        moments("data=a.csv", "when", pd.Series(AMBIGUOUS[kind], dtype=object))


IN_ORDER = {
    "years": ["1999", "2000", "2020"],
    "whole dates": ["20191231", "20200101", "20200102"],
    "whole months": ["201912", "202001"],
    "years and months": ["2019.12", "2020.01", "2020.11"],
    "seconds": ["1.05", "1.5", "12.251"],
    "fixed": ["0.10", "0.90", "1.10"],
    "epochs": [1577836800, 1577836801.5],
    "counters": [1012000, 1012001, 1012002],
    "one month": ["06.2019", "06.2020"],
    "dates": ["2019-12-31", "2020-01-01T10:00", "2020-01-02"],
    "months": ["2019-12", "2020-01"],
}


@pytest.mark.parametrize("kind", IN_ORDER)
def test_what_is_in_its_order_is_taken(kind):
    found = moments("data=a.csv", "when", pd.Series(IN_ORDER[kind], dtype=object))
    assert sorted(found) == found
    assert len(set(found)) == len(found)


def test_the_first_and_the_last_are_as_they_are_written():
    cells = {"train": pd.Series(["10", "9.5", "2"]), "test": pd.Series(["2020-05-01", "2019-12-31"])}
    assert ranges(cells | {"validation": pd.Series([], dtype=object)}) == {
        "train": "2 to 10",
        "test": "2019-12-31 to 2020-05-01",
    }
