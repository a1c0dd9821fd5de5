"""Rows that are to be predicted are all read as those of training are, or refused by their numbers."""

import json
import wave
from types import SimpleNamespace

import pytest
from PIL import Image

from harness.commands import predict
from harness.config import ConfigError
from harness.task.intake.asked import asked_table
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


def test_lines_of_conversations_are_asked_but_blank_ones(chat_task, tmp_path):
    (tmp_path / "a.txt").write_bytes("größe\n\nzwei\n".encode("cp1252"))
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
    assert [name for name, _ in named_recordings(config, tmp_path / "a.txt")] == ["b.wav", "b.wav"]
    (tmp_path / "b.csv").write_text('audio\nb.wav\n""\nc.wav\n')
    with pytest.raises(ConfigError, match=r"row 3: no recording is named, row 4: c\.wav: no such file"):
        named_recordings(config, tmp_path / "b.csv")


NOT_READ = {
    "a.png": "1 images cannot be read (row 1: a.png: is no image that can be read)",
    "a.heic": "1 images cannot be read (row 1: a.heic: is no image that can be read)",
    "a.csv": "2 images cannot be read (row 2: gone.png: no such file, row 4: a.png: is no image that can be read)",
    "gap.csv": "no image in 2 rows (2, 4)",
    "none.csv": "task.image: none.csv: no column is named image",
    "empty.csv": "no images in it",
    "a.txt": "1 images cannot be read (row 2: gone.png: no such file)",
    "gap.txt": "1 images cannot be read (row 3: gone.png: no such file)",
    "gone": "no such file",
    "folder": "no images in it",
}


@pytest.mark.parametrize("name", NOT_READ)
def test_images_that_cannot_be_read_are_refused_by_name(name, compose_plain, run_here, monkeypatch, tmp_path):
    config = compose_plain("task=image_folder", "model=efficientnet_lite0", "lora.targets=[conv]", "task.data=x")
    monkeypatch.setattr(trained, "find_trained", lambda *_: SimpleNamespace(config=config))
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "good.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.md").write_text("a")
    for made, content in {
        "a.png": "no image",
        "a.heic": "no image",
        "a.csv": "image,n\ngone.png,1\ngood.png,2\na.png,3\n",
        "gap.csv": "image,n\n,1\ngood.png,2\n,3\n",
        "none.csv": "n,m\n1,2\n",
        "empty.csv": "image,n\n",
        "a.txt": "good.png\ngone.png\n",
        "gap.txt": "good.png\n\ngone.png\n",
    }.items():
        (tmp_path / made).write_text(content)
    code, _, said = run_here("run=predict", "study=s", "results=.", f"input={name}", "output=out.csv")
    assert (code, NOT_READ[name] in said) == (2, True), said
    assert not (tmp_path / "out.csv").exists()


def test_answers_for_each_pixel_are_said_not_to_be_predicted(compose_plain, run_here, monkeypatch):
    task = SimpleNamespace(predictor=None, name="dense_folder")
    monkeypatch.setattr(trained, "find_trained", lambda *_: SimpleNamespace(config=SimpleNamespace(task=task)))
    monkeypatch.setattr(predict, "check_installed", lambda _: None)
    code, _, said = run_here("run=predict", "study=s", "results=.", "input=.", "output=out.csv")
    assert (code, "task=dense_folder answers for each pixel, which run=predict does not" in said) == (2, True)


def test_a_folder_of_texts_is_said_to_be_one(compose_plain, run_here, monkeypatch):
    made = SimpleNamespace(config=compose_plain("task=text_csv", "task.data=x"))
    monkeypatch.setattr(trained, "find_trained", lambda *_: made)
    command = ["run=predict", "study=s", "results=.", "output=out.csv"]
    assert "input=.: a folder, not a file" in run_here(*command, "input=.")[2]
    assert "input=gone.csv: no such file" in run_here(*command, "input=gone.csv")[2]


def test_tables_without_a_header_are_read_as_those_of_training(tmp_path):
    rows = [("a good film", "pos"), ("a bad film", "neg"), ("a good film", "pos")]
    lines = [",".join(row) for row in rows]
    columns = ["text", "label"]
    files = {
        "bare.csv": lines,
        "headed.csv": ["text,label", *lines],
        "other.csv": ["id,text", *(f"{number},{text}" for number, (text, _) in enumerate(rows))],
        "bare.tsv": ["\t".join(row) for row in rows],
    }
    for name, written in files.items():
        (tmp_path / name).write_text("\n".join(written) + "\n")
        table = asked_table(tmp_path / name, ["text"], encoding=None, separator=None, columns=columns)
        assert list(table.column("task.text", "text")) == [text for text, _ in rows], name
    (tmp_path / "few.csv").write_text("a good film\na bad film\n")
    with pytest.raises(ConfigError, match=r"input=.*few\.csv: row 1 has 1 fields, and task\.columns names 2"):
        asked_table(tmp_path / "few.csv", ["text"], encoding=None, separator=None, columns=columns)
