"""The front of several objectives in the report: what is on it, and what the noise of a score cannot tell from it."""

import json

import pytest

from harness.report.objectives import section
from tests.test_record import make

COST = {"trained_parameters": "minimize"}


def entry(number, accuracy, adapter, rows=10_000, objective="accuracy"):
    return make(
        number,
        scores={"val": {"accuracy": accuracy, "loss": 1 - accuracy, "f1": accuracy}},
        parameters={"adapter": adapter, "head": 2, "frozen": 1_000, "total": 1_002 + adapter},
        data={"name": "t", "source": "x", "rows": {"validation": rows}},
        objective=objective,
    )


@pytest.fixture
def said(tmp_path):
    """Of each trial in the table, what its last cell says."""

    def said(records, score="val", margin=0.01):
        lines = [f"    {name}: {way}" for name, way in ({score: "maximize"} | COST).items()]
        (tmp_path / "config.yaml").write_text("\n".join(["sweep:", "  objectives:", *lines]) + "\n")
        text = section(records, tmp_path, margin)
        rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
        return {int(row[1]): row[-2].strip() for row in rows if row[1].strip().isdigit()}, text

    return said


def test_points_that_are_equal_in_everything_are_both_on_the_front(said):
    found, _ = said([entry(0, 0.8, 100), entry(1, 0.8, 100), entry(2, 0.5, 10)])
    assert found == {0: "recommended, best, tie with 1", 1: "tie with the best, tie with 0", 2: ""}


@pytest.mark.parametrize("score", ["val", "val.accuracy"])
def test_a_point_that_is_beaten_by_less_than_its_interval_is_shown_as_a_tie(said, score):
    """Of 10,000 rows at 0.8 the interval is 0.0078 to either side."""
    records = [entry(0, 0.8, 100), entry(1, 0.79, 100), entry(2, 0.78, 100), entry(3, 0.79, 90), entry(4, 0.5, 9)]
    found, text = said(records, score, margin=0.001)
    assert found == {
        0: "recommended, best, tie with 3",
        3: "tie with the best",
        1: "not on the front, tie with the best, tie with 0",
        2: "not on the front, tie with 3",
        4: "",
    }
    assert "95 % intervals over validation items overlap" in text


@pytest.mark.parametrize(("score", "objective"), [("val.f1", "accuracy"), ("val", "f1")])
def test_of_a_score_that_is_no_share_of_rows_the_margin_tells(said, score, objective):
    points = [(0.8, 100), (0.795, 110), (0.78, 100)]
    found, text = said([entry(at, *point, objective=objective) for at, point in enumerate(points)], score)
    assert found == {0: "recommended, best", 1: "not on the front, tie with the best, tie with 0"}
    assert "their scores differ by 0.01 at most" in text


def test_of_many_ties_the_ten_best_are_shown_and_the_others_counted(said):
    found, text = said([entry(0, 0.8, 10), *(entry(at, 0.8 - at / 10_000, 10 + at) for at in range(1, 14))])
    assert list(found) == list(range(11))
    assert "3 more trials that are not on the front are ties" in text


@pytest.mark.parametrize(
    ("score", "bound", "records", "why"),
    [
        ("forgetting", None, [entry(0, 0.8, 10)], "No complete trial has forgetting"),
        ("val", None, [], "No trial is complete"),
        ("val", 5.0, [entry(0, 0.8, 10)], "No complete trial keeps the constraints"),
    ],
)
def test_why_there_is_no_front_is_said(tmp_path, score, bound, records, why):
    tree = {"objectives": {score: "maximize"} | COST, "constraints": bound and {"trained_parameters": bound}}
    (tmp_path / "config.yaml").write_text(json.dumps({"sweep": tree}))
    assert section(records, tmp_path, 0.01) == f"{why}: there is no front."
