"""Files of questions and contexts: each form read as it was meant, or refused by name."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.summary import summary


def row(number):
    """A question, its context, of which there are 20, and right answers; of every sixth question none."""
    context = f"In town {number % 20} lives a cat called Tom{number % 20}, and a dog called Rex{number % 20}."
    name = ("Tom", "Rex")[number // 20 % 2] + str(number % 20)
    question = f"What is the {('cat', 'dog')[number // 20 % 2]} of town {number % 20} called, try {number}?"
    return question, context, [] if number % 6 == 0 else [(name, context.index(name))]


ROWS = [row(number) for number in range(60)]


def flat(rows):
    for number, (question, context, answers) in enumerate(rows):
        texts, starts = [text for text, _ in answers], [start for _, start in answers]
        yield {"id": f"q{number}", "question": question, "context": context} | {
            "answers": {"text": texts, "answer_start": starts}
        }


def jsonl(rows, folder):
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, flat(rows))) + "\n")
    return folder / "rows.jsonl"


def parquet(rows, folder):
    pd.DataFrame(list(flat(rows))).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def csv(rows, folder):
    pd.DataFrame([line | {"answers": json.dumps(line["answers"])} for line in flat(rows)]).to_csv(folder / "rows.csv")
    return folder / "rows.csv"


def objects(rows, folder):
    lines = [
        line | {"answers": [{"text": text, "answer_start": start} for text, start in answers]}
        for line, (_, _, answers) in zip(flat(rows), rows, strict=True)
    ]
    (folder / "rows.json").write_text(json.dumps(lines))
    return folder / "rows.json"


def nested(rows, folder):
    """SQuAD 2's own, an article a town."""
    articles = {}
    for line, (question, context, answers) in zip(flat(rows), rows, strict=True):
        asked = {"id": line["id"], "question": question, "is_impossible": not answers}
        asked["answers"] = [{"text": text, "answer_start": start} for text, start in answers]
        articles.setdefault(context, []).append(asked)
    data = [
        {"title": context[:10], "paragraphs": [{"context": context, "qas": qas}]} for context, qas in articles.items()
    ]
    (folder / "squad.json").write_text(json.dumps({"version": "v2.0", "data": data}))
    return folder / "squad.json"


FORMS = {"jsonl": jsonl, "parquet": parquet, "csv": csv, "objects": objects, "nested": nested}


@pytest.fixture
def read(compose_plain):
    base = compose_plain("task=extractive_qa", "trainer.objective=f1").task
    return lambda path, **keys: read_task(replace(base, data=path and str(path), **keys))


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_the_same_questions(form, read, tmp_path):
    task = read(FORMS[form](ROWS, tmp_path))
    kept = {each.text: each for split in task.splits.values() for each in split}
    assert {text: (each.context, list(each.answers)) for text, each in kept.items()} == {
        question: (context, answers) for question, context, answers in ROWS
    }
    contexts = [{each.context for each in split} for split in task.splits.values()]
    assert [len(found) for found in contexts] == [16, 2, 2]
    assert len(set.union(*contexts)) == 20
    assert task.describe()["unanswerable"]["train"] == sum(not each.answers for each in task.splits["train"]) > 0
    assert task.may_be_none
    if form == "nested":
        assert {each.name for each in task.splits["test"]} <= {f"q{number}" for number in range(60)}


def test_columns_of_a_text_and_its_start(read, tmp_path):
    lines = [
        {"question": question, "context": context, "answer": answers[0][0], "answer_start": float(answers[0][1])}
        for question, context, answers in ROWS
        if answers
    ]
    pd.DataFrame(lines).to_csv(tmp_path / "rows.csv")
    task = read(tmp_path / "rows.csv")
    assert sum(map(len, task.splits.values())) == 50
    assert not task.may_be_none
    searched = [{name: cell for name, cell in line.items() if name != "answer_start"} for line in lines]
    pd.DataFrame(searched).to_csv(tmp_path / "searched.csv")
    assert read(tmp_path / "searched.csv").sha256 == task.sha256


MARKS = {
    "jsonl": lambda row, mark: row | {"is_impossible": mark},
    "answerable": lambda row, mark: row | {"answerable": "no" if mark else "yes"},
    "nested": lambda row, mark: {
        "title": row["context"][:10],
        "paragraphs": [
            {
                "context": row["context"],
                "qas": [
                    {
                        "id": row["id"],
                        "question": row["question"],
                        "is_impossible": mark,
                        "answers": [
                            {"text": text, "answer_start": start}
                            for text, start in zip(*row["answers"].values(), strict=True)
                        ],
                    }
                ],
            }
        ],
    },
}


