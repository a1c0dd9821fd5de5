"""Times of rows are in the order of what they stand for, and refused where that may be another."""
# ruff: noqa: E501

import pandas as pd
import pytest

from harness.config import ConfigError
from harness.task.intake.moments import cut_by_time, moments
from harness.task.intake.odd_times import odd_times

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
    "short dates": ["091231", "100105", "100220", "110107"],
    "short dates of months": ["090101", "090201", "100101", "110101"],
    "short months": ["0911", "0912", "1001", "1112"],
    "padded counters": ["000101", "000102", "000201"],
    "counters of six digits": list(range(100150, 100450)),
    "counters of five digits": list(range(10100, 10400)),
    "years and months": ["2019.12", "2020.01", "2020.11"],
    "seconds": ["1.05", "1.5", "12.251"],
    "fixed": ["0.10", "0.90", "1.10"],
    "epochs": [1577836800, 1577836801.5],
    "counters": [1012000, 1012001, 1012002],
    "one month": ["06.2019", "06.2020"],
    "dates": ["2019-12-31", "2020-01-01T10:00", "2020-01-02"],
    "months": ["2019-12", "2020-01"],
    "epochs since 1970": [0, 31_536_000, 31_536_000 * 30, 31_536_000 * 50],
    "milliseconds of a day": [1577836800000, 1577836800001],
    "steps": [1, 1_900, 50_000, 10**9, 10**12],
    "tokens that were seen": [2 * 10**k for k in range(3, 13)],
    "months without years": [1, 6, 12],
    "percents": [0, 20, 45, 60, 99],
    "days of a spreadsheet": [43831, 43831.5, 43900],
    "days first": ["01.02.2020", "13.02.2020", "01.03.2020"],
    "months first": ["2/01/2020", "2/13/2020", "3/01/2020"],
    "days first, with a time": ["13/02/2020 9:05", "13/02/2020 10:00", "01/03/2020 00:00"],
    "a zone": ["Mon Apr 06 22:00:00 PDT 2009", "Wed Apr 08 01:00:00 PDT 2009", "Fri May 01 09:30:00 PDT 2009"],
    "UTC behind times": ["2019-12-31 22:00:00 UTC", "2020-01-01 01:00:00 UTC"],
    "short years": ["31.12.99", "01.01.00", "13.01.09"],
    "words": ["31 December 2019", "1 January 2020"],
    "words of a spreadsheet": ["31-Dec-19", "01-Jan-20"],
    "words first": ["Dec 31, 2019", "Jan 1, 2020"],
    "words of months": ["Dec 2019", "Jan 2020", "May 2020"],
    "posts": ["Tue Dec 31 23:00:00 +0000 2019", "Wed Jan 01 00:30:00 +0100 2020", "Wed Jan 01 00:00:00 +0000 2020"],
    "quarters": ["2019Q4", "2020Q1", "2020Q3"],
    "quarters first": ["Q4 2019", "q1 2020"],
    "weeks": ["2019-W52", "2020-W02", "2020-W11"],
}


@pytest.mark.parametrize("kind", IN_ORDER)
def test_what_is_in_its_order_is_taken(kind):
    found = moments("data=a.csv", "when", pd.Series(IN_ORDER[kind], dtype=object)).values
    assert sorted(found) == found
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("cells", "how"),
    [
        (["13.02.2020", "01.03.2020"], "%d.%m.%Y"),
        (["02/13/2020 10:00", "03/01/2020 11:30"], "%m/%d/%Y %H:%M"),
        (["Mon Apr 06 22:00:00 PDT 2009", "Wed Apr 08 01:00:00 PDT 2009"], "%a %b %d %H:%M:%S PDT %Y"),
        (["5 May 2020", "6 June 2020"], "%d %B %Y"),
        (["2020Q1", "2020Q2"], "quarters"),
        (["2020-05-31", "2020-06-01"], ""),
        (["3", "4"], ""),
    ],
)
def test_it_is_said_how_times_are_read(cells, how):
    assert moments("data=a.csv", "when", pd.Series(cells, dtype=object)).how == how


def test_times_in_two_zones_are_refused():
    cells = pd.Series(["Mon Apr 06 22:00:00 PDT 2009", "Mon Apr 06 22:00:00 EST 2009"], dtype=object)
    with pytest.raises(ConfigError, match="when is neither a number nor a date like 2024-05-31 in rows 0, 1"):
        moments("data=a.csv", "when", cells)


