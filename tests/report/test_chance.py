"""What is scored without having learned anything, beside what was trained, in the study's own measure."""

import dataclasses

import pytest

from harness import record
from harness.report.chance import chance, constant
from harness.report.page import report_for_terminal, write_report
from tests.test_record import make

SAID = "always answering the most frequent class, yes"
SCORED = {
    SAID: {"validation": {"accuracy": 0.66, "f1": 0.79}, "test": {"accuracy": 0.67, "f1": 0.8012}},
    "always answering the class no": {
        "validation": {"accuracy": 0.34, "f1": 0.0},
        "test": {"accuracy": 0.33, "f1": 0.0},
    },
}


def entry(number, arm, objective, score, details, **parts):
    made = make(number, arm=arm, objective=objective, scores={split: {objective: score} for split in ("val", "test")})
    return dataclasses.replace(made, data=dataclasses.replace(made.data, details=details), **parts)


def test_it_stands_in_the_measure_of_the_study(tmp_path):
    for number, arm in enumerate(("full", "rank=4")):
        record.append(tmp_path, entry(number, arm, "f1", 0.85, {"constants": SCORED, "majority": {"test": 0.67}}))
    text, printed = write_report(tmp_path), report_for_terminal(tmp_path, 100)
    sentence = "Always answering the most frequent class, yes, has a test F1 of 0.8012."
    assert sentence in text
    assert sentence in " ".join(printed.split())
    assert sentence in (tmp_path / "report.html").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| (the most frequent class, yes)"))
    header = next(line for line in text.splitlines() if line.startswith("| arm"))
    cells = dict(zip(map(str.strip, header.split("|")), map(str.strip, row.split("|")), strict=True))
    assert (cells["val f1"], cells["test f1"]) == ("0.7900", "0.8012")
    assert [line.split()[-2:] for line in printed.splitlines() if line.startswith("(the most frequ")]
    assert "0.8012" in printed.partition("arm ")[2]


@pytest.mark.parametrize(("measure", "best"), [("accuracy", SAID), ("mae", "the median"), ("r2", "the mean")])
def test_the_best_on_validation_is_shown(measure, best):
    numbers = {
        "the mean": {"validation": {"mae": 2.0, "r2": -0.01}, "test": {"mae": 1.0, "r2": -0.5}},
        "the median": {"validation": {"mae": 1.9, "r2": -0.2}, "test": {"mae": 3.0, "r2": 0.0}},
    }
    scored = SCORED if measure == "accuracy" else numbers
    found = constant(entry(0, "full", measure, 0.5, {"constants": scored}))
    assert found.said == best
    assert found.test == scored[best]["test"][measure]


def test_of_a_measure_that_no_constant_answer_has_a_score_by_the_others_are_said():
    made = entry(0, "full", "perplexity", 9.0, {"constants": {"copying the source": {"test": {"chrf": 20.0}}}})
    assert constant(made) is None
    assert chance(made) == ""
    before = entry(0, "full", "loss", 9.0, {"copy": {"validation": 19.0, "test": 20.0}})
    assert chance(before) == "Copying the source has a test chrF of 20.0000. "


def test_records_of_before_have_it_in_one_measure_alone():
    details = {"majority": {"class": "yes", "validation": 0.66, "test": 0.67}}
    assert constant(entry(0, "full", "accuracy", 0.5, details)).test == 0.67
    assert constant(entry(0, "full", "f1", 0.5, details)) is None
    assert "test accuracy of 0.6700" in chance(entry(0, "full", "f1", 0.5, details))


def test_of_a_study_of_before_that_was_resumed_the_records_that_have_all_of_them_are_asked(tmp_path):
    before = {"usual_labels": {"labels": ["c"], "validation": 0.2, "test": 0.23}}
    after = {
        "constants": {"always answering every label": {"validation": {"f1_micro": 0.6}, "test": {"f1_micro": 0.57}}}
    }
    for number, (arm, details) in enumerate((("rank=1", before), ("rank=2", before | after))):
        record.append(tmp_path, entry(number, arm, "f1_micro", 0.4, details))
    text = write_report(tmp_path)
    assert "Always answering every label has a test F1 (micro) of 0.5700." in text
    assert "| (every label)" in text
    assert "0.2300" not in text
