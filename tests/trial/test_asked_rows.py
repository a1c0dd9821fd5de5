"""Rows that are to be predicted are all read as those of training are, or refused by their numbers."""

import json
import wave
from types import SimpleNamespace

import pytest

from harness.config import ConfigError
from harness.task.own_transcripts import named_recordings
from harness.trial import trained
from harness.trial.predict_chats import read_chats
from harness.trial.predict_choices import read_questions
from harness.trial.predict_spans import read_questions as read_asked


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def chat_task(compose_plain):
    return compose_plain("task=chat", "model=smollm2_135m", "task.data=a.jsonl", "trainer.objective=loss").task


def user(text, **more):
    return {"role": "user", "content": text, **more}


TURNS = {
    "a turn without text in 2 rows (1, 3)": [[user("")], [user("a")], [user("a"), user(" ")]],
    "no turn of the user in 1 rows (2)": [[user("a")], [{"role": "assistant", "content": "b"}]],
    "1 conversations with roles that are none of system, user, assistant (rows 2)": [
        [user("a")],
        [{"role": "tool", "content": "b"}, user("a")],
    ],
}


@pytest.mark.parametrize("message", TURNS)
def test_conversations_that_cannot_be_answered_are_refused(message, chat_task, tmp_path):
    path = written(tmp_path / "a.jsonl", [{"messages": turns} for turns in TURNS[message]])
    with pytest.raises(ConfigError) as error:
        read_chats(chat_task, path)
    assert message in str(error.value)


def test_lines_of_conversations_are_all_asked(chat_task, tmp_path):
    (tmp_path / "a.txt").write_bytes("größe\n\nzwei\n".encode("cp1252"))
    with pytest.raises(ConfigError, match=r"no text in 1 rows \(2\)"):
        read_chats(chat_task, tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes("größe\nzwei\n".encode("cp1252"))
    assert [chat[-1]["content"] for chat in read_chats(chat_task, tmp_path / "a.txt")] == ["größe", "zwei"]


def test_what_else_a_message_has_is_not_read_as_in_training(chat_task, tmp_path):
    rows = [{"messages": [user("a", name="Ann")], "tools": []}, {"messages": [user("b")], "tools": ["t"]}]
    assert read_chats(chat_task, written(tmp_path / "a.jsonl", rows[:1])) == [[user("a")]]
    with pytest.raises(ConfigError, match=r"1 conversations with a list of tools \(rows 2\)"):
        read_chats(chat_task, written(tmp_path / "a.jsonl", rows))


def test_all_questions_with_a_gap_are_named(compose_plain, tmp_path):
    words = ["model=smollm2_135m", "task.data=a.jsonl", "trainer.objective=accuracy"]
    rows = [{"question": "", "options": ["a", "b"]}, {"question": "q", "options": ["a"]}, {"question": " "}]
    task = compose_plain("task=choice", *words, "task.options=[options]").task
    with pytest.raises(ConfigError, match=r"no question in 2 rows \(1, 3\); fewer than two options in 1 rows \(2\)"):
        read_questions(task, written(tmp_path / "a.jsonl", rows))
    rows = [{"question": "q", "context": ""}, {"question": "q", "context": "c"}, {"question": "q", "context": None}]
    task = compose_plain("task=extractive_qa", "task.data=a.jsonl", "trainer.objective=f1").task
    with pytest.raises(ConfigError, match=r"no context in 2 rows \(1, 3\)"):
        read_asked(task, written(tmp_path / "a.jsonl", rows))


def test_each_row_of_recordings_is_one_also_of_the_same(compose_plain, tmp_path):
    for name, sample in (("größe.wav", b"\1\0"), ("b.wav", b"\2\0")):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((sample + b"\0\1") * 8000)
    config = compose_plain("task=transcripts", "task.data=a.csv", "model=whisper_base", "trainer.objective=wer").task
    (tmp_path / "a.txt").write_bytes("größe.wav\nb.wav\nb.wav\n".encode("cp1252"))
    assert [name for name, _ in named_recordings(config, tmp_path / "a.txt")] == ["größe.wav", "b.wav", "b.wav"]
    (tmp_path / "a.txt").write_text("b.wav\n\nb.wav\n")
    with pytest.raises(ConfigError, match=r"no text in 1 rows \(2\)"):
        named_recordings(config, tmp_path / "a.txt")
    (tmp_path / "b.csv").write_text('audio\nb.wav\n""\nc.wav\n')
    with pytest.raises(ConfigError, match=r"row 3: no recording is named, row 4: c\.wav: no such file"):
        named_recordings(config, tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["task=image_folder", "model=efficientnet_lite0", "lora.targets=[conv]"], "images"),
        (["task=image_table", "model=efficientnet_lite0", "lora.targets=[conv]"], "images"),
        (["task=audio_folder", "model=lstm_speech", "lora.targets=all-linear"], "recordings"),
        (["task=audio_table", "model=lstm_speech", "lora.targets=all-linear"], "recordings"),
    ],
)
def test_images_and_recordings_of_classes_are_said_not_to_be_read(words, what, compose_plain, run_here, monkeypatch):
    made = SimpleNamespace(config=compose_plain(*words, "task.data=x"))
    monkeypatch.setattr(trained, "find_trained", lambda *_: made)
    for given in (".", "rows.csv"):  # a folder, a file that is not there
        code, _, said = run_here("run=predict", "study=s", "results=.", f"input={given}", "output=out.csv")
        assert (code, f"answers for {what}, which run=predict does not read: run=predict reads texts" in said) == (
            2,
            True,
        )


def test_a_folder_of_texts_is_said_to_be_one(compose_plain, run_here, monkeypatch):
    made = SimpleNamespace(config=compose_plain("task=text_csv", "task.data=x"))
    monkeypatch.setattr(trained, "find_trained", lambda *_: made)
    command = ["run=predict", "study=s", "results=.", "output=out.csv"]
    assert "input=.: a folder, not a file" in run_here(*command, "input=.")[2]
    assert "input=gone.csv: no such file" in run_here(*command, "input=gone.csv")[2]
