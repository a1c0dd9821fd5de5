"""Files of questions and options: each form read as it was meant, or refused by name."""

import json

import numpy as np
import pandas as pd
import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.summary import summary

BASE = ["task=choice", "model=small_gpt2", "lora=full"]


@pytest.fixture
def read(compose_plain, own_cache):
    return lambda *words: read_task(compose_plain(*BASE, *words).task)


LETTERS = "ABCDE"
ROWS = [
    {
        "question": f"What comes after {n}?",
        "options": [f"{n + k}" for k in range(-1, 3 + n % 2)],
        "answer": 2 if n % 3 else 0,
    }
    for n in range(10, 70)
]


def arc(rows):
    return [
        {
            "question": row["question"],
            "choices": {"label": list(LETTERS[: len(row["options"])]), "text": row["options"]},
            "answerKey": LETTERS[row["answer"]],
        }
        for row in rows
    ]


def write_arc(folder, rows):
    pd.DataFrame(arc(rows)).to_parquet(folder / "mine.parquet")
    return [f"task.data={folder}/mine.parquet"]


def write_in_brackets(folder, rows):
    """Letters as people write them."""
    forms = ("({})", "{})", "{}.", "[{}]", "{}")
    letters = [LETTERS[row["answer"]] if n % 2 else LETTERS[row["answer"]].lower() for n, row in enumerate(rows)]
    found = [row | {"answer": forms[n % 5].format(letters[n])} for n, row in enumerate(rows)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return [f"task.data={folder}/mine.jsonl", "task.options=options", "task.label=answer"]


def write_by_label(folder, rows):
    """Options by their letters."""
    found = [
        row | {"options": dict(zip(LETTERS, row["options"], strict=False)), "answer": f"({LETTERS[row['answer']]})"}
        for row in rows
    ]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return [f"task.data={folder}/mine.jsonl", "task.options=options", "task.label=answer"]


def write_numbered_arc(folder, rows):
    """ARC has some rows whose labels are numbers."""
    found = arc(rows)
    for row in found[::2]:
        row["answerKey"] = str(1 + LETTERS.index(row["answerKey"]))
        row["choices"]["label"] = [str(1 + LETTERS.index(name)) for name in row["choices"]["label"]]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return [f"task.data={folder}/mine.jsonl"]


def write_pairs(folder, rows):
    """As CommonsenseQA's own files."""
    found = arc(rows)
    for row in found:
        row["choices"] = [{"label": a, "text": b} for a, b in zip(*row["choices"].values(), strict=True)]
    (folder / "mine.json").write_text(json.dumps(found))
    return [f"task.data={folder}/mine.json"]


def write_nested(folder, rows):
    """As the first releases of ARC, OpenBookQA and CommonsenseQA: the options are in the question."""
    found = arc(rows)
    for row in found:
        pairs = [{"text": b, "label": a} for a, b in zip(*row.pop("choices").values(), strict=True)]
        row["question"] = {"stem": row["question"], "choices": pairs}
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    nested = ['task.question="{question[stem]}"', 'task.options="{question[choices]}"']
    return [f"task.data={folder}/mine.jsonl", *nested]


def write_hellaswag(folder, rows):
    pd.DataFrame(
        {
            "ctx": [row["question"] for row in rows],
            "endings": [json.dumps(row["options"]) for row in rows],
            "label": [row["answer"] for row in rows],
        }
    ).to_csv(folder / "mine.csv", index=False)
    return [f"task.data={folder}/mine.csv", "task.question=ctx", "task.options=endings", "task.label=label"]


def write_texts(folder, rows):
    found = [{"q": r["question"], "choices": r["options"], "answer": r["options"][r["answer"]]} for r in rows]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    words = [f"task.data={folder}/mine.jsonl", 'task.question="{q}"', "task.label=answer"]
    return [*words, "task.label_as=text"]


FORMS = [
    *(write_arc, write_numbered_arc, write_in_brackets, write_by_label, write_pairs, write_nested),
    *(write_hellaswag, write_texts),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_alike(form, tmp_path, read):
    task = read(*form(tmp_path, ROWS))
    found = {
        question: (options, answer)
        for split in task.splits.values()
        for question, options, answer in zip(split.questions, split.options, split.answers, strict=True)
    }
    assert found == {row["question"]: (tuple(row["options"]), row["answer"]) for row in ROWS}


def test_options_in_a_question_are_named_with_the_template_that_takes_them(tmp_path, read):
    data, question, _ = write_nested(tmp_path, ROWS)
    with pytest.raises(ConfigError, match=r"'task\.options=\"\{question\[choices\]\}\"' takes one of the items of qu"):
        read(data, question)
    with pytest.raises(ConfigError, match=r"mine\.jsonl: row 1: it cannot be filled: 'options'"):
        read(data, question, 'task.options="{question[options]}"')


@pytest.mark.parametrize(("cell", "item"), [({"stem": "why?", "id": 1}, "stem"), (["why?", "how?"], "0")])
def test_a_question_that_is_no_text_names_the_template_that_takes_one(cell, item, tmp_path, read):
    rows = [{**row, "question": cell} for row in arc(ROWS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError) as refused:
        read(f"task.data={tmp_path}/rows.jsonl")
    assert f'a template takes one item of it, as "{{question[{item}]}}"' in str(refused.value)


def test_a_break_in_the_documented_template_is_one(tmp_path, read):
    task = read(*write_arc(tmp_path, ROWS), r'task.question="Question: {question}\nAnswer:"', r'task.delimiter="\n"')
    asked = {question for split in task.splits.values() for question in split.questions}
    assert asked == {f"Question: {row['question']}\nAnswer:" for row in ROWS}
    assert task.delimiter == "\n"


def test_an_answer_in_another_case_is_read(tmp_path, read):
    rows = [{"question": f"q {n}", "choices": ["Red", "Green"], "answer": ("red", "GREEN ")[n % 2]} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read(f"task.data={tmp_path}/mine.jsonl", "task.label=answer")
    split = task.splits["train"]
    assert (
        dict(zip(split.questions, split.answers, strict=True)).items() <= {f"q {n}": n % 2 for n in range(60)}.items()
    )


@pytest.mark.parametrize(("odd", "told"), [(0, True), (2, True), (9, False)])
def test_an_answer_that_is_always_in_one_place_is_told(odd, told, tmp_path, read):
    rows = [{"question": f"q {n}", "choices": [f"a{n}", "b", "c"], "answer": int(n < odd)} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read(f"task.data={tmp_path}/mine.jsonl", "task.label=answer", "task.label_as=index")
    said = f"the right option is number 1 in {60 - odd} of 60 rows: each option is scored by itself"
    assert any(line.startswith(said) for line in task.findings().suspicious) == told
    assert ("majority" not in task.describe()) == (not task.constants("test")) == told


def write_columns(folder, rows, label):
    frame = [
        {"goal": r["question"], "sol1": r["options"][0], "sol2": r["options"][1], "label": r["label"]} for r in rows
    ]
    pd.DataFrame(frame).to_json(folder / "mine.jsonl", orient="records", lines=True)
    return [f"task.data={folder}/mine.jsonl", "task.question=goal", "task.options=[sol1,sol2]", f"task.label={label}"]


def test_a_column_each_is_as_piqa_has_it(tmp_path, read):
    rows = [{**row, "label": n % 2} for n, row in enumerate(ROWS)]
    task = read(*write_columns(tmp_path, rows, "label"))
    assert set(task.splits["train"].options) <= {tuple(row["options"][:2]) for row in ROWS}
    chance = task.describe()["chance"]
    assert chance == {"validation": 0.5, "test": 0.5}
    shares = task.describe()["majority"]
    most = int(shares["class"].removeprefix("option ")) - 1
    assert shares["test"] == np.mean([answer == most for answer in task.splits["test"].answers])
    said = summary(task, None)
    assert any(line.startswith("guessing is right for 0.5000 on validation, 0.5000 on test") for line in said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"answerKey": lambda n: 1 + n % 3},
            r"can be read in several ways \(rows 1, 2, .*\); task.label_as=index or task",
        ),
        (
            {"answerKey": lambda n: n % 7 + 1},
            r"answerKey names none of the options in 24 rows \(5, 6, .*\), as '5' of 4",
        ),
        ({"answerKey": lambda n: "B", "choices": lambda n: ["x", "B", "y", "A"]}, None),
        (
            {"answerKey": lambda n: "B", "choices": lambda n: ["B", "x", "y", "A"]},
            "task.label_as=letter or task.label_as=text",
        ),
        ({"answerKey": lambda n: None if n in (3, 5) else 0}, r"no label in 2 rows \(4, 6\); task.gaps=leave_out"),
        ({"choices": lambda n: ["x"] if n == 7 else ["x", "y"]}, r"fewer than two options in 1 rows \(8\); task.gaps"),
        ({"choices": lambda n: ["x", " "] if n == 7 else ["x", "y"]}, r"an empty option in 1 rows \(8\)"),
        (
            {"choices": lambda n: ["x", float("nan")] if n in (7, 9) else ["x", "y"]},
            r"an empty option in 2 rows \(8, 10\)",
        ),
        (
            {"choices": lambda n: ["x", None] if n in (7, 9) else ["x", "y"]},
            r"an empty option in 2 rows \(8, 10\); task",
        ),
        ({"answerKey": lambda n: "ß"}, "answerKey names none of the options in 60 rows .* as 'ß' of 4 options"),
        (
            {"choices": lambda n: {"label": list("1234"), "text": list("abcd")}, "answerKey": lambda n: 1 + n % 3},
            r"can be read in several ways \(rows 1, 2, .*\); task.label_as=named or task.label_as=index$",
        ),
        ({"question": lambda n: " " if n == 7 else f"q{n}"}, r"no question in 1 rows \(8\)"),
        ({"choices": lambda n: "x, y"}, r"row 1: choices is 'x, y' \(str\), no list"),
        ({"choices": lambda n: [["x"], ["y"]]}, r"row 1: choices has \"\['x'\]\" \(list\) in it, no text"),
        ({"choices": lambda n: {"label": ["A"], "text": ["x", "y"]}}, "row 1: choices has 2 texts and 1 labels"),
    ],
)
def test_what_is_ambiguous_or_no_question_is_refused(change, said, tmp_path, read):
    usual = {"question": lambda n: f"q{n}", "choices": lambda n: ["a", "b", "c", "d"], "answerKey": lambda n: n % 4 % 2}
    rows = [{name: make(n) for name, make in {**usual, **change}.items()} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"task.data={tmp_path}/mine.jsonl"]
    if said is None:
        assert set(read(*words).splits["train"].answers) == {1}
        return
    with pytest.raises(ConfigError, match=said):
        read(*words)


def test_the_way_of_naming_settles_it(tmp_path, read):
    rows = [{"question": f"q{n}", "choices": list("abcd"), "answerKey": 1 + n % 3} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for way, least in (("index", 1), ("position", 0)):
        assert min(read(f"task.data={tmp_path}/mine.jsonl", f"task.label_as={way}").splits["train"].answers) == least


def test_the_names_of_the_options_settle_it(tmp_path, read):
    choices = {"label": ["3", "2", "1", "0"], "text": list("abcd")}
    rows = [{"question": f"q{n}", "choices": choices, "answerKey": n % 2} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for way, answers in (("named", {2, 3}), ("index", {0, 1})):
        task = read(f"task.data={tmp_path}/mine.jsonl", f"task.label_as={way}")
        assert set(task.splits["train"].answers) == answers


def turned(rows):
    """The same questions with their options in another order."""
    return [{**row, "options": row["options"][::-1], "answer": len(row["options"]) - 1 - row["answer"]} for row in rows]


def test_another_order_of_options_is_the_same_question(tmp_path, read):
    words = write_arc(tmp_path, ROWS)
    pd.DataFrame(arc(turned(ROWS[5:9]))).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(ConfigError, match=r"sources of the test split stand in train too .*task.leaks=allow"):
        read(*words, f"task.test={tmp_path}/test.parquet")


def test_another_order_of_options_is_a_repeat_or_a_contradiction(tmp_path, read):
    other = [{**row, "answer": (row["answer"] + 1) % len(row["options"])} for row in turned(ROWS[2:3])]
    task = read(*write_arc(tmp_path, [*ROWS, *turned(ROWS[:2]), *other]))
    assert sum(map(len, task.splits.values())) == len(ROWS) + 1
    said = "\n".join(summary(task, None))
    assert "different answers in rows 3, 63" in said


def test_a_delimiter_is_refused_where_no_text_has_both(compose_plain):
    words = ["task=choice", "task.data=mine.csv", "lora=full"]
    with pytest.raises(ConfigError, match=r"^task.delimiter=' \| ': model=small_t5 has an encoder and a decoder"):
        compose_plain(*words, "model=small_t5", "task.delimiter=' | '")
    compose_plain(*words, "model=small_t5")
    compose_plain(*words, "model=small_gpt2", "task.delimiter=' | '")


def test_questions_of_two_splits_are_refused(tmp_path, read):
    words = write_arc(tmp_path, ROWS)
    pd.DataFrame(arc(ROWS[5:9])).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(ConfigError, match=r"sources of the test split stand in train too .*task.leaks=allow"):
        read(*words, f"task.test={tmp_path}/test.parquet")
