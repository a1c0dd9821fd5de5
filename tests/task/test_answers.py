"""Answers taken out of texts: by hand-written cases, and by the rules that evaluation harnesses publish."""

import json
import re

import pandas as pd
import pytest

from harness.config import ConfigError
from harness.task.answers import answer_scores, extraction
from harness.task.build import read_task
from harness.task.summary import summary

NUMBERS = [
    ("She has 48/2 = 24 clips. 48+24 = 72.\n#### 72", "72"),
    ("#### 1,234,567", "1234567"),
    ("#### $18", "18"),
    ("#### 72.", "72"),
    ("#### -5", "-5"),
    ("#### 42\n\nQuestion: another\n#### 7", "42"),
    ("####\n72 apples", "72"),
    ("#### I cannot say, 3 or so", "3"),
    (r"So \boxed{42}.", "42"),
    (r"\boxed{7} is wrong; \boxed{-\frac{3}{4}} in 10 s", "-0.75"),
    (r"\boxed{\text{1{,}024 dollars}}", "1024"),
    (r"costs \$1,250.50 in all", "1250.5"),
    ("The answer is 72.0", "72"),
    ("The answer is .5 litres.", "0.5"),
    ("0.50", "0.5"),
    ("from 10 to 15 it is 10-15, that is 5-3", "3"),
    ("(4)-1", "1"),
    ("it fell to \N{MINUS SIGN}3.", "-3"),
    ("-$20", "-20"),
    ("$-20", "-20"),
    ("the numbers 1,2,3", "3"),
    ("3/4", "0.75"),
    ("2/6", f"0.{28 * '3'}"),
    ("1/0", None),
    ("1.5e-3", "0.0015"),
    ("9e999999999", "999999999"),
    ("9" * 5000, None),
    ("no idea", None),
    ("", None),
    *((text, "10000") for text in ("10 000", "10\N{NO-BREAK SPACE}000", "10\N{NARROW NO-BREAK SPACE}000", "10'000")),
    ("20 000", "20000"),
    ("1\N{RIGHT SINGLE QUOTATION MARK}000", "1000"),
    (r"\boxed{10\,000}", "10000"),
    ("#### 1 000", "1000"),
    ("#### 1 234 567,5 kg", "1234567.5"),
    ("2,5", "2.5"),
    ("#### 3,5", "3.5"),
    (r"\boxed{3{,}5}", "3.5"),
    ("0,250 litres", "0.25"),
    ("1.250,50", "1250.5"),
    ("1,250.50", "1250.5"),
    ("1.250.000", "1250000"),
    ("1,00,000", "100000"),
    ("3, 4 and 5", "5"),
    ("3, 4", "4"),
    ("in 2020 500 people", "500"),
    ("#### 2020 500", "2020"),
    ("5 1000", "1000"),
    ("3 1/2", "3.5"),
    ("-3 1/2", "-3.5"),
    ("1 250 1/2", "1250.5"),
    (r"\boxed{3\frac{1}{2}}", "3.5"),
    (r"\boxed{-3 \dfrac{1}{2}}", "-3.5"),
    (r"\frac12", "0.5"),
    (r"\frac{1.5}{2}", "0.75"),
    ("1.5/2", "0.75"),
    ("3 / 4", "0.75"),
    (r"\boxed{90^\circ}", "90"),
    (r"\boxed{5\text{ cm}^2}", "5"),
    (r"It is 12.50. **5** * 3 more", "3"),
    ("- 4 apples\n * 5 pears", "5"),
    *(
        (text, None)
        for text in (
            r"3 \times 10^{5}",
            r"\boxed{2^{10}}",
            r"\boxed{3 \cdot 4}",
            "from 5 it is 2^n",
            "(1+2)^2",
            "10\N{SUPERSCRIPT TWO}",
            "5*3",
            "5 * 3",
            "2**10",
            "5 \N{MULTIPLICATION SIGN} 3",
            "12/25/2020",
            "25.12.2020",
            "2020-12-25",
            "#### 12-25-2020",
            r"\boxed{2\sqrt{3}}",
            r"\boxed{\frac{\pi}{2}}",
            r"\boxed{2\pi}",
        )
    ),
]
LETTERS = [
    ("B", "B"),
    ("b", "B"),
    ("(c)", "C"),
    ("D.", "D"),
    ("b) Paris", "B"),
    ("The answer is (C).", "C"),
    ("The answer is C because A is wrong.", "C"),
    ("Answer: **B**", "B"),
    ("I think that of A and B it is B", "B"),
    ("Neither is Beautiful", None),
    ("I would say", None),
    ("It's option D, I'm sure", "D"),
    ("paris", None),
    ("The answer is I think B", "B"),
    ("The answer is I.", "I"),
    ("e.g. B is right", "B"),
    ("If the answer is A then x=1. So the answer is B.", "B"),
    ("The correct answer is option B, because A is wrong.", "B"),
    ("So the answer is choice (c), not D", "C"),
    ("The answer is the letter d\nand not E", "D"),
    ("The answer: a", "A"),
    ("The answer is a matter of taste: B", "B"),
    ("The answer is e.g. B", "B"),
]
LINES = [("one\n  Two  three. \n\n", "two three"), ("", None), ("yes", "yes"), (" . ", None)]
PATTERNS = [
    (r"pattern:answer is (\w+)", "The answer is Paris. The answer is Rome.", "paris"),
    (r"pattern:(?i)ja|nein", "JA!", "ja"),
    (r"pattern:=(x)?", "=", None),
    (r"pattern:answer: (.*)", "no", None),
]


