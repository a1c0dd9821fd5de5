"""run=predict says of the test rows what the trial itself said of them."""

import csv
import json
import re
import shutil
from types import SimpleNamespace

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, pipeline

from harness.commands.named_files import refuse_taken
from harness.config import ConfigError
from harness.task import build_task
from harness.trial.export import export_trial
from harness.trial.predict import predict, read_texts, write_predictions
from tests.model.small import WORDS, save_small
from tests.trial.test_export import trained  # noqa: F401  fixtures
from tests.trial.test_hf_trial import based_on, pairs, reviews  # noqa: F401


@pytest.mark.parametrize("way", [["lora.rank=2"], ["lora=full"], ["lora=norms"]])
def test_the_classes_are_those_of_the_trial(way, trained, reviews, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    made = trained(*reviews, *based_on(tmp_path / "base"), *way)
    split = build_task(made.config.task).splits["test"]
    rows = predict(made, split.texts)
    with open(made.folder / "predictions.csv", newline="") as file:
        said = list(csv.DictReader(file))
    assert [row[0] for row in rows] == [made.classes[int(each["predicted"])] for each in said]
    assert all(sum(row[1:]) == pytest.approx(1, abs=1e-5) for row in rows)


def test_two_texts_a_row_are_predicted_as_in_the_trial(trained, tmp_path):  # noqa: F811
    rows = [(WORDS[20 + i % 30], WORDS[60 + i % 7], "yes" if i % 2 else "no") for i in range(200)]
    lines = [f"{first} x{i},{second},{label}" for i, (first, second, label) in enumerate(rows)]
    (tmp_path / "a.csv").write_text("\n".join(["text,other,label", *lines]) + "\n")
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    words = ["task=text_csv", f"task.data={tmp_path}/a.csv", "task.text_pair=other", "task.max_length=32"]
    made = trained(*words, *based_on(tmp_path / "base"), "lora.rank=2")
    with open(made.folder / "answers.csv", newline="", encoding="utf-8") as file:
        said = list(csv.DictReader(file))
    held = [line for line in lines if f"{line.split(',')[0]} | {line.split(',')[1]}" in {row["item"] for row in said}]
    (tmp_path / "held.csv").write_text("\n".join(["text,other,label", *held]) + "\n")
    texts = read_texts(made, tmp_path / "held.csv")
    write_predictions(made, texts, predict(made, *texts), tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:
        found = {f"{row['text']} | {row['text_pair']}": row["predicted"] for row in csv.DictReader(file)}
    assert found == {row["item"]: row["predicted"] for row in said}
    (tmp_path / "mine.txt").write_text("w1\n")
    with pytest.raises(ConfigError, match=r"mine\.txt: task=text_csv reads two texts a row; a table of text and other"):
        read_texts(made, tmp_path / "mine.txt")


def untrained(config):
    """What reading and writing ask of a trial."""
    return SimpleNamespace(config=config, classes=("other", "own"))


def test_both_texts_are_read_where_a_task_without_columns_reads_two(compose_plain, tmp_path):
    made = untrained(compose_plain("task=code_docs"))
    path = tmp_path / "mine.csv"
    path.write_text("text_pair,text\nGo.,def go ( )\nStop.,def stop ( )\n")
    texts = read_texts(made, path)
    assert texts == (["def go ( )", "def stop ( )"], ["Go.", "Stop."])
    write_predictions(made, texts, [["own", 0.25, 0.75], ["other", 0.5, 0.5]], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "text,text_pair,predicted,p(other),p(own)",
        "def go ( ),Go.,own,0.25,0.75",
        "def stop ( ),Stop.,other,0.5,0.5",
    ]
    path.write_text("text\ndef go ( )\n")
    with pytest.raises(ConfigError, match=r"text_pair: .*mine\.csv has no such column"):
        read_texts(made, path)
    (tmp_path / "mine.txt").write_text("def go ( )\n")
    with pytest.raises(ConfigError, match="task=code_docs reads two texts a row; a table of text and text_pair"):
        read_texts(made, tmp_path / "mine.txt")


def test_a_template_with_a_gap_is_filled_where_it_was_in_training(compose_plain, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b\none,two\nthree,\n")
    classified = compose_plain("task=text_csv", "task.data=a.csv", "task.text='{a}, then {b}'")
    with pytest.raises(ConfigError, match=r"no \{a\}, then \{b\} in 1 rows \(3\)"):
        read_texts(untrained(classified), path)
    words = ["task=seq2seq", "model=smollm2_135m", "task.data=a.csv", "trainer.objective=loss"]
    written = compose_plain(*words, "task.source='{a} {b}'", "task.target=c")
    assert read_texts(untrained(written), path) == (["one two", "three"],)


GAPS = {
    "a.csv": ('text\none\n""\ntwo\n\nthree\n', "no text in 2 rows (3, 5)"),
    "b.csv": ('text,n\none,1\n"",2\n ,3\n', "no text in 2 rows (3, 4)"),
    "a.tsv": ("text\none\n\ntwo\n", "no text in 1 rows (3)"),
    "b.tsv": ("text\tn\none\t1\n\t\n", "no text in 1 rows (3)"),
    "a.txt": ("\n \n", "no texts in it"),
    "a.jsonl": ('{"text": "one"}\n{"text": null}\n{"n": 1}\n', "no text in 2 rows (2, 3)"),
    "b.jsonl": ('{"text": "one"}\n{"text": 5}\n', "row 2: text is '5' (int), no text"),
    "b.txt": ("one\na\0b\n", "bytes of zero in it"),
}


@pytest.mark.parametrize("name", GAPS)
def test_a_row_without_a_text_is_refused_and_named(name, compose_plain, tmp_path):
    content, message = GAPS[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_texts(untrained(compose_plain("task=text_csv", "task.data=a.csv")), tmp_path / name)


def test_blank_lines_of_a_text_file_are_passed_over_and_told(compose_plain, tmp_path, caplog):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n \n")
    made = untrained(compose_plain("task=text_csv", "task.data=a.csv"))
    assert read_texts(made, tmp_path / "a.txt") == (["one", "two"],)
    assert "a.txt: 2 blank lines are passed over (2, 4)" in caplog.text


def test_words_for_a_gap_are_answered_and_told(compose_plain, tmp_path, caplog):
    (tmp_path / "a.csv").write_text("text\none\nnan\n#N/A\nnone\n")
    made = untrained(compose_plain("task=text_csv", "task.data=a.csv"))
    assert read_texts(made, tmp_path / "a.csv") == (["one", "nan", "#N/A", "none"],)
    assert "a.csv: 2 texts are a word that programs write for a gap" in caplog.text
    assert "(rows 3, 4)" in caplog.text


@pytest.mark.parametrize("suffix", ["txt", "csv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("own", ["null", "cp1250"])
def test_the_encoding_of_what_is_predicted_is_found(suffix, encoding, own, compose_plain, tmp_path):
    made = untrained(compose_plain("task=text_csv", "task.data=a.csv", f"task.encoding={own}"))
    texts = ["ein größeres Café", "two \u2028 or \x0c lines" if encoding.startswith("utf") else "two"]
    head = ["text"] if suffix == "csv" else []
    (tmp_path / f"a.{suffix}").write_bytes("\r\n".join([*head, *texts, ""]).encode(encoding))
    assert read_texts(made, tmp_path / f"a.{suffix}") == (texts,)


def test_an_encoding_that_cannot_be_found_is_the_trials_own_or_refused(compose_plain, tmp_path):
    (tmp_path / "a.txt").write_bytes("Привет, мир".encode("cp1251"))
    words = ["task=text_csv", "task.data=a.csv"]
    made = untrained(compose_plain(*words, "task.encoding=cp1251"))
    assert read_texts(made, tmp_path / "a.txt") == (["Привет, мир"],)
    with pytest.raises(ConfigError, match=r"input=.*a\.txt: not UTF-8 \(line 1\).*save the file as UTF-8"):
        read_texts(untrained(compose_plain(*words)), tmp_path / "a.txt")
    (tmp_path / "a.csv").write_text("n|text\n1|one, two\n")
    assert read_texts(untrained(compose_plain(*words, "task.separator='|'")), tmp_path / "a.csv") == (["one, two"],)


def test_named_models_predict_too(trained, tiny_base, tiny_data, compose_plain, tmp_path):  # noqa: F811
    from tests.tiny import words_of

    made = trained(*words_of(tiny_base, tiny_data), "lora.rank=2")
    path = tmp_path / "mine.csv"
    path.write_text("text,other\nthe film is lovely,1\na dull story,2\n")
    texts = read_texts(made, path)
    write_predictions(made, texts, predict(made, *texts), tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows] == ["the film is lovely", "a dull story"]
    assert list(rows[0]) == ["item", "predicted", "p(0)", "p(1)"]


def test_numbers_are_in_the_unit_of_the_data(trained, tiny_base, tiny_numbers, compose_plain):  # noqa: F811
    from tests.tiny import words_of

    words = ["task.answer=number", "task.classes=null", "trainer.objective=loss", "lora=full"]
    made = trained(*words_of(tiny_base, tiny_numbers), *words)
    with open(made.folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    said = [float(row["predicted"]) for row in rows]
    found = [row[0] for row in predict(made, build_task(made.config.task).splits["test"].texts)]
    assert found == pytest.approx(said, rel=1e-4)
    assert {row["label"] for row in rows} == {"2.5", "-1.5"}


def test_texts_are_written(trained, pairs, tmp_path):  # noqa: F811
    save_small(AutoModelForCausalLM, "llama", tmp_path / "base")
    made = trained(*pairs, *based_on(tmp_path / "base"), "lora.rank=2")
    (tmp_path / "mine.txt").write_text("w1 w2\nw3\n")
    texts = read_texts(made, tmp_path / "mine.txt")
    assert texts == (["w1 w2", "w3"],)
    assert [len(row) for row in predict(made, *texts)] == [1, 1]


def test_a_file_without_the_column_is_one_line(trained, reviews, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    made = trained(*reviews, *based_on(tmp_path / "base"), "lora.rank=2")
    (tmp_path / "mine.csv").write_text("texts,n\na,1\n")
    with pytest.raises(ConfigError, match="task.text=text: .*mine.csv has no such column; did you mean texts"):
        read_texts(made, tmp_path / "mine.csv")
    (tmp_path / "mine.jsonl").write_text('{"data": {"text": "a"}}\n')
    with pytest.raises(ConfigError, match=r"columns: data; rename one: columns are read as in the trial's own data$"):
        read_texts(made, tmp_path / "mine.jsonl")


def test_outputs_that_cannot_be_made_are_refused_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("text\na\n")
    (tmp_path / "there").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    for output, made, said in (
        ("rows.csv/new.csv", "FILE", "is a file, not a folder"),
        ("rows.csv/new", "FOLDER", "is a file, not a folder"),
        ("new.parquet", "FILE", "what is written is CSV; end its name in .csv"),
        ("there", "FILE", "is there already; name a new file"),
        ("rows.csv", "FOLDER", "is there already; name a new folder"),
    ):
        with pytest.raises(ConfigError, match=f"^output={output}: .*{said}$"):
            refuse_taken(output, made)
    refuse_taken("new/deeper/made.csv", "FILE")
    refuse_taken("new.parquet", "FOLDER")
    assert not (tmp_path / "new").exists()


WRONG = {
    "no folder": (lambda kept: shutil.rmtree(kept), "has no adapter and no weights"),
    "no head": (lambda kept: (kept / "head.safetensors").unlink(), r"head\.safetensors: no such file"),
    "changed": (
        lambda kept: (kept / "adapter_config.json").write_text("{}"),
        "its SHA-256 is not the one in the record",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_trial_whose_files_are_gone_or_changed_is_not_read_back(kind, trained, reviews, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    made = trained(*reviews, *based_on(tmp_path / "base"), "lora.rank=2")
    change, message = WRONG[kind]
    change(made.folder / "adapter")
    with pytest.raises(ConfigError, match=message):
        predict(made, ["w1 w2"])


def test_several_labels_are_decisions_of_their_own(trained, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    sets = ('"a,b"', "c", '"a,c"', "b")
    lines = [f"{WORDS[4 + row % 40]} {WORDS[50 + row % 37]},{sets[row % 4]}" for row in range(120)]
    (tmp_path / "topics.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    words = ["task=text_csv", f"task.data={tmp_path}/topics.csv", "task.answer=labels", "task.max_length=12"]
    made = trained(*words, *based_on(tmp_path / "base"), "lora.rank=2", "trainer.objective=loss")
    assert made.classes == ("a", "b", "c")
    ((said, *shares),) = predict(made, ["w10 w11"])
    export_trial(made, tmp_path / "out", merged=True)
    found = pipeline("text-classification", model=str(tmp_path / "out"), top_k=None)(["w10 w11"])[0]
    wanted = {each["label"]: each["score"] for each in found}
    assert shares == pytest.approx([wanted[name] for name in "abc"], rel=1e-4)
    assert json.loads(said) == [name for name in "abc" if wanted[name] > 0.5]
