"""Numbers that people bring: their units, formats and odd ones."""
# ruff: noqa: E741

import dataclasses

import numpy as np
import pandas as pd
import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.intake.outliers import outliers
from tests.task.intake_inputs import NUMBERED, config_of, sentences, text_of, texts_of, written


def test_a_decimal_comma_is_read_and_told(make_task, tmp_path):
    data = written(tmp_path / "a.csv", text_of(NUMBERED, ";"))
    task = read_task(config_of(make_task, data=data, answer="number"))
    found = {t: l for split in task.splits.values() for t, l in zip(split.texts, split.labels, strict=True)}
    assert found == {text: float(label.replace(",", ".")) for text, label in NUMBERED}
    assert task.describe()["suspicious"] == ["train: the comma in numbers of label is read as a decimal point"]


THOUSANDS = [str(850 + 10 * i) if i < 15 else f"1.{10 * i - 150:03d}" for i in range(60)]
DECIMALS = {".": [float(number) for number in THOUSANDS], ",": [850.0 + 10 * i for i in range(60)]}


def values_of(task):
    return {t: l for split in task.splits.values() for t, l in zip(split.texts, split.labels, strict=True)}


@pytest.mark.parametrize(("mark", "suffix"), [(";", "csv"), ("\t", "tsv")])
def test_a_decimal_comma_with_three_digits_is_read_where_it_can_part_no_thousands(make_task, tmp_path, mark, suffix):
    rows = [(text, f"{number // 7},{number * 37 % 1000:03d}") for number, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / f"a.{suffix}", text_of(rows, mark)), answer="number")
    found = values_of(read_task(task))
    assert found == {text: float(number.replace(",", ".")) for text, number in rows}
    rows = [(text, f"{1 + int(number[0])}{number[1:]}") for text, number in rows]
    task = config_of(make_task, data=written(tmp_path / f"b.{suffix}", text_of(rows, mark)), answer="number")
    with pytest.raises(ConfigError, match=r"it may part thousands; 'task\.labels\.decimal=\",\"' reads it as decimal"):
        read_task(task)
    settled = dataclasses.replace(task, labels=dataclasses.replace(task.labels, decimal=","))
    assert values_of(read_task(settled)) == {text: float(number.replace(",", ".")) for text, number in rows}


@pytest.mark.parametrize("decimal", DECIMALS)
def test_points_that_may_part_thousands_are_refused_until_they_are_settled(make_task, tmp_path, decimal):
    rows = [(text, number) for (text, _), number in zip(sentences(), THOUSANDS, strict=True)]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows, ";")), answer="number")
    with pytest.raises(
        ConfigError, match=r"1\.000, may have thousands in 45 rows \(17, .*task\.labels\.decimal=\. reads"
    ):
        read_task(task)
    settled = read_task(dataclasses.replace(task, labels=dataclasses.replace(task.labels, decimal=decimal)))
    found = {t: l for split in settled.splits.values() for t, l in zip(split.texts, split.labels, strict=True)}
    assert found == {text: number for (text, _), number in zip(rows, DECIMALS[decimal], strict=True)}


@pytest.mark.parametrize(
    ("form", "said", "key"),
    [
        ("${}", "'$' before them", None),
        ("{} %", "'%' behind them", None),
        ("about {} kg", "'about' before them and 'kg' behind them", None),
        ("${:,}.50", "'$' before them", "."),
        ("-${}", "'$' before them", None),
    ],
)
def test_numbers_of_one_unit_are_read_in_it_and_told(make_task, tmp_path, form, said, key):
    rows = [(text, form.format(37 * place)) for place, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="number")
    task = read_task(dataclasses.replace(task, labels=dataclasses.replace(task.labels, decimal=key)))
    sign, rest = -1 if form[0] == "-" else 1, 0.5 if key else 0
    assert values_of(task) == {text: sign * (37 * place + rest) for place, (text, _) in enumerate(sentences())}
    assert f"train: numbers of label all have {said}, and are read in this unit" in task.describe()["suspicious"]