@pytest.mark.parametrize("form", MARKS)
def test_a_mark_and_answers_that_say_otherwise_are_refused_until_one_counts(form, read, tmp_path):
    """Row 5 has an answer and the mark that there is none, the first without an answer has the mark that there is."""
    empty = next(place for place, (_, _, answers) in enumerate(ROWS) if not answers)
    rows = [
        MARKS[form](row, place == 4 or (not row["answers"]["text"] and place != empty))
        for place, row in enumerate(flat(ROWS))
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"version": "v2.0", "data": rows} if form == "nested" else rows))
    names = ("q4", f"q{empty}") if form == "nested" else (5, empty + 1)
    column = "answerable" if form == "answerable" else "is_impossible"
    said = rf"{column}: 1 rows have an answer, and .* \(rows {names[0]}\); 1 rows have none, .* \(rows {names[1]}\); "
    with pytest.raises(ConfigError, match=f"{said}task.impossible=marked"):
        read(path, impossible="refuse")
    left = read(path, impossible="leave_out").findings().left_out
    assert left == {"marked otherwise than answered": [f"train {name}" for name in (names[1], names[0])]}
    wanted = {text: dict(answers) for text, _, answers in ROWS}
    for policy, odd in {"answers": {}, "marked": {ROWS[4][0]: {}, ROWS[empty][0]: None}}.items():
        if policy == "marked":
            with pytest.raises(ConfigError, match=rf"1 rows have gaps \(no answer in rows {names[1]}\)"):
                read(path, impossible=policy)
        task = read(path, impossible=policy, gaps="leave_out")
        found = {each.text: dict(each.answers) for split in task.splits.values() for each in split}
        assert found == {text: answers for text, answers in (wanted | odd).items() if answers is not None}


def test_a_mark_that_is_neither_yes_nor_no_is_named(read, tmp_path):
    rows = [row | {"is_impossible": "perhaps" if place == 3 else False} for place, row in enumerate(flat(ROWS))]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(ConfigError, match=r"row 4: is_impossible is 'perhaps', neither true nor false"):
        read(tmp_path / "rows.json")


def changed(number, **cells):
    question, context, answers = ROWS[number]
    new = {"question": question, "context": context, "answers": answers} | cells
    return [*ROWS[:number], tuple(new.values()), *ROWS[number + 1 :]]


