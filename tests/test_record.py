"""A record that was acknowledged is on the disk, whatever was torn before or after it; and it is as it was written."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import record
from harness.record import Continual, ContinualSummary, Merge, Probe, Record


def make(number: int, **changes) -> Record:
    """A complete record with plausible figures; a section is changed as a whole, given as JSON has it."""
    values = {
        "study": "s",
        "trial": number,
        "arm": "rank=1",
        "point": {"optimizer.lr": 1e-3},
        "objective": "accuracy",
        "state": "complete",
        "fingerprint": f"{number:016x}",
        "task": "t",
        "model": "m",
        "lora": {"name": "lora", "rank": 1, "alpha": 2.0, "scale": 2.0, "targets": ["query"]},
        "optimizer": {"lr": 1e-3, "head_lr": None},
        "parameters": {"adapter": 10, "head": 2, "other": 0, "frozen": 88, "total": 100},
        "memory": memory(process=100, train_peak=1000, eval_peak=900),
        "time": {"step_median_s": 0.1, "examples_per_s": 10.0, "train_s": 1.0, "total_s": 2.0},
        "scores": {"val": {"accuracy": 0.8, "loss": 0.5}, "test": {"accuracy": 0.79, "loss": 0.5}},
        "steps": {"planned": 8, "made": 8, "best": 8},
        "data": {"name": "t", "source": "x", "rows": {"train": 10, "validation": 5, "test": 100}},
        "base": {"name": "m"},
        "adapter": {"path": f"trials/{number:04d}/adapter"},
        "command": "python -m harness",
    }
    assert changes.keys() <= Record.__dataclass_fields__.keys()
    return Record.read(values | changes)


def memory(**known) -> dict:
    """Memory whose components add up to the peak."""
    held = sum(known.get(name, 0) for name in ("process", "parameters", "gradients", "optimizer"))
    return {"kind": "resident set"} | known | {"activations": known["train_peak"] - held}


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
        good, probe=Probe(before=2.5, after=math.inf), merge=Merge(max_logit=math.nan), reason="stopped"
    )
    told = record.fail_if_not_finite(bad)
    assert (told.state, told.probe, told.merge) == ("fail", Probe(before=2.5), Merge())
    assert told.reason == "stopped; diverged: merge.max_logit is nan, probe.after is inf"
    assert dataclasses.replace(
        told, state=good.state, reason="", probe=good.probe, merge=good.merge
    ) == dataclasses.replace(good, reason="")
    record.append(tmp_path, told)
    assert record.read(tmp_path) == [told]
    rows = dataclasses.replace(
        good, reports=[[1, 0.5], [2, math.nan]], continual=Continual(test=[[math.inf, 0.1], [0.2, 0.3]])
    )
    told = record.fail_if_not_finite(rows)
    assert (told.reports, told.continual) == ([[1, 0.5]], Continual(test=[[0.2, 0.3]]))
    assert told.reason == "diverged: continual.test[0][0] is inf, reports[1][1] is nan"
    whole = dataclasses.replace(good, continual_summary=ContinualSummary(acc=0.5, bwt=math.nan, kept=3))
    told = record.fail_if_not_finite(whole)
    assert (told.continual_summary, told.reason) == (ContinualSummary(), "diverged: continual_summary.bwt is nan")


CASES = Path(__file__).parent / "cases"


def leaves(tree: object, name: str = "") -> dict[str, object]:
    """Every value of a tree that is not itself a mapping, by its dotted name."""
    if not isinstance(tree, dict):
        return {name: tree}
    return {key: leaf for part, value in tree.items() for key, leaf in leaves(value, f"{name}.{part}").items()}


@pytest.mark.parametrize("study", ["parent_study", "parent_continual", "parent_mixture"])
def test_records_without_a_version_are_read_with_every_value(study):
    lines = [json.loads(line) for line in (CASES / study / record.RECORDS).read_text().splitlines()]
    entries = harness.read(CASES / study)
    assert [entry.trial for entry in entries] == [line["trial"] for line in lines]
    for entry, line in zip(entries, lines, strict=True):
        now = list(leaves(json.loads(record.to_json(entry))).values())
        for name, value in leaves(line).items():
            if value is None or value in ([], {}):
                continue  # what was not reached is left out
            assert value in now, name
            now.remove(value)
        assert entry.schema_version == record.VERSION
        assert record.from_tree(json.loads(record.to_json(entry))) == entry


def test_a_study_of_the_earlier_layout_is_read_in_its_sections():
    entries = {entry.trial: entry for entry in harness.read(CASES / "parent_study")}
    states = [entry.state for entry in entries.values()]
    assert {state: states.count(state) for state in states} == {"complete": 6, "pruned": 3, "fail": 3}
    first, vera, wild = entries[0], entries[3], entries[2]
    assert (first.lora.rank, first.lora.scale, first.lora.settings["dropout"]) == (1, 2.0, 0.0)
    assert (first.parameters.adapter, first.parameters.trainable) == (128, 162)
    assert set(first.adapter.ranks.values()) == {1}
    assert first.provenance.inputs["device"] == "cpu"
    assert first.provenance.hardware["threads"] == 1
    assert (vera.lora.name, vera.lora.settings) == ("peft", {"method": "VERA", "r": 4})
    assert wild.reason.startswith("diverged: ")
    assert (wild.adapter.path, bool(wild.merge)) == ("", False)
    (mixed,) = [entry for entry in harness.read(CASES / "parent_mixture") if entry.arm == "mtlora"]
    assert sum(mixed.parameters.groups.values()) == mixed.parameters.adapter
    assert mixed.data.tasks["size"].details["mean"] == pytest.approx(0.5)


@pytest.mark.parametrize("line", (CASES / "parent_continual" / record.RECORDS).read_text().splitlines())
def test_the_figures_of_continual_tasks_have_continual_keys_of_former_records_too(line):
    """Former records, columns and trackers had them under `sequence`, which is of tokens."""
    tree = json.loads(line)
    figures = {name: tree["sequence"][name] for name in ("acc", "bwt", "fwt", "forgetting", "new", "overlap", "kept")}
    entry = record.from_tree(tree)
    row, summary = record.row(entry), record.tracked(entry)
    assert {name: row[f"continual_{name}"] for name in figures} == figures
    assert {name: summary[f"continual/{name}"] for name in figures} == figures
    assert not [name for name in (*row, *summary) if name.startswith("sequence")]


def test_a_record_of_a_later_layout_says_that_this_code_is_too_old(tmp_path):
    with pytest.raises(ValueError, match=f"schema version {record.VERSION + 1}: .* reads up to {record.VERSION}"):
        record.from_tree({"schema_version": record.VERSION + 1})


def test_a_key_that_this_code_does_not_know_is_left_out():
    tree = json.loads(record.to_json(make(0)))
    tree["memory"]["swap"] = 1
    assert record.from_tree(tree | {"carbon": {"g": 3}}) == make(0)


def test_groups_that_do_not_add_up_are_an_error():
    with pytest.raises(AssertionError, match="parameters"):
        make(0, parameters={"adapter": 1, "head": 2, "total": 4})
    with pytest.raises(AssertionError, match="tasks"):
        make(0, parameters={"adapter": 1, "total": 1, "groups": {"shared": 1, "a": 1}})
    with pytest.raises(AssertionError, match="memory"):
        make(0, memory={"process": 1, "train_peak": 3})


def test_what_a_trial_did_not_reach_is_in_no_file_and_no_column():
    early = Record.read({"study": "s", "trial": 0, "arm": "a", "objective": "loss", "state": "fail"} | LABELS)
    tree = json.loads(record.to_json(early))
    assert not tree.keys() & {"parameters", "memory", "merge", "continual", "adapter"}
    table = record.Records([early]).frame()
    assert not {"params_total", "memory_train_peak", "continual_acc"} & set(table.columns)
    assert {"rank", "lr", "state"} <= set(table.columns)


LABELS = {"task": "t", "model": "m", "reason": "diverged: x"}


def test_every_number_of_a_section_is_in_the_record_the_table_and_the_summary():
    entry = make(0, merge={"max_logit": 0.5}, steps={"planned": 8, "made": 7, "best": 6, "resumed": 5})
    row = record.Records([entry]).frame().iloc[0]
    summary = record.tracked(entry)
    tree = json.loads(record.to_json(entry))
    assert row["memory_train_peak"] == summary["memory/train_peak"] == tree["memory"]["train_peak"] == 1000
    assert row["merge_max_logit"] == summary["merge/max_logit"] == tree["merge"]["max_logit"] == 0.5
    assert row["steps_resumed"] == summary["steps/resumed"] == tree["steps"]["resumed"] == 5
    assert row["trainable"] == summary["params/trainable"] == tree["parameters"]["trainable"] == 12
    assert row["val_accuracy"] == summary["val/accuracy"] == tree["scores"]["val"]["accuracy"] == 0.8


def test_records_are_read_without_torch_and_a_folder_without_any_is_named(tmp_path):
    code = f"import harness, sys; harness.read({str(CASES / 'parent_study')!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert harness.__version__
    with pytest.raises(FileNotFoundError, match="nothing/records.jsonl"):
        harness.read(tmp_path / "nothing")
