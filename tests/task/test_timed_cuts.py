"""Tags, questions and transcripts: the latest rows are held out, and times that stand for none are told."""

import json

import numpy as np
import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.summary import summary
from tests.conftest import write_wav

ROWS = 60
ORDER = np.random.default_rng(0).permutation(ROWS).tolist()  # of rows in the file, by their times


def day(place):
    return f"{1 + place % 28}.{1 + place // 28}.2020"


def tags(folder, times):
    rows = [
        {"tokens": ["see", f"n{row}", f"m{row * row}"], "tags": ["O", "B-X", "I-X"], "when": when}
        for row, when in enumerate(times)
    ]
    return _lines(folder, rows)


def questions(folder, times):
    rows = [
        {
            "question": f"who is n{row}",
            "context": f"here is m{row * row} of n{row}",
            "answers": f"m{row * row}",
            "when": when,
        }
        for row, when in enumerate(times)
    ]
    return _lines(folder, rows)


def transcripts(folder, times):
    lines = ["audio,text,client_id,when"]
    for row, when in enumerate(times):
        write_wav(folder / f"{row}.wav", np.random.default_rng(row).normal(0, 900, 4000 + 40 * row), rate=16_000)
        lines.append(f"{row}.wav,this is {row},who{row % 3},{when}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return folder / "rows.csv"


def _lines(folder, rows):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


TASKS = {
    "token_labels": (tags, ["trainer.objective=f1"]),
    "extractive_qa": (questions, ["trainer.objective=f1"]),
    "transcripts": (transcripts, ["model=whisper_base", "model.language=en", "trainer.objective=wer"]),
}


@pytest.fixture
def config_of(compose_plain, tmp_path):
    def go(kind, times, *words):
        write, more = TASKS[kind]
        data = write(tmp_path, times)
        shares = ["task.validation_share=0.1", "task.test_share=0.2"]
        return compose_plain(f"task={kind}", f"task.data={data}", *shares, *more, *words).task

    return go


def rows_in(task, kind):
    """The places of rows in time, by split."""
    known = task.findings().kept
    first = 1 if kind == "token_labels" or kind == "extractive_qa" else 0
    return {split: {ORDER.index(int(name.removesuffix(".wav")) - first) for name in known[split]} for split in known}


def written(place_to_text):
    times = [""] * ROWS
    for place, row in enumerate(ORDER):
        times[row] = place_to_text(place)
    return times


@pytest.mark.parametrize("kind", TASKS)
def test_the_latest_rows_are_held_out(kind, config_of):
    task = read_task(config_of(kind, written(day), "task.time=when"))
    assert rows_in(task, kind) == {
        "train": set(range(42)),
        "validation": set(range(42, 48)),
        "test": set(range(48, 60)),
    }
    assert task.findings().format["test.time"] == f"{day(48)} to {day(59)}, read as %d.%m.%Y"


@pytest.mark.parametrize("kind", TASKS)
def test_times_whose_order_is_not_certain_are_refused_or_settled(kind, config_of):
    months = written(lambda place: f"{1 + place % 12:02}.{2015 + place // 12}")
    with pytest.raises(ConfigError, match=r"when, as .* may be months and not numbers"):
        read_task(config_of(kind, months, "task.time=when"))
    task = read_task(config_of(kind, months, "task.time=when", "task.time_format='%m.%Y'"))
    assert rows_in(task, kind)["test"] == set(range(48, 60))


@pytest.mark.parametrize("kind", TASKS)
def test_times_that_stand_for_none_are_told(kind, config_of):
    times = written(lambda place: "31.12.9999" if place == 59 else day(place))
    lines = summary(read_task(config_of(kind, times, "task.time=when")), None)
    assert any(
        line.startswith("to be looked at: when is 9999-12-31, as where no time is known, in 1 rows") for line in lines
    )


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("token_labels", ["task.group=by"], "task.group=by task.time=when: splits are cut by one of them"),
        ("extractive_qa", ["task.group=by"], "task.group=by task.time=when: splits are cut by one of them"),
        ("transcripts", ["task.speaker=client_id"], "task.speaker=client_id task.time=when: splits are cut by one"),
        ("transcripts", ["task.time_format=when"], "task.time_format=when: no part of a time in it"),
    ],
)
def test_what_is_at_odds_with_times_is_refused(kind, words, said, config_of):
    with pytest.raises(ConfigError, match=said):
        config_of(kind, written(day), "task.time=when", *words)


def test_lines_of_tokens_have_no_times(compose_plain, tmp_path):
    (tmp_path / "a.conll").write_text("a B-X\n\nb O\n")
    config = compose_plain(
        "task=token_labels", f"task.data={tmp_path}/a.conll", "trainer.objective=f1", "task.time=when"
    )
    with pytest.raises(ConfigError, match="task.time=when: .* has a token a line, and no column of times"):
        read_task(config.task)


@pytest.mark.parametrize(
    ("years", "rule"),
    [
        ([2019] * 20 + [2020] * 20, "2019 of 20 rows, 2020 of 20 rows; task.time=null draws the rows"),
        ([2020] * 40, "2020 of 40 rows; task.time=null draws the rows"),
        ([2018] * 20 + [2019] * 2 + [2020] * 18, "; a smaller task.validation_share or task.test_share"),
    ],
)
def test_too_few_times_are_said_and_the_key_works(compose_plain, tmp_path, years, rule):
    lines = [f"n{i} m{i * i} here,{'ab'[i % 2]},{year}" for i, year in enumerate(years)]
    (tmp_path / "a.csv").write_text("text,label,year\n" + "\n".join(lines) + "\n")
    words = ["task=text_csv", f"task.data={tmp_path}/a.csv", "task.time=year", "task.validation_share=0.2"]
    with pytest.raises(ConfigError, match="none is left to train on: rows of one time stay together") as error:
        read_task(compose_plain(*words).task)
    assert rule in str(error.value)
    key = "task.time=null" if "null" in rule else "task.validation_share=0.02"
    assert len(read_task(compose_plain(*words, key).task).names("train"))
