"""Tables of recordings: files or what a table holds, every kind of answer, and what a folder of them is checked for."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.metrics import LabelSetMetrics, RegressionMetrics

WORDS = ["go", "stop", "left"]


def samples_of(row, rate=8000):
    return (np.random.default_rng(row).normal(0, 3000, rate // 4 + 10 * row)).astype(np.int16)


def rows_of(count=60):
    kinds = [json.dumps([name for place, name in enumerate("ab") if row >> place & 1]) for row in range(count)]
    return [
        {"path": f"{row}.wav", "label": WORDS[row % 3], "loud": row / 4, "kinds": kinds[row], "who": f"p{row % 20}"}
        for row in range(count)
    ]


@pytest.fixture
def table(tmp_path):
    (tmp_path / "clips").mkdir()
    for row in range(60):
        wavfile.write(tmp_path / "clips" / f"{row}.wav", 8000, samples_of(row))
    pd.DataFrame(rows_of()).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


@pytest.fixture
def read(compose_plain, own_cache):
    base = compose_plain("task=audio_table", "model=lstm_speech", "lora.targets=[lstm]").task
    return lambda path, **keys: read_task(replace(base, data=str(path), **keys))


def every(task):
    return {
        name: label for split in task.splits for name, label in zip(task.names(split), task.labels(split), strict=True)
    }


def test_every_row_is_in_one_split_with_its_own_label_and_samples(read, table):
    task = read(table)
    assert task.classes == ("go", "left", "stop")
    assert {name: task.classes[label] for name, label in every(task).items()} == {
        row["path"]: row["label"] for row in rows_of()
    }
    for split, part in task.splits.items():
        for name, samples in zip(task.names(split), part.samples, strict=True):
            assert (samples == samples_of(int(name.removesuffix(".wav")))).all()
        assert task.inputs(split, None).batch(range(3))["labels"].tolist() == list(task.labels(split)[:3])
    assert task.describe()["labels"]["test"] == [4, 4, 4]
    assert task.describe()["majority"]["test"] == pytest.approx(1 / 3)
    assert read(table).sha256 == task.sha256 != read(table, split_seed=1).sha256


def test_recordings_that_a_table_holds_are_the_files(read, table, tmp_path):
    cells = [{"bytes": (tmp_path / "clips" / row["path"]).read_bytes(), "path": row["path"]} for row in rows_of()]
    frame = pd.DataFrame({"audio": cells, "label": [row["label"] for row in rows_of()]})
    frame.to_parquet(tmp_path / "held.parquet")
    files, inside = read(table), read(tmp_path / "held.parquet")
    assert inside.sha256 == files.sha256
    assert every(inside) == every(files)


def test_numbers_and_several_labels(read, table):
    numbers = read(table, answer="number", label="loud")
    assert every(numbers) == {row["path"]: row["loud"] for row in rows_of()}
    assert isinstance(numbers.metrics(), RegressionMetrics)
    mean, sd = numbers.spread
    batch = numbers.inputs("train", None).batch(range(5))
    assert batch["labels"].tolist() == pytest.approx([(each - mean) / sd for each in numbers.labels("train")[:5]])
    sets = read(table, answer="labels", label="kinds")
    assert isinstance(sets.metrics(), LabelSetMetrics)
    found = {
        name: sets.label_sets(split)[place] for split in sets.splits for place, name in enumerate(sets.names(split))
    }
    assert found == {row["path"]: json.loads(row["kinds"]) for row in rows_of()}
    row = sets.inputs("test", None).batch([0])["labels"][0].tolist()
    assert [name for name, there in zip(sets.classes, row, strict=True) if there] == sets.label_sets("test")[0]


def test_a_speaker_is_in_one_split(read, table):
    task = read(table, group="who")
    who = {row["path"]: row["who"] for row in rows_of()}
    speakers = [{who[name] for name in task.names(split)} for split in task.splits]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 20


def test_what_cannot_be_heard_is_told_by_row_and_reason(read, table):
    (table.parent / "clips" / "4.wav").unlink()
    (table.parent / "clips" / "7.wav").write_bytes(b"")
    told = r"2 recordings cannot be read \(row 6: 4\.wav: .*, row 9: 7\.wav: not a readable WAV .*leave_out"
    with pytest.raises(ConfigError, match=told):
        read(table)
    task = read(table, gaps="leave_out")
    assert task.findings().left_out == {"unreadable": ["6", "9"]}
    assert len(every(task)) == 58


def test_the_same_recording_with_other_labels_is_refused_by_the_column_that_there_is(read, table):
    wavfile.write(table.parent / "clips" / "1.wav", 8000, samples_of(0))
    with pytest.raises(ConfigError, match=r"same recording with different labels.*task\.duplicates"):
        read(table)
    frame = pd.DataFrame(rows_of())
    frame.loc[3, "path"] = None
    frame.to_csv(table, index=False)
    with pytest.raises(ConfigError, match=r"1 rows have no path or no label \(rows 5\)"):
        read(table)


def test_columns_of_segments_are_said_not_to_be_read(read, table):
    rows = pd.DataFrame(rows_of()).assign(start=0.0, end=0.5)
    rows.to_csv(table, index=False)
    assert not any("not read" in said for said in read(table).facts.suspicious)
    rows.assign(start=0.25).rename(columns={"end": "Duration"}).to_csv(table, index=False)
    said = "columns start and Duration are not read: a row is the whole of its recording"
    assert read(table).facts.suspicious.count(said) == 1
    pd.concat([rows, rows.assign(start=0.5, end=1)]).to_csv(table, index=False)
    with pytest.raises(ConfigError, match=r"not read: .*, and 120 rows are of 60 recordings; write each segment"):
        read(table)
    names = {"start": "onset (s)", "end": "offset (s)"}
    pd.concat([rows, rows.assign(start=0.5, label="no")]).rename(columns=names).to_csv(table, index=False)
    with pytest.raises(ConfigError, match=r"columns onset \(s\) and offset \(s\) are not read"):
        read(table)
    rows = pd.concat([rows, rows.assign(start=0.5, end=1)])
    rows.to_csv(table, index=False)
    assert len(every(read(table, duplicates="first"))) == 60


def test_held_out_tables_that_share_recordings_are_refused(read, table):
    frame = pd.DataFrame(rows_of())
    frame[:50].to_csv(table, index=False)
    frame[40:].to_csv(table.parent / "test.csv", index=False)
    with pytest.raises(ConfigError, match=r"10 .*stand in train too|10 of 20"):
        read(table, test=str(table.parent / "test.csv"))


@pytest.mark.parametrize(("answer", "label"), [("class", "label"), ("number", "loud"), ("labels", "kinds")])
def test_a_trial_of_each_kind_of_answer(answer, label, table, tiny_voice_encoder, compose_plain, tmp_path, own_cache):
    from harness.trial import TrialContext
    from harness.trial.run import run_trial

    encoder = ["model.hidden=12", "model.layers=2", f"model.weights.address=path:{tiny_voice_encoder}"]
    trainer = ["model.weights.sha256=null", "lora.targets=[lstm]", "trainer.max_steps=3", "trainer.evaluations=1"]
    asked = {"class": "accuracy", "number": "rmse", "labels": "f1_micro"}[answer]
    own = [f"task.answer={answer}", f"task.label={label}", f"trainer.objective={asked}"]
    (tmp_path / "t").mkdir()
    data = ["task=audio_table", f"task.data={table}", "model=lstm_speech"]
    config = compose_plain(*data, *own, *encoder, *trainer)
    made = run_trial(config, TrialContext("s", 0, "arm", tmp_path / "t", test=True), lambda *_: False)
    assert (made.state, made.reason) == ("complete", "")
    assert asked in made.scores["test"]
    with open(tmp_path / "t" / "answers.csv", newline="") as file:
        answers = list(csv.DictReader(file))
    cells = {row["path"]: row[label] for row in rows_of()}
    for row in answers:
        wanted = cells[row["item"]]
        if answer == "number":
            assert float(row["label"]) == pytest.approx(wanted, rel=1e-5)
        else:
            assert row["label"] == wanted
