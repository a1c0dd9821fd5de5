"""Texts that are hardly what is to be learned from, and what else is told of them."""

import json

import pytest

from harness.task.build import read_task
from harness.task.intake.odd_texts import identical, naming_labels, of_no_language, of_templates

NAMES = {
    "paths": ("names of files", lambda n: f"docs/{n:04d}.txt"),
    "Windows paths": ("names of files", lambda n: f"C:\\data\\{n}.jpg"),
    "files": ("names of files", lambda n: f"IMG_{n}.PNG"),
    "files of a folder": ("names of files", lambda n: f"calls/{n}.evt"),
    "digests": ("ids", lambda n: f"{n * 7919:016x}"),
    "numbers": ("ids", lambda n: f"{n + 10_000}"),
    "letters and numbers": ("ids", lambda n: f"ID-{n:05d}"),
    "UUIDs": ("ids", lambda n: f"{n:08x}-0000-4000-8000-{n:012x}"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_columns_of_file_names_and_ids_are_told(kind):
    said, make = NAMES[kind]
    (told,) = of_no_language({"text": [make(n) for n in range(40)], "other": ["a text"] * 40})
    assert told.startswith(f"40 of 40 texts of text are {said}, as {make(0)!r}")


@pytest.mark.parametrize(
    "make",
    [
        lambda n: f"the {n} of it.",
        lambda n: f"https://example.org/a/{n}?q=1",
        lambda n: f"{n}",
        lambda n: f"word{'abcdefghij'[n % 10]}{'klmnopqr'[n % 8]}",
        lambda n: f"{n}.txt is gone",
        lambda n: f"shop-{n}.net",
        lambda n: f"www.{n}-of-it.co.uk",
        lambda n: "12345",
        lambda n: f"天气{n}很好",
    ],
)
def test_other_texts_are_not(make):
    assert of_no_language({"text": [make(n) for n in range(40)]}) == []
    assert of_no_language({"text": [f"{n + 1000}" for n in range(9)]}) == []


def test_pairs_of_one_text_are_told():
    rows = {"2": ("a b", "a  b "), "3": ("a b", "A b"), "4": ("c", "c")}
    assert identical(rows, ["premise", "hypothesis"]) == [
        "premise and hypothesis are the same text in 2 of 3 rows (rows 2, 4)"
    ]
    assert identical({"2": ("a", "b")}, ["premise", "hypothesis"]) == []


@pytest.mark.parametrize(
    "text",
    ["ok<|im_end|>", "<|start_header_id|>user", "[INST] hi [/INST]", "<<SYS>>", "fine</s>", "### Instruction:\nhi"]
    + ["<start_of_turn>user", "hi### Assistant: ok"],
)
def test_signs_of_a_template_in_conversations_are_told(text):
    (told,) = of_templates({"train 1": "hello", "train 2": text})
    assert "1 conversations have signs of a chat template" in told
    assert "(rows train 2)" in told


def test_other_conversations_are_not():
    texts = ["a <|> b", "x < y | z > w", "<s>struck</s> out", "# Instruction", "[install]", "the human: it"]
    assert of_templates({str(place): text for place, text in enumerate(texts)}) == []


def test_a_table_of_paths_and_pairs_says_so(compose_plain, tmp_path):
    rows = [{"text": f"docs/{n:04d}.txt", "pair": f"docs/{n:04d}.txt", "label": "ab"[n % 2]} for n in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read_task(compose_plain("task=text_csv", f"task.data={tmp_path}/a.jsonl", "task.text_pair=pair").task)
    told = "\n".join(task.findings().suspicious)
    assert "60 of 60 texts of text are names of files" in told
    assert "text and pair are the same text in 60 of 60 rows" in told


def test_a_chat_with_another_template_inside_says_so(compose_plain, tmp_path):
    rows = [{"prompt": f"what is {n}?", "completion": f"it is {n}<|im_end|>"} for n in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["task=chat", "model=gpt2", "trainer.objective=loss", f"task.data={tmp_path}/a.jsonl"]
    told = read_task(compose_plain(*words).task).findings().suspicious
    assert any("40 conversations have signs of a chat template in their words, '<|im_end|>'" in line for line in told)


@pytest.mark.parametrize(
    "form", ["{text} __label__{name}", "{name}: {text}", "[{name}] {text}", "{text} #{name}", "{text}\t{name}"]
)
def test_texts_that_name_their_own_class_are_told(form):
    rows = [
        (form.format(text=f"it was {n} times so", name=("Good", "bad")[n % 2]), ("good", "bad")[n % 2])
        for n in range(40)
    ]
    (told,) = naming_labels(rows)
    assert told.startswith("40 of 40 texts have the name of their class in them, as 'good' in ")
    assert naming_labels([*rows, *(("another one", "bad") for _ in range(3))]) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda n: (f"it was {n} times good and bad", ("good", "bad")[n % 2]),
        lambda n: (f"goodness and badly {n}", ("good", "bad")[n % 2]),
        lambda n: (f"it was {n} times so", ("it", "them")[n % 3 > 1]),
        lambda n: (f"it was {n} times so", "it"),
        lambda n: (f"{n % 2} of {1 - n % 2} are {n}", str(n % 2)),
    ],
)
def test_texts_that_have_the_names_of_several_classes_are_not_told(make):
    assert naming_labels([make(n) for n in range(40)]) == []
