"""Words for a gap in the place of a text: of texts, pairs, targets, turns and options alike."""

import json

import pytest

from harness.config import ConfigError
from harness.task.build import read_task

MODELS = {"seq2seq": ["model=t5_small", "trainer.objective=loss"], "chat": ["model=gpt2", "trainer.objective=loss"]}
MODELS |= {"choice": ["model=gpt2"], "text_csv": [], "extractive_qa": ["trainer.objective=f1"]}


def row_of(kind, place, said):
    text = f"the {place} of {place * 7}"
    if kind == "text_csv":
        return {"text": text, "second": said or f"{place} it is", "label": "ab"[place % 2]}
    if kind == "seq2seq":
        return {"source": text, "target": said or f"about {place}", "third": f"third {place}"}
    if kind == "extractive_qa":
        answers = {"text": [f"{place}"], "answer_start": [4]}
        return {"question": said or f"which one is of {place * 7}?", "context": text, "answers": answers}
    if kind == "chat":
        turns = [("user", text), ("assistant", said or f"about {place}")]
        return {"messages": [{"role": role, "content": content} for role, content in turns]}
    return {"question": text, "options": [f"{place}", said or "another"], "answer": place % 2}


@pytest.fixture
def task_of(compose_plain, tmp_path):
    def make(kind, words, *more):
        rows = [row_of(kind, place, words.get(place)) for place in range(1, 81)]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        pair = ["task.text_pair=second"] if kind == "text_csv" else []
        choice = ["task.options=[options]", "task.label=answer"] if kind == "choice" else []
        data = f"task.data={tmp_path}/a.jsonl"
        return read_task(compose_plain(f"task={kind}", data, *MODELS[kind], *pair, *choice, *more).task)

    return make


COLUMNS = {"text_csv": "second", "seq2seq": "target", "chat": "messages", "choice": "options"}
COLUMNS |= {"extractive_qa": "question"}


def rows_in(task):
    return sum(task.describe()["rows"].values())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("word", ["nan", "NaN", "<NA>", "#NAME?", "#N/A", "\\N"])
def test_what_programs_write_for_a_gap_is_refused_until_it_is_settled(task_of, kind, word):
    words = {5: word, 9: word}
    with pytest.raises(ConfigError) as error:
        task_of(kind, words)
    assert f"a word that programs write for a gap, {word!r} in 2 rows of {COLUMNS[kind]} (5, 9)" in str(error.value)
    left = task_of(kind, words, "task.gaps=leave_out")
    assert rows_in(left) == 78
    assert [name.split()[-1] for name in left.findings().left_out["gaps"]] == ["5", "9"]
    assert rows_in(task_of(kind, words, "task.gap_words=keep")) == 80


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("word", ["NA", "None", "null", "[deleted]"])
def test_what_a_person_may_have_written_is_told_and_kept(task_of, kind, word):
    told = task_of(kind, {5: word}).findings().suspicious
    said = f"train: a text that often means that there is none, {word!r} in 1 rows of {COLUMNS[kind]} (5)"
    found = [line for line in told if line.startswith(said)]
    assert len(found) == (kind != "choice")
    assert rows_in(task_of(kind, {5: word}, "task.gap_words=leave_out")) == (80 if kind == "choice" else 79)


@pytest.mark.parametrize("text", ["nano", "a nan in it", "Nan", "none of them", "no", "#1", "Nana"])
def test_other_texts_are_not_told(task_of, text):
    assert task_of("seq2seq", {5: text}).findings().suspicious == []


def test_a_field_of_a_template_too(task_of):
    with pytest.raises(ConfigError, match=r"'nan' in 1 rows of second \(7\)"):
        task_of("text_csv", {7: "nan"}, "task.text='{second}: {text}'", "task.text_pair=null")


@pytest.mark.parametrize("kind", ["text_csv", "seq2seq"])
def test_an_answer_in_one_of_several_fields_is_no_gap(task_of, kind):
    more = {"text_csv": ["task.text='{second}: {text}'", "task.text_pair=null"]}
    more["seq2seq"] = ["task.source='{target}: {source}'", "task.target=third"]
    assert task_of(kind, {7: "null", 9: "None"}, *more[kind]).findings().suspicious == []


def test_an_answer_that_is_a_span_is_no_gap(compose_plain, tmp_path):
    texts = [f"one says nan or None to {place}" for place in range(40)]
    answers = [
        {"text": [text.split()[2 + place % 2 * 2]], "answer_start": [9 + place % 2 * 7]}
        for place, text in enumerate(texts)
    ]
    rows = [
        {"question": f"what {n}?", "context": text, "answers": answer}
        for n, (text, answer) in enumerate(zip(texts, answers, strict=True))
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read_task(compose_plain("task=extractive_qa", f"task.data={tmp_path}/a.jsonl", "trainer.objective=f1").task)
    assert rows_in(task) == 40


def test_a_study_of_before_reads_them_as_texts(compose_plain, tmp_path, task_of):
    import yaml

    from harness.config import check, read_stored
    from harness.config.tree import to_dict

    task_of("seq2seq", {})
    tree = to_dict(compose_plain("task=seq2seq", f"task.data={tmp_path}/a.jsonl", *MODELS["seq2seq"]))
    del tree["task"]["gap_words"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    stored = read_stored(tmp_path / "config.yaml")
    assert stored["task"]["gap_words"] == "keep"
    assert rows_in(read_task(check(stored).task)) == 80
