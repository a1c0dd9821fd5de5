"""Arms of trials that write answers, or choose among options, are compared item by item."""

import csv
import dataclasses

import pytest

from harness.report.score_matrices import score_items
from harness.report.statistics import mcnemar_exact, wilson_interval
from harness.report.table import arm_results, outcomes
from tests.test_record import make

RIGHT = {"a": [1, 1, 1, 1, 1, 1, 1, 1, 0, 1], "b": [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]}


def write(path, rows):
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


@pytest.fixture(params=["answer_accuracy", "accuracy_norm"])
def study(request, tmp_path):
    records = []
    for number, (arm, right) in enumerate(RIGHT.items()):
        place = tmp_path / f"trials/000{number}"
        place.mkdir(parents=True)
        share = sum(right) / len(right)
        scores = {split: {request.param: share, "loss": 1.0} for split in ("val", "test")}
        entry = make(number, arm=arm, objective=request.param, scores=scores)
        records.append(entry)
        # The other file says the contrary of each item.
        wrong = [1 - hit for hit in right]
        chosen, written = (right, wrong) if request.param == "accuracy_norm" else (wrong, right)
        usual = {"label": 1.0, "predicted": 0.0, "loss": 1.0, "tokens": 2}
        write(place / "predictions.csv", [{**usual, "predicted_norm": float(hit)} for hit in chosen])
        write(place / "written.csv", [{"row": row, "chrf": 0.0, "right": hit} for row, hit in enumerate(written)])
    return records, tmp_path


def test_the_paired_test_is_mcnemars_on_the_same_items(study):
    records, folder = study
    best, other = arm_results(records, folder)
    assert (best.verdict, other.verdict) == ("best on validation", "lower")
    expected = mcnemar_exact(list(map(bool, RIGHT["b"])), list(map(bool, RIGHT["a"])))
    assert other.p == pytest.approx(expected)
    assert expected < 0.05
    assert outcomes(records[0], folder) == RIGHT["a"]
    assert score_items(records[1], folder) == RIGHT["b"]


def test_the_interval_is_over_the_items_that_were_answered(study):
    records, folder = study
    rows = len(RIGHT["a"])
    if records[0].objective == "accuracy_norm":
        data = dataclasses.replace(records[0].data, rows={"train": 5, "validation": 7, "test": rows})
        records = [dataclasses.replace(entry, data=data) for entry in records]
    assert arm_results(records, folder)[0].interval == wilson_interval(0.9, rows)