def test_splits_whose_numbers_are_of_two_units_are_refused(make_task, tmp_path):
    rows = [(text, f"{place}%") for place, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.csv", text_of(rows[:50]))
    test = written(tmp_path / "b.csv", text_of([(text, number.strip("%")) for text, number in rows[50:]]))
    with pytest.raises(ConfigError, match="are of 2 units: those of train have '%' behind them, test have no unit"):
        read_task(config_of(make_task, data=data, test=test, answer="number"))


ODD_NUMBERS = [
    ([f"{i + 1}.250" for i in range(60)], "the point in numbers of label, which all have three digits behind it, is a"),
    ([str(-999 if i % 9 == 0 else i / 10) for i in range(60)], "-999 (7 rows) is far from all other numbers of label"),
    ([str(9999 if i % 9 == 0 else i * 10) for i in range(60)], "9999 (7 rows) is far from all other numbers of label"),
    (
        [str({0: 77, 1: 88, 2: 99}.get(i % 20, i % 11)) for i in range(60)],
        "77 (3 rows), 88 (3 rows), 99 (3 rows) are far from all other numbers of label, as surveys write that there is",
    ),
]


@pytest.mark.parametrize(("numbers", "line"), ODD_NUMBERS)
def test_numbers_that_may_mean_another_are_told(make_task, tmp_path, numbers, line):
    rows = [(text, number) for (text, _), number in zip(sentences(), numbers, strict=True)]
    data = written(tmp_path / "a.csv", text_of(rows, ";"))
    told = read_task(config_of(make_task, data=data, answer="number")).describe()["suspicious"]
    assert told[0].startswith(f"train: {line}")


OUTLIERS = {
    "one": ({41: 9_999_999}, "a number is far from all other numbers of label (rows 43), as 9999999 in row 43"),
    "several": (
        {3: -9e9, 7: 2e5},
        "2 numbers are far from all other numbers of label (rows 5, 9), as -9000000000 in row 5",
    ),
    "huge": ({0: 1e38}, "a number is far from all other numbers of label (rows 2), as 1e+38 in row 2"),
}


@pytest.mark.parametrize("common", [lambda i: i % 18, lambda i: 0 if i % 3 else i % 17, lambda i: i / 7 - 3])
@pytest.mark.parametrize("case", OUTLIERS)
def test_a_number_that_is_far_from_all_others_is_told_with_its_row(make_task, tmp_path, case, common):
    far, line = OUTLIERS[case]
    rows = [(text, far.get(i, common(i))) for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="number")
    (told,) = read_task(task).describe()["suspicious"]
    assert told.startswith(f"train: {line}, where the median is ")


@pytest.mark.parametrize(
    ("code", "others"), [(-1, range(1, 52)), (99, [0, 1, 2, 3, 4] * 10), (0, [*range(21, 60)]), (-1, [0, 1, 2, 3] * 2)]
)
def test_a_number_that_stands_for_none_is_told_with_its_rows(code, others):
    (told,) = outliers("age", dict(enumerate([code] * 9 + list(others))))
    said = f"age is {code} in 9 rows (0, 1, 2, 3, 4, 5, 6, 7, 8), and from {min(others)} to {max(others)} in all others"
    assert told == f"{said}: does it stand for a number that is missing?"


@pytest.mark.parametrize(
    "numbers",
    [
        [-1, 0, 1] * 20,
        [-2, -1, 0, 1, 2] * 5,
        [-1] * 5 + [0, 1, 2, 3] * 5,
        [0] * 40 + [1, 2, 3, 4, 5, 9],
        [*range(90, 100)] * 3,
        [0, 25, 50, 75, 100] * 9,
    ],
)
def test_numbers_at_the_end_of_a_scale_are_not_told(numbers):
    assert outliers("score", dict(enumerate(map(float, numbers)))) == []


@pytest.mark.parametrize("shape", ["normal", "lognormal", "exponential", "uniform", "poisson"])
def test_numbers_of_usual_shapes_have_no_outlier(shape):
    for seed in range(20):
        draw = np.random.default_rng(seed)
        numbers = getattr(draw, shape)(size=2000)
        assert outliers("label", dict(enumerate(map(float, numbers)))) == []
    assert outliers("label", dict.fromkeys(range(9), 1.0)) == outliers("label", {}) == []


@pytest.mark.parametrize("step", [1, 0.25, 1000])
def test_letters_beside_numbers_stay_whole(make_task, tmp_path, step):
    rows = [(f"Dear {text},\nit was 3,000\nin all, 7\nyours", i * step) for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="number")
    assert texts_of(read_task(task)) == {text for text, _ in rows}


@pytest.mark.parametrize("step", [1, 0.25, 1000])
def test_usual_numbers_are_not_told(make_task, tmp_path, step):
    rows = [(text, (i - 30) * step) for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows, ";")), answer="number")
    assert "suspicious" not in read_task(task).describe()


def test_whole_numbers_with_a_gap_among_them_stay_whole(make_task, tmp_path):
    frame = pd.DataFrame(
        {"text": [t for t, _ in sentences()], "label": pd.array([None, *(i % 2 for i in range(59))], "Int64")}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    task = read_task(config_of(make_task, data=str(tmp_path / "a.parquet"), gaps="leave_out"))
    assert task.classes == ("0", "1")
    assert task.describe()["left_out"] == {"gaps": 1}


def test_a_held_out_file_on_another_scale_is_told(make_task, tmp_path):
    numbers = [(text, i % 10 / 10) for i, (text, _) in enumerate(sentences())]
    percents = [(f"quite another {text} of {i}", i % 10 * 10) for i, (text, _) in enumerate(sentences())]
    data, test = (written(tmp_path / f"{i}.csv", text_of(rows)) for i, rows in enumerate((numbers, percents)))
    task = read_task(config_of(make_task, data=data, test=test, answer="number"))
    (line,) = [line for line in task.describe()["suspicious"] if "same scale" in line]
    assert line.startswith("test: label is 0 to 90, median 50, and in train 0 to 0.9, median ")
