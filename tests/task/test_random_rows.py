"""Random rows that hold lists, in every form that can hold them, read back as they were written."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.task.own_chats import read_own_chats
from harness.task.own_qa import read_own_qa
from harness.task.own_tokens import read_own_tokens
from tests import commands

FORMS = [
    "jsonl",
    "ndjson",
    "array",
    "columns",
    "parquet",
    "arrow",
    "stream",
    "feather",
    "csv",
    "tsv",
    "semicolon",
    "python",
]
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda text: text.strip()
)
SOME = settings(max_examples=5, deadline=None)


def write(form, folder, rows):
    """Rows of one set of names as a file; its path."""
    names = list(rows[0])
    if form in ("csv", "tsv", "semicolon", "python"):
        mark, ending = {"tsv": ("\t", "tsv"), "semicolon": (";", "csv")}.get(form, (",", "csv"))
        how = repr if form == "python" else lambda cell: json.dumps(cell, ensure_ascii=False)
        out = io.StringIO()
        writer = csv.writer(out, delimiter=mark, quoting=csv.QUOTE_ALL)
        cells = [[cell if isinstance(cell, str) else how(cell) for cell in row.values()] for row in rows]
        writer.writerows([names, *cells])
        return put(folder / f"a.{ending}", out.getvalue())
    if form in ("jsonl", "ndjson"):
        return put(folder / f"a.{form}", "".join(json.dumps(row) + "\n" for row in rows))
    if form == "array":
        return put(folder / "a.json", json.dumps(rows, ensure_ascii=False, indent=1))
    if form == "columns":  # as pandas writes a table
        return put(folder / "a.json", json.dumps({n: {str(i): row[n] for i, row in enumerate(rows)} for n in names}))
    table = pa.table({name: [row[name] for row in rows] for name in names})
    path = folder / {"parquet": "a.parquet", "feather": "a.feather"}.get(form, "a.arrow")
    if form == "parquet":
        pa.parquet.write_table(table, path)
    elif form == "feather":
        pa.feather.write_feather(table, str(path))
    else:
        kind = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
        with kind(str(path), table.schema) as sink:
            sink.write_table(table)
    return path


def put(path, text):
    path.write_bytes(text.encode())
    return path


def save(folder, rows):
    """As the datasets library saves a data set: one split, in two files."""
    table, half = pa.table({name: [row[name] for row in rows] for name in rows[0]}), len(rows) // 2
    (folder / "saved").mkdir()
    files = {"data-0.arrow": table[:half], "data-1.arrow": table[half:]}
    for name, part in files.items():
        with pa.ipc.new_stream(str(folder / "saved" / name), table.schema) as sink:
            sink.write_table(part)
    put(folder / "saved" / "state.json", json.dumps({"_data_files": [{"filename": name} for name in files]}))
    put(folder / "saved" / "dataset_info.json", "{}")
    return folder / "saved"


@pytest.fixture(scope="module")
def configured():
    """The configuration of a task that reads what was written, composed once."""
    import dataclasses
    import functools

    models = {"chat": "smollm2_135m"}
    compose = functools.cache(
        lambda task: commands.compose(
            [
                "tracking=off",
                f"task={task}",
                f"model={models.get(task, 'minilm')}",
                "task.data=x",
                "trainer.objective=loss",
            ]
        )
    )

    def make(task, form, folder, rows):
        config = compose(task).task
        if hasattr(config, "gap_words"):  # a random text may be one
            config = dataclasses.replace(config, gap_words="keep")
        if form == "saved":
            return dataclasses.replace(config, data=None, dataset=str(save(folder, rows)))
        return dataclasses.replace(config, data=str(write(form, folder, rows)))

    return make


# -- token labels ------------------------------------------------------------------------------------------------------

TAGGED = st.lists(st.tuples(TEXT, st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])), min_size=1, max_size=6)


def in_bio(tags):
    """Each I- that does not go on with a span begins one."""
    before = ["O", *tags]
    return [
        "B" + tag[1:] if tag[0] == "I" and last[1:] != tag[1:] else tag for last, tag in zip(before, tags, strict=False)
    ]


@SOME
@given(rows=st.lists(TAGGED, min_size=20, max_size=25, unique_by=lambda row: tuple(token for token, _ in row)))
@pytest.mark.parametrize("form", FORMS)
def test_random_tags_are_read_back(configured, tmp_path_factory, form, rows):
    ends = [("x", "B-X"), ("y", "B-Y")]  # every split has both types
    written = [
        {"tokens": [token for token, _ in (*row, *ends)], "tags": in_bio([tag for _, tag in (*row, *ends)])}
        for row in rows
    ]
    _, found, _ = read_own_tokens(configured("token_labels", form, tmp_path_factory.mktemp("tags"), written))
    read = {row.tokens: row.tags for split in found.values() for row in split}
    assert read == {tuple(row["tokens"]): tuple(row["tags"]) for row in written}


@SOME
@given(
    rows=st.lists(
        st.lists(st.text("abcXYZ,.'\"[]é中", min_size=1), min_size=1), min_size=20, max_size=25, unique_by=tuple
    )
)
@pytest.mark.parametrize("ending", ["conll", "iob2", "bio", "txt"])
def test_random_tags_of_a_token_a_line_are_read_back(configured, tmp_path_factory, ending, rows):
    tmp_path = tmp_path_factory.mktemp("lines")
    config = configured("token_labels", "jsonl", tmp_path, [{"tokens": ["x"], "tags": ["O"]}])
    lines = "\n\n".join("\n".join(f"{token}\t_\tB-X" for token in row) for row in rows)
    config = type(config)(**{**vars(config), "data": str(put(tmp_path / f"a.{ending}", lines))})
    _, found, _ = read_own_tokens(config)
    assert sorted(row.tokens for split in found.values() for row in split) == sorted(map(tuple, rows))


# -- conversations -----------------------------------------------------------------------------------------------------

CHAT = st.tuples(st.booleans(), st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))


def messages(chat, number, names):
    role, content = names
    system, turns = chat
    said = [{role: "system", content: f"You are {number}."}] if system else []
    for place, (asked, answered) in enumerate(turns):
        said += [{role: "user", content: f"{asked} {number}.{place}"}, {role: "assistant", content: answered}]
    return said


@SOME
@given(chats=st.lists(CHAT, min_size=20, max_size=25))
@pytest.mark.parametrize("names", [("role", "content"), ("from", "value")], ids=" ".join)
@pytest.mark.parametrize("form", [*FORMS, "saved"])
def test_random_conversations_are_read_back(configured, tmp_path_factory, form, names, chats):
    written = [{"messages": messages(chat, number, names)} for number, chat in enumerate(chats)]
    _, found, _ = read_own_chats(configured("chat", form, tmp_path_factory.mktemp("chats"), written))
    read = [tuple((m["role"], m["content"]) for m in row) for frame in found.values() for row in frame["messages"]]
    role, content = names
    assert sorted(read) == sorted(tuple((m[role], m[content]) for m in row["messages"]) for row in written)


# -- extractive answers ------------------------------------------------------------------------------------------------

ASKED = st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=6), st.lists(st.integers(0, 5), max_size=3))


def question(asked, number, shape):
    """Answers are some of the words of the context, with their starts; as SQuAD, as objects, or in two columns."""
    text, words, chosen = asked
    context, starts = f"{number}:", []
    for word in words:
        starts.append(len(context) + 1)
        context += f" {word}"
    places = sorted({place % len(words) for place in chosen})
    said, begin = [words[place] for place in places], [starts[place] for place in places]
    row = {"question": f"{text} {number}", "context": context}
    if shape == "squad":
        return row | {"answers": {"text": said, "answer_start": begin}}
    if shape == "objects":
        return row | {"answers": [{"text": t, "answer_start": s} for t, s in zip(said, begin, strict=True)]}
    return row | {"answers": said, "answer_start": begin}


@SOME
@given(asked=st.lists(ASKED, min_size=20, max_size=25))
@pytest.mark.parametrize("shape", ["squad", "objects", "beside"])
@pytest.mark.parametrize("form", [*FORMS, "saved"])
def test_random_answers_are_read_back_where_they_stand(configured, tmp_path_factory, form, shape, asked):
    written = [question(each, number, shape) for number, each in enumerate(asked)]
    if not any(each[2] for each in asked):
        written[0] = question((asked[0][0], asked[0][1], [0]), 0, shape)
    _, found, _ = read_own_qa(configured("extractive_qa", form, tmp_path_factory.mktemp("qa"), written))
    read = {each.text: each for split in found.values() for each in split}
    plain = [question(each, number, "squad") for number, each in enumerate(asked)]
    if not any(each[2] for each in asked):
        plain[0] = question((asked[0][0], asked[0][1], [0]), 0, "squad")
    assert read.keys() == {row["question"] for row in plain}
    for row in plain:
        each, wanted = read[row["question"]], row["answers"]
        assert each.context == row["context"]
        for text, start in each.answers:
            assert each.context[start : start + len(text)] == text
        pairs = zip(wanted["text"], wanted["answer_start"], strict=True)
        assert set(each.answers) == {(text.strip(), start + len(text) - len(text.lstrip())) for text, start in pairs}