def taken(kind, text):
    extract = extraction(kind)
    assert extract is not None
    return extract(text)


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        *(("number", *case) for case in NUMBERS),
        *(("letter", *case) for case in LETTERS),
        *(("last_line", *case) for case in LINES),
        *PATTERNS,
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_answer_in_a_text(kind, text, wanted):
    assert taken(kind, text) == wanted


def published(text):
    """GSM8K in lm-evaluation-harness: strict match, else the flexible one; then what its exact match ignores."""
    found = re.search(r"#### (\-?[0-9\.\,]+)", text)
    if found:
        answer = found[1]
    else:
        all_found = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)
        answer = next(part for part in all_found[-1] if part) if all_found else "[invalid]"
    return re.sub(r"\.$", "", re.sub(r",|\$|(?s:.*#### )", "", answer)).lower()


def test_numbers_are_those_of_the_published_rules():
    texts = [
        f"{first} and then {second}{unit}{end}"
        for first in ("He has 3 apples", "$12.50 less", "1,000 people")
        for second in ("72", "1,234", "$18", "-7", "0.25", "$2,500.75")
        for unit in ("", " apples", " dollars each")
        for end in ("", ".", "\n#### 16", "\n#### -1,024", "\n#### 5.", "\n#### 12.5")
    ]
    for text in texts:
        assert taken("number", text) == published(text), text


def test_what_holds_no_answer_is_wrong():
    scores = answer_scores(["72.0", "none", "#### 3", "-1"], ["#### 72", "#### 1", "#### 4", "1"], extraction("number"))
    assert scores == {"answer_accuracy": 0.25, "no_answer": 0.25}


QUESTIONS = [{"question": f"What is {n} + {n % 7}?", "answer": f"It is\n#### {n + n % 7}"} for n in range(60)]


def write_table(folder, rows):
    pd.DataFrame(rows).to_json(folder / "sums.jsonl", orient="records", lines=True)
    return ["task=seq2seq", f"task.data={folder}/sums.jsonl", "task.source=question", "task.target=answer"]


def write_chats(folder, rows):
    pd.DataFrame(rows).to_json(folder / "sums.jsonl", orient="records", lines=True)
    return ["task=chat", f"task.data={folder}/sums.jsonl", "model=gpt2"]


@pytest.fixture(params=[write_table, write_chats])
def sums(request, tmp_path, compose_plain):
    def read(rows, *words, **held_out):
        for split, given in held_out.items():
            (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
            words = (*words, f"task.{split}={tmp_path}/{split}.jsonl")
        base = ["model=small_t5", "lora=full"] if request.param is write_table else []
        words = (*request.param(tmp_path, rows), *base, "trainer.objective=loss", "task.answer=number", *words)
        return read_task(compose_plain(*words).task)

    return read


def test_held_out_rows_without_an_answer_are_named(sums):
    bad = [{"question": f"Is {word} a word?", "answer": "yes"} for word in ("ab", "cd")]
    test = [*bad[:1], *QUESTIONS[:9], *bad[1:]]
    with pytest.raises(ConfigError) as error:
        sums(QUESTIONS[9:], test=test)
    rule = "task.gaps=leave_out leaves them out"
    assert error.value.args == (
        f"task.answer=number: 2 of 11 targets of the test split hold no answer (rows 1, 11); {rule}",
    )
    task = sums(QUESTIONS[9:], "task.gaps=leave_out", test=test)
    assert task.findings().left_out["no answer"] == ["test 1", "test 11"]
    assert len(task.splits["test"].answers) == 9
    assert [extraction("number")(text) for text in task.generation.references] == [str(n + n % 7) for n in range(9)]


def test_training_rows_without_an_answer_are_told(sums):
    odd = {"question": "Is ef a word?", "answer": "yes"}
    task = sums([*QUESTIONS[20:], odd], test=QUESTIONS[:9], validation=QUESTIONS[9:20])
    said = "to be looked at: 1 of 41 targets of the train split hold no answer (rows 41)"
    assert said in summary(task, None)
    assert len(task.splits["train"].answers) == 41


def test_the_most_frequent_answer_stands_beside(sums):
    rows = [{"question": f"Which {n}?", "answer": "#### 5" if n % 3 else f"#### {n}"} for n in range(9, 90)]
    test = [{"question": f"Which one, {n}?", "answer": f"so 5.0 {n % 2}"[: 6 if n % 2 else None]} for n in range(10)]
    task = sums(rows, "task.generate_rows=4", test=test)
    usual = task.describe()["usual_answer"]
    assert (usual["answer"], usual["test"]) == ("5", 0.5)
    assert any(line.startswith("always giving the answer '5' is right for ") for line in summary(task, None))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task.answer=numbers"], 'task.answer="numbers": string should match pattern'),
        (
            ["task.answer=number", "task.generate_rows=0"],
            "task.answer=number: task.generate_rows=0 has no texts written",
        ),
        (["'task.answer=\"pattern:(a\"'"], "task.answer=pattern:(a: not a regular expression, missing )"),
        (["'task.answer=\"pattern:(a)(b)\"'"], "task.answer=pattern:(a)(b): 2 groups, and one at most is the answer"),
        (
            ["trainer.objective=answer_accuracy"],
            "trainer.objective=answer_accuracy: task.answer is null, and no answers",
        ),
    ],
)
def test_what_takes_out_nothing_is_one_line(words, said, compose_plain):
    words = [word.strip("'") for word in words]
    with pytest.raises(ConfigError) as error:
        compose_plain("task=seq2seq", "task.data=x.csv", "model=small_t5", "trainer.objective=loss", *words)
    assert len(error.value.args) == 1
    assert said in error.value.args[0]
