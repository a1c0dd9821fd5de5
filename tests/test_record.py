"""A record that was acknowledged is on the disk, whatever was torn before or after it."""

import dataclasses
import math

import pytest

from harness import record
from harness.record import Record


def make(number: int, **changes) -> Record:
    """A complete record with plausible figures."""
    values = {
        "study": "s",
        "trial": number,
        "arm": "rank=1",
        "point": {"optimizer.lr": 1e-3},
        "objective": "accuracy",
        "state": "complete",
        "reason": "",
        "fingerprint": f"{number:016x}",
        "task": "t",
        "model": "m",
        "lora": {"name": "lora", "rank": 1, "alpha": 2.0, "scale": 2.0, "targets": ["query"], "dropout": 0.0},
        "optimizer": {"lr": 1e-3, "head_lr": None},
        "params": {"adapter": 10, "head": 2, "other": 0, "frozen": 88, "total": 100},
        "memory": {"process": 100, "train_peak": 1000, "eval_peak": 900, "kind": "resident set"},
        "time": {"step_median_s": 0.1, "examples_per_s": 10.0, "train_s": 1.0, "total_s": 2.0},
        "scores": {"val": {"accuracy": 0.8, "loss": 0.5}, "test": {"accuracy": 0.79, "loss": 0.5}},
        "steps": {"planned": 8, "made": 8, "best": 8},
        "seeds": {"trial": 0, "split": 0},
        "versions": {},
        "source": {},
        "data": {"name": "t", "source": "x", "rows": {"train": 10, "validation": 5, "test": 100}},
        "base": {"name": "m"},
        "hardware": {},
        "adapter": {"path": f"trials/{number:04d}/adapter"},
        "command": "python -m harness",
    }
    return Record(**(values | changes))


def test_records_come_back_as_they_went_in(tmp_path):
    written = [make(number, reason="an é and a\nnew line") for number in range(3)]
    for entry in written:
        record.append(tmp_path, entry)
    assert record.read(tmp_path) == written


@pytest.mark.parametrize("cut", [1, 7, 200])
def test_a_torn_last_line_costs_that_line_only(tmp_path, cut):
    record.append(tmp_path, make(0))
    record.append(tmp_path, make(1))
    path = tmp_path / record.RECORDS
    path.write_bytes(path.read_bytes()[:-cut])
    assert record.read(tmp_path) == [make(0)]
    record.append(tmp_path, make(2))
    assert record.read(tmp_path) == [make(0), make(2)]


def test_a_number_that_is_none_is_refused_and_nothing_is_written(tmp_path):
    bad = dataclasses.replace(make(0), scores={"val": {"loss": math.nan}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.append(tmp_path, bad)
    assert record.read(tmp_path) == []


def test_a_trial_with_a_number_that_is_none_failed_and_its_other_numbers_stay(tmp_path):
    good = make(0)
    assert record.fail_if_not_finite(good) is good
    bad = dataclasses.replace(
        good, probe={"before": 2.5, "after": math.inf}, merge={"error": math.nan}, reason="stopped"
    )
    told = record.fail_if_not_finite(bad)
    assert (told.state, told.probe, told.merge) == ("fail", {"before": 2.5}, {})
    assert told.reason == "stopped; diverged: merge.error is nan, probe.after is inf"
    assert dataclasses.replace(
        told, state=good.state, reason="", probe=good.probe, merge=good.merge
    ) == dataclasses.replace(good, reason="")
    record.append(tmp_path, told)
    assert record.read(tmp_path) == [told]
    rows = dataclasses.replace(
        good, reports=[[1, 0.5], [2, math.nan]], sequence={"test": [[math.inf, 0.1], [0.2, 0.3]]}
    )
    told = record.fail_if_not_finite(rows)
    assert (told.reports, told.sequence) == ([[1, 0.5]], {"test": [[0.2, 0.3]]})
    assert told.reason == "diverged: sequence.test[0][0] is inf, reports[1][1] is nan"