START = ROWS[4][2][0][1]
REFUSED = {
    "misplaced": (
        changed(4, answers=[("Tom4", START + 1)]),
        {},
        rf"1 rows have answers .*row 5: 'Tom4' does not start at {START + 1}, where there is 'om4,'; it stands at "
        rf"{START}\); task\.starts=nearest",
    ),
    "nowhere": (
        changed(4, answers=[("tom4", START)]),
        {},
        r"row 5: 'tom4' does not .*; it stands nowhere in its context",
    ),
    "beyond": (
        changed(4, answers=[("Tom4", 999)]),
        {},
        rf"row 5: 'Tom4' starts at 999, its context has \d+ characters; it stands at {START}",
    ),
    "negative": (changed(4, answers=[("Tom4", -1)]), {}, "row 5: 'Tom4' starts at -1, its context has"),
    "several": (changed(4, answers=[("called", None)]), {}, "row 5: 'called' has no start and stands 2 times"),
    "gap": (changed(4, question=None), {}, r"1 rows have gaps \(no question in rows 5\); task\.gaps=leave_out"),
    "nan": (changed(4, context=float("nan")), {}, r"no context in rows 5"),
    "blank": (changed(4, answers=[("", 3)]), {}, r"no answer in rows 5\); .*task\.unanswerable=empty takes"),
    "list": (changed(4, context=["a"]), {}, r"1 rows cannot be read \(row 5: its text: .* \(list\) is no text"),
    "number": (changed(4, answers=[("Tom4", "x")]), {}, "row 5: the start 'x' is no number of a character"),
    "no text": (changed(4, answers=[(True, 3)]), {}, r"row 5: the answer is 'True' \(bool\), no text"),
    "contradicting": (
        [*ROWS, (ROWS[4][0], ROWS[4][1], [("Rex4", ROWS[4][1].index("Rex4"))])],
        {},
        r"the same question about the same context with different labels, 1 times \(rows train 5 and train 61\)",
    ),
    "column": (ROWS, {"context": "passage"}, r"task\.context=passage: .* has no such column"),
    "group": (ROWS, {"group": "titel"}, r"task\.group=titel: .* has no such column"),
    "named id": (ROWS, {"id": "uid"}, r"task\.id=uid: .* has no such column"),
    "none": (
        [(question, context, []) for question, context, _ in ROWS],
        {},
        "no question of the training split has an",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_ambiguous_is_refused_in_one_line(case, read, tmp_path):
    rows, keys, said = REFUSED[case]
    with pytest.raises(ConfigError, match=said) as error:
        read(jsonl(rows, tmp_path), **keys)
    assert len(error.value.args) == 1
    assert "\n" not in str(error.value)


def test_an_answer_that_says_that_there_is_none_is_told(read, tmp_path):
    lines = list(flat(ROWS))
    for line in lines[2:4]:
        line["context"] += " ANSWERNOTFOUND"
        line["answers"] = {"text": ["ANSWERNOTFOUND"], "answer_start": [len(line["context"]) - 14]}
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (line,) = [line for line in read(tmp_path / "rows.jsonl").findings().suspicious if "ANSWERNOTFOUND" in line]
    assert line.startswith("'ANSWERNOTFOUND' is taught as the answer of 2 rows (")
    assert line.endswith(
        "; where it means that there is none, empty these cells, which task.unanswerable=empty reads so"
    )


def test_ids_that_stand_twice_are_refused(read, tmp_path):
    lines = [line | ({"id": "q3"} if number == 7 else {}) for number, line in enumerate(flat(ROWS))]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ConfigError, match=r"1 ids stand in several rows \(q3 in rows train 4 and train 8\); task\.dup"):
        read(tmp_path / "rows.jsonl")
    assert read(tmp_path / "rows.jsonl", duplicates="first").findings().left_out == {"repeated ids": ["train 8"]}
    assert not read(tmp_path / "rows.jsonl", id=None).findings().left_out


SETTLED = {
    "nearest": (changed(4, answers=[("Tom4", START + 9)]), {"starts": "nearest"}, {}, 60),
    "nowhere": (
        changed(4, answers=[("tom4", 0)]),
        {"starts": "nearest"},
        {"answers that are not where they should be": ["train 5"]},
        59,
    ),
    "left out": (
        changed(4, answers=[("Tom4", 0)]),
        {"starts": "leave_out"},
        {"answers that are not where they should be": ["train 5"]},
        59,
    ),
    "gaps": (changed(4, question=""), {"gaps": "leave_out"}, {"gaps": ["train 5"]}, 59),
    "empty": (changed(4, answers=[("", 3)]), {"unanswerable": "empty"}, {}, 60),
    "first": (
        [*ROWS, (ROWS[4][0], ROWS[4][1], [("Rex4", ROWS[4][1].index("Rex4"))])],
        {"duplicates": "first"},
        {"contradicting": ["train 61"]},
        60,
    ),
    "all": (
        [*ROWS, (ROWS[4][0], ROWS[4][1], [("Rex4", ROWS[4][1].index("Rex4"))]), ROWS[4]],
        {"duplicates": "keep"},
        {"repeated": ["train 62"]},
        61,
    ),
    "repeated": ([*ROWS, ROWS[4]], {}, {"repeated": ["train 61"]}, 60),
}


@pytest.mark.parametrize("case", SETTLED)
def test_a_key_settles_it(case, read, tmp_path):
    rows, keys, left, count = SETTLED[case]
    task = read(jsonl(rows, tmp_path), **keys)
    assert dict(task.findings().left_out) == left
    kept = {each.name: each for split in task.splits.values() for each in split}
    assert len(kept) == count
    if case == "nearest":
        assert kept["5"].answers == (("Tom4", START),)
        assert task.findings().suspicious == ["train: 1 answers are taken where they stand nearest (rows 5)"]
    if case == "empty":
        assert kept["5"].answers == ()


def test_blanks_around_an_answer_are_none_of_it(read, tmp_path):
    task = read(jsonl(changed(4, answers=[(" Tom4", START - 1)]), tmp_path))
    (found,) = (each for split in task.splits.values() for each in split if each.name == "5")
    assert found.answers == (("Tom4", START),)


@pytest.mark.parametrize("within", [0, 5, 60])
def test_answers_that_begin_inside_a_word_are_told_where_many_do(within, read, tmp_path):
    rows = [(asked, context, [(text[2 * (at < within) :], start + 2 * (at < within)) for text, start in answers])
            for at, (asked, context, answers) in enumerate(ROWS)]  # fmt: skip
    told = [line for line in read(jsonl(rows, tmp_path)).findings().suspicious if "inside a word" in line]
    assert [line.partition(" begin")[0] for line in told] == (["50 of 50 answers"] if within == 60 else [])


def test_held_out_files_that_share_questions_are_refused_and_shared_contexts_are_told(read, tmp_path):
    path = jsonl(ROWS, tmp_path)
    (tmp_path / "more").mkdir()
    same = [(question.upper(), context, answers) for question, context, answers in ROWS[:30]]
    other = jsonl(same, tmp_path / "more")
    with pytest.raises(ConfigError, match=r"of 30 test questions stand in train too .*task\.leaks=allow"):
        read(path, test=str(other), id=None)
    new = [(f"Is it true? {question}", context, answers) for question, context, answers in ROWS[:30]]
    task = read(path, test=str(jsonl(new, tmp_path / "more")), id=None)
    assert any("contexts of test are asked about in train, too" in said for said in task.findings().suspicious)
    told = "\n".join(summary(task, None))
    assert "to be looked at: " in told
    assert "questions without an answer" in told


def test_groups_are_kept_whole_beside_a_file_that_has_none(read, tmp_path):
    lines = [line | {"title": f"t{number % 20 // 2}"} for number, line in enumerate(flat(ROWS))]
    held = [line | {"id": f"h{line['id']}", "question": f"And {line['question']}"} for line in flat(ROWS)]
    for name, found in (("train", lines), ("held", held)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, found)))
    task = read(tmp_path / "train.jsonl", group="title", test=str(tmp_path / "held.jsonl"), leaks="allow")
    titles = {line["question"]: line["title"] for line in lines}
    train, validation = ({titles[each.text] for each in task.splits[name]} for name in ("train", "validation"))
    assert (len(train), len(validation), train & validation) == (9, 1, set())
    assert len(task.splits["test"]) == 60