SHORT = {
    "days first": (["010115", "070215", "160315", "010116"], "%d%m%y"),
    "days first, later than today": (["300190", "150291", "010190"], "%d%m%y"),
    "days first, in whole numbers": ([int(f"{day}{month:02}20") for day in (3, 9, 31) for month in (1, 3, 5, 7, 8, 10, 12)], "%d%m%y"),
    "months first": (["013115", "013116", "022815"], "%m%d%y"),
    "without a year": (["0101", "3101", "0102"], "%d%m"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHORT)
def test_digits_that_may_be_short_dates_in_another_order_are_refused_with_the_key(kind):
    cells, written = SHORT[kind]
    column = pd.Series(cells, dtype=object)
    with pytest.raises(
        ConfigError, match=rf"data=a\.csv: when, as .*; 'task\.time_format=\"{written}\"' reads them so"
    ):
        moments("data=a.csv", "when", column)
    assert moments("data=a.csv", "when", column, "number").values == list(map(float, cells))


SCALES = {
    "milliseconds and seconds": ([1577836800000, 1577923200000, 1578009600], r"seconds since 1970, as 1578009600 \(rows 2\)"),
    "seconds and days": ([1577836800, 20200301], r"days, YYYYMMDD, as 20200301 \(rows 1\)"),
    "a time that is missing": ([-1, 0, 1577836800, 1577836800000], r"milliseconds since 1970, as 1577836800000 \(rows 3\)"),
    "a spreadsheet's days": (["43831", "43832.5", "20200301"], r"days of a spreadsheet, as 43831 \(rows 0, 1\)"),
    "years and months": (["2019", "202001"], r"years, as 2019 \(rows 0\)"),
    "days and times": ([20191231, 20200101103000], r"times, YYYYMMDDhhmmss, as 20200101103000 \(rows 1\)"),
    "short years": (["98", "99", "00", "01"], r"years of two digits .* \(98 to 99 in rows 0, 1, 00 to 01 in rows 2, 3\)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SCALES)
def test_numbers_on_several_scales_are_refused_with_their_rows(kind):
    cells, line = SCALES[kind]
    column = pd.Series(cells, dtype=object)
    with pytest.raises(ConfigError, match=rf"data=a\.csv: when .*{line}.*task\.time_format=.*number takes them as"):
        moments("data=a.csv", "when", column)
    assert moments("data=a.csv", "when", column, "number").values == list(map(float, cells))


ODD = {
    "two orders": (["13.02.2020", "14.02.2020", "02.15.2020"], r"of the format %d\.%m\.%Y in 2 rows, and none in rows 2, as '02\.15"),
    "days or months": (["01/02/2020", "02/02/2020", "01/03/2020"],
                       r"as '01/02/2020', may be written %d/%m/%Y or %m/%d/%Y \(rows 0, 2\).*task.time_format"),
    "short years": (["10.11.12", "11.12.13"], r"may be written %d\.%m\.%y or"),
    "a number": (["2020-01-01", "2020-01-02", "43831"], r"a date like 2024-05-31 in 2 rows, .* in rows 2, as '43831' \(a number in rows 2\)"),
    "a date": (["1", "2", "2020-01-02"], r"a number in 2 rows, and none in rows 2, .* \(a date like 2024-05-31 in rows 2\)"),
    "a gap": (["1", "2", None], "in rows 2, as an empty cell"),
    "hours": (["00:30", "01:30"], r"neither a number nor a date .* as '00:30'; task\.time_format says"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_what_has_no_one_format_is_refused_with_its_rows(kind):
    cells, line = ODD[kind]
    with pytest.raises(ConfigError, match=line):
        moments("data=a.csv", "when", pd.Series(cells, dtype=object))


@pytest.mark.parametrize(
    ("time_format", "cells", "order"),
    [
        ("%d/%m/%Y", ["01/02/2020", "02/01/2020"], [1, 0]),
        ("%m/%d/%Y", ["01/02/2020", "02/01/2020"], [0, 1]),
        ("%m.%Y", [1.2015, 10.2014, 6.202], [1, 0, 2]),
        ("%d%m%Y", [31122019, 1012020], [0, 1]),
        ("%y", ["99", "0", "01"], [0, 1, 2]),
        ("%y", [99, 0, 1], [0, 1, 2]),
        ("%H:%M", ["01:30", "00:30"], [1, 0]),
        ("number", ["06.2020", "01.2021"], [1, 0]),
        ("number", ["99", "00", "01"], [1, 2, 0]),
    ],
)
def test_times_are_read_as_the_key_says(time_format, cells, order):
    found = moments("data=a.csv", "when", pd.Series(cells, dtype=object), time_format).values
    assert sorted(range(len(cells)), key=lambda row: found[row]) == order


@pytest.mark.parametrize(
    ("time_format", "said"), [("%d/%m/%Y", "is not so written in 1 rows"), ("number", "is no number")]
)
def test_rows_that_are_not_as_the_key_says_are_named(time_format, said):
    cells = pd.Series(["01/02/2020" if "%" in time_format else "1", "13.1.x"], index=[6, 7], dtype=object)
    with pytest.raises(ConfigError, match=rf"when {said}.*\b7\b.*as '13\.1\.x'"):
        moments("data=a.csv", "when", cells, time_format)


def test_the_first_and_the_last_are_as_they_are_written():
    cells = pd.Series(["31.01.2020", "1.2.2020", "13.1.2020", "30.12.2019"], index=[9, 8, 7, 6])
    parts, told = cut_by_time("data=a.csv", "when", cells, {"test": 0.25}, None)
    assert {split: places.tolist() for split, places in parts.items()} == {"train": [0, 2, 3], "test": [1]}
    assert told == {
        "train": "30.12.2019 to 31.01.2020, read as %d.%m.%Y",
        "test": "1.2.2020 to 1.2.2020, read as %d.%m.%Y",
    }


ZONES = {
    "some": (
        ["2024-05-31T10:00Z", "2024-05-31 10:30", "2024-06-01T00:00+02:00"],
        "a zone in rows 0, 2, as '2024-05-31T10:00Z', and none in rows 1, as '2024-05-31 10:30'",
    ),
    "a day": (
        ["2024-05-31 10:00:00.5+0200", "2024-05-31"],
        "a zone in rows 0, as '2024-05-31 10:00:00.5+0200', and none in rows 1",
    ),
}


@pytest.mark.parametrize("kind", ZONES)
def test_times_with_a_zone_beside_others_are_refused_with_their_rows(kind):
    cells, said = ZONES[kind]
    with pytest.raises(ConfigError, match="write all of them with one, or none") as error:
        moments("data=a.csv", "when", pd.Series(cells, dtype=object))
    assert said in str(error.value)


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-05-31T10:00Z", "2024-05-31T10:00-03:30", "2024-05-31 10:00:00.123+02"],
        ["2024-05-31", "2024-05-31 10:00", "2024-06-01T10", "2024-06"],
        ["2024-05-31T10:00:00", "2024-06-01 10:00:00.123456"],
    ],
)
def test_times_that_all_have_a_zone_or_none_are_taken(cells):
    assert len(moments("data=a.csv", "when", pd.Series(cells, dtype=object)).values) == len(cells)


DAYS = [f"2024-05-{day:02}" for day in range(1, 29)]
ODD_TIMES = {
    "the end of time": (
        [*DAYS, "9999-12-31"],
        "when is 9999-12-31, as where no time is known, in 1 rows (28): they come after",
    ),
    "of a spreadsheet": (
        ["1900-01-01", *DAYS, "1900-01-01"],
        "when is 1900-01-01, as where no time is known, in 2 rows (0, 29): they come before",
    ),
    "of a computer": (
        [*DAYS, *["1970-01-01T00:00"] * 12],
        "when is 1970-01-01, as where no time is known, in 12 rows (28, 29",
    ),
    "in words of a format": ([*(f"{day}.05.2024" for day in range(10, 29)), "31.12.9999"], "when is 9999-12-31"),
    "seconds": (
        [1.7e9, 1.7e9 + 50, 0, -1, 0],
        "when is 0, as where no time is known, in 2 rows (2, 4): they come before",
    ),
    "whole dates": ([20240501, 20240502, 99991231], "when is 99991231"),
    "to come": (
        [*DAYS, "2099-12-31", "2099-12-31"],
        "when is 2099-12-31, as where no time is known, in 2 rows (28, 29)",
    ),
    "long to come": ([*DAYS, "2999-01-01 00:00:00"], "when is 2999-01-01, as where no time is known"),
    "whole dates to come": ([20240501, 20240502, 21000101], "when is 21000101"),
}


@pytest.mark.parametrize("kind", ODD_TIMES)
def test_times_that_stand_for_none_are_told(kind):
    cells, said = ODD_TIMES[kind]
    assert any(line.startswith(said) for line in odd_times("when", [pd.Series(cells, dtype=object)], None))


@pytest.mark.parametrize(
    "cells",
    [
        DAYS,
        ["1969-12-30", "1969-12-31", "1970-01-01", "1970-01-02"],
        ["1899-12-31", "1900-01-01", "1900-01-01", "1900-01-02"],
        [0, 1, 2, 3],
        [-1, 0, 1],
        ["1970-01-01"] * 3,
        [1970, 1900, 2024],
        [f"{year}-06-30" for year in range(2000, 2101)],
        [f"{year}-06-30" for year in range(2091, 2101)],
        [20950101, 30950101, 50950101],
    ],
)
def test_times_among_their_like_are_not_told(cells):
    assert odd_times("when", [pd.Series(cells, dtype=object)], None) == []