EMPTY = {"lists": {"text": [], "answer_start": []}, "cells": None}


def held_out(empty):
    """A split of other questions, whose answers are withheld."""
    return [
        line | {"id": f"h{line['id']}", "question": f"And {line['question']}", "answers": empty} for line in flat(ROWS)
    ]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("empty", EMPTY)
def test_a_held_out_file_whose_answers_are_withheld_is_refused(empty, split, read, tmp_path):
    path = tmp_path / "held.jsonl"
    path.write_text("\n".join(map(json.dumps, held_out(EMPTY[empty]))))
    said = (
        rf"^task\.{split}=\S+held\.jsonl: none of 60 questions has an answer, .*; task\.{split}=null has the split cut"
    )
    with pytest.raises(ConfigError, match=said):
        read(jsonl(ROWS, tmp_path), **{split: str(path)})


@pytest.mark.parametrize("empty", EMPTY)
def test_a_split_of_a_data_set_whose_answers_are_withheld_is_cut_from_training(empty, read, tmp_path):
    pd.DataFrame(list(flat(ROWS))).to_parquet(tmp_path / "train.parquet")
    pd.DataFrame(held_out(EMPTY[empty])).to_parquet(tmp_path / "test.parquet")
    task = read(None, dataset=str(tmp_path))
    assert "the answers of test are withheld; it was cut from training" in task.findings().suspicious
    assert any(each.answers for each in task.splits["test"])
    assert sum(map(len, task.splits.values())) == 60


def test_what_always_giving_the_usual_answer_scores(read, tmp_path):
    task = read(jsonl(ROWS, tmp_path))
    usual = task.describe()["usual_span"]
    assert usual["answer"] == ""
    assert usual["test"] == pytest.approx(
        sum(not each.answers for each in task.splits["test"]) / len(task.splits["test"])
    )
    assert "always giving no answer has an F1 of" in "\n".join(summary(task, None))


def test_configurations_at_odds_are_refused(compose_plain, tmp_path):
    words = ["task=extractive_qa", f"task.data={tmp_path}/rows.jsonl", "task.max_length=256"]
    compose_plain(*words, "trainer.objective=exact")
    with pytest.raises(ConfigError, match=r"trainer\.objective=accuracy: task=extractive_qa has none; .*=f1"):
        compose_plain(*words)
    with pytest.raises(ConfigError, match=r"task\.stride=300 task\.max_length=256: windows of fewer tokens"):
        compose_plain(*words, "trainer.objective=f1", "task.stride=300")
    more = ["trainer.objective=f1", "model=hf", f"model.address=path:{tmp_path}"]
    with pytest.raises(ConfigError, match=r"model\.pooling=mean: task=extractive_qa answers with two of its tokens"):
        compose_plain(*words, *more, "model.pooling=mean")
    with pytest.raises(ConfigError, match=r"files, or a data set with its own splits"):
        compose_plain(*words, "trainer.objective=f1", "task.dataset=squad")
    with pytest.raises(ConfigError, match="answers with spans of texts, and a measure is of classes or numbers"):
        compose_plain(*words, "trainer.objective=mine:Score")
