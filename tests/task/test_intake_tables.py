"""Tables of texts that people bring: each read as it was meant."""
# ruff: noqa: E741

import csv
import dataclasses
import json

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.intake.delimited import read_delimited
from tests.task.intake_inputs import (
    ACCENTED,
    SPLIT,
    config_of,
    in_splits,
    lines_of,
    relabelled,
    sentences,
    swallowed,
    text_of,
    texts_of,
    written,
)

WESTERN = ["où ça, l’œuvre à 50 €", "über Köln, 5 µm", "¿qué pasó, señor?", "não põe informações", "però, col·lecció"]
WESTERN += ["það, því ný öld", "født på Ærø", "människor på ön", "võrdsed õigused, šokolaad", "één, geïnteresseerd"]
TONGUES = [(f"{WESTERN[i % 10]} {text}", label) for i, (text, label) in enumerate(sentences())]
ICELANDIC = [
    (f"{('það við', 'góðan dag', 'þýða')[i % 3]} {text}", label) for i, (text, label) in enumerate(sentences())
]
PLAIN = {text for text, _ in sentences()}
LONG = [("word " * 40_000, "pos"), *sentences()[1:]]
QUOTED = [(f'{text}\nand "more", too\tthere', label) for text, label in sentences()]
BIG = [json.dumps({"text": t, "label": l, "id": 2**80 + i}) for i, (t, l) in enumerate(sentences())]
LETTERS = [(f"Dear {text},\nyes, it is\n, so\nyours, me", label) for text, label in sentences()]
READ = [
    ("letters of several lines", "a.csv", text_of(LETTERS), {}, {text for text, _ in LETTERS}),
    (
        "quotes that swallow rows, tab",
        "a.tsv",
        swallowed(20, 21, "\t"),
        {},
        PLAIN - {sentences()[19][0], sentences()[20][0]} | {f'"{sentences()[19][0]}', f'{sentences()[20][0]}"'},
    ),
    # name, file, content, overrides, texts that there are (None: those of sentences)
    ("comma", "a.csv", text_of(sentences()), {}, None),
    ("upper case suffix", "A.CSV", text_of(sentences()), {}, None),
    ("semicolon", "a.csv", text_of(sentences(), ";"), {}, None),
    ("bar", "a.csv", text_of(sentences(), "|"), {}, None),
    ("tab in a csv", "a.csv", text_of(sentences(), "\t"), {}, None),
    ("comma in a tsv", "a.tsv", text_of(sentences()), {}, None),
    ("tab", "a.tsv", text_of(sentences(), "\t"), {}, None),
    ("tab in a txt", "a.txt", text_of(sentences(), "\t"), {}, None),
    ("given separator", "a.csv", text_of(sentences(), "^"), {"separator": "^"}, None),
    ("spreadsheet's sep line", "a.csv", "sep=;\r\n" + text_of(sentences(), ";", end="\r\n"), {}, None),
    ("windows line ends", "a.csv", text_of(sentences(), end="\r\n"), {}, None),
    ("old mac line ends", "a.csv", text_of(sentences(), end="\r"), {}, None),
    ("quotes everywhere", "a.csv", text_of(sentences(), quoting=csv.QUOTE_ALL), {}, None),
    ("quotes everywhere, tab", "a.tsv", text_of(sentences(), "\t", quoting=csv.QUOTE_ALL), {}, None),
    ("blank lines between", "a.csv", text_of(sentences()).replace("\n", "\n\n"), {}, None),
    ("separator at each end", "a.csv", text_of(sentences()).replace("\n", ",\n"), {}, None),
    ("blanks in the header", "a.csv", text_of(sentences(), head=(" text ", "label ")), {}, None),
    (
        "names of splits",
        "a.csv",
        text_of(in_splits(["Train"] * 4 + ["val", "TEST"]), head=SPLIT),
        {"split": "split"},
        None,
    ),
    (
        "names of splits that mean another",
        "a.csv",
        text_of(in_splits(["train", "test"]), head=SPLIT),
        {"split": "none"},
        None,
    ),
    (
        "a yes or no of training",
        "a.csv",
        text_of(in_splits([1, 1, 0]), head=("text", "label", "is_train")),
        {"split": "is_train"},
        None,
    ),
    ("names of days", "a.csv", text_of(in_splits(["Monday", "train"]), head=SPLIT), {}, None),
    ("long field", "a.csv", text_of(LONG), {}, {text for text, _ in LONG}),
    ("quotes, breaks and tabs in fields", "a.csv", text_of(QUOTED), {}, {text for text, _ in QUOTED}),
    ("the same, semicolon", "a.csv", text_of(QUOTED, ";"), {}, {text for text, _ in QUOTED}),
    ("the same, tab as pandas writes it", "a.tsv", text_of(QUOTED, "\t"), {}, {text for text, _ in QUOTED}),
    (
        "a field that would be a row, but for its label",
        "a.tsv",
        text_of([*sentences(), ("1\t0\n", "pos"), ("\t>\n", "neg")], "\t"),
        {},
        PLAIN | {"1\t0\n", "\t>\n"},
    ),
    (
        "single quotes as GLUE has them",
        "a.tsv",
        "text\tlabel\n" + "".join(f'he said "{t}\t{l}\n' for t, l in sentences()),
        {},
        {f'he said "{text}' for text in PLAIN},
    ),
    (
        "whole quotes as GLUE has them",
        "a.tsv",
        "text\tlabel\n" + "".join(f'"{t}"\t{l}\n' for t, l in sentences()),
        {},
        {f'"{text}"' for text in PLAIN},
    ),
    ("byte order mark", "a.csv", text_of(sentences()).encode("utf-8-sig"), {}, None),
    ("byte order mark, jsonl", "a.jsonl", lines_of(sentences()).encode("utf-8-sig"), {}, None),
    (
        "byte order mark, array",
        "a.json",
        json.dumps([{"text": t, "label": l} for t, l in sentences()]).encode("utf-8-sig"),
        {},
        None,
    ),
    ("UTF-16", "a.csv", text_of(ACCENTED).encode("utf-16"), {}, {t for t, _ in ACCENTED}),
    ("UTF-16 without a mark", "a.csv", text_of(ACCENTED).encode("utf-16-le"), {}, {t for t, _ in ACCENTED}),
    ("UTF-16 big-endian", "a.csv", text_of(ACCENTED).encode("utf-16-be"), {}, {t for t, _ in ACCENTED}),
    ("UTF-32", "a.csv", text_of(ACCENTED).encode("utf-32"), {}, {t for t, _ in ACCENTED}),
    ("UTF-16 jsonl", "a.jsonl", lines_of(ACCENTED).encode("utf-16"), {}, {t for t, _ in ACCENTED}),
    ("Windows-1252", "a.csv", text_of(ACCENTED).encode("cp1252"), {}, {t for t, _ in ACCENTED}),
    ("Windows-1252, semicolon", "a.csv", text_of(ACCENTED, ";").encode("cp1252"), {}, {t for t, _ in ACCENTED}),
    ("Latin-1", "a.csv", text_of(ACCENTED).encode("latin-1"), {}, {t for t, _ in ACCENTED}),
    ("Windows-1252 in many tongues", "a.csv", text_of(TONGUES).encode("cp1252"), {}, {t for t, _ in TONGUES}),
    ("Icelandic", "a.csv", text_of(ICELANDIC).encode("cp1252"), {}, {t for t, _ in ICELANDIC}),
    ("given encoding", "a.csv", text_of(ACCENTED).encode("cp850"), {"encoding": "cp850"}, {t for t, _ in ACCENTED}),
    ("object a line", "a.jsonl", lines_of(sentences()), {}, None),
    ("object a line, json", "a.json", lines_of(sentences()), {}, None),
    ("object a line, ndjson", "a.ndjson", lines_of(sentences()), {}, None),
    ("array", "a.json", json.dumps([{"text": t, "label": l} for t, l in sentences()]), {}, None),
    (
        "array, spread over lines",
        "a.json",
        json.dumps([{"text": t, "label": l} for t, l in sentences()], indent=1),
        {},
        None,
    ),
    (
        "array under another name",
        "a.jsonl",
        json.dumps([{"text": t, "label": l} for t, l in sentences()], indent=1),
        {},
        None,
    ),
    (
        "array inside an object",
        "a.json",
        json.dumps({"version": 1, "data": [{"text": t, "label": l} for t, l in sentences()]}),
        {},
        None,
    ),
    (
        "columns as pandas writes them",
        "a.json",
        pd.DataFrame(sentences(), columns=["text", "label"]).to_json(),
        {},
        None,
    ),
    (
        "columns and data as pandas writes them",
        "a.json",
        pd.DataFrame(sentences(), columns=["text", "label"]).to_json(orient="split"),
        {},
        None,
    ),
    (
        "columns as lists",
        "a.json",
        json.dumps({"text": [t for t, _ in sentences()], "label": [l for _, l in sentences()]}),
        {},
        None,
    ),
    (
        "blanks between separators and quotes",
        "a.csv",
        "text, label\n" + "".join(f'"{t}, ""so"" it is", "{l}"\n' for t, l in sentences()),
        {},
        {f'{text}, "so" it is' for text in PLAIN},
    ),
    (
        "a few texts that begin with a blank and a quote",
        "a.csv",
        text_of([(f' "{t}" ', l) if i < 9 else (t, l) for i, (t, l) in enumerate(sentences())]),
        {},
        {f' "{t}" ' if i < 9 else t for i, (t, _) in enumerate(sentences())},
    ),
    ("texts as a spreadsheet's formulas", "a.csv", text_of([(f'="{t}"', f'="{l}"') for t, l in sentences()]), {}, None),
    (
        "words for yes and no joined",
        "a.csv",
        text_of([(t, ["yes", "Y", "no", "N"][i % 4]) for i, (t, _) in enumerate(sentences())]),
        {"normalise": True},
        None,
    ),
    ("big integers nobody reads", "a.jsonl", "\n".join(BIG), {}, None),
    (
        "words like gaps",
        "a.csv",
        text_of([("NA", "pos"), ("None", "neg"), ("null", "pos"), *sentences()]),
        {},
        PLAIN | {"NA", "None", "null"},
    ),
    (
        "two unnamed columns",
        "a.csv",
        text_of([(*row, "", "") for row in sentences()], head=("text", "label", "", "")),
        {},
        None,
    ),
    (
        "words that programs write for gaps, settled",
        "a.csv",
        text_of([("nan", "pos"), ("#NAME?", "neg"), *sentences()]),
        {"gap_words": "keep"},
        PLAIN | {"nan", "#NAME?"},
    ),
    (
        "words for gaps left out",
        "a.csv",
        text_of([("nan", "pos"), ("None", "neg"), *sentences()]),
        {"gap_words": "leave_out"},
        None,
    ),
    ("a text like the header", "a.csv", text_of([("text", "pos"), *sentences()]), {}, PLAIN | {"text"}),
    ("dashes in the first row", "a.csv", text_of([("---", "pos"), *sentences()]), {}, PLAIN | {"---"}),
    (
        "labels 1 and '1' in JSON",
        "a.jsonl",
        lines_of([(t, (i % 2) if i % 3 else str(i % 2)) for i, (t, _) in enumerate(sentences())]),
        {},
        None,
    ),
    ("truth values", "a.jsonl", lines_of([(t, l == "pos") for t, l in sentences()]), {}, None),
    ("labels joined", "a.csv", text_of(relabelled(lambda l: f"{l} ")), {"normalise": True}, None),
    ("labels joined, case", "a.csv", text_of(relabelled(str.upper)), {"normalise": True}, None),
    ("labels kept apart", "a.csv", text_of(relabelled(str.upper)), {"normalise": False}, None),
    ("gaps left out", "a.csv", text_of([*sentences(), ("", "pos"), ("a text", " ")]), {"gaps": "leave_out"}, None),
    ("repeated rows", "a.csv", text_of([*sentences(), *sentences()]), {}, None),
    (
        "contradictions, first",
        "a.csv",
        text_of([*sentences(), (sentences()[0][0], "pos")]),
        {"duplicates": "first"},
        None,
    ),
    (
        "contradictions left out",
        "a.csv",
        text_of([*sentences(), ("odd", "pos"), ("odd", "neg")]),
        {"duplicates": "leave_out"},
        None,
    ),
]


@pytest.mark.parametrize(
    ("file", "content", "changes", "texts"), [row[1:] for row in READ], ids=[row[0] for row in READ]
)
def test_a_table_is_read_as_it_was_meant(make_task, tmp_path, file, content, changes, texts):
    task = read_task(config_of(make_task, data=written(tmp_path / file, content), **changes))
    assert texts_of(task) == (PLAIN if texts is None else texts)
    joined = changes.get("normalise") is not False
    assert len(task.classes) == 2 if joined else len(task.classes) == 4
    for split in task.describe()["labels"].values():
        assert min(split) > 0, "every class is in every split"


ARROW_KINDS = {
    "dictionary": (pa.array([t for t, _ in sentences()]), pa.array([l for _, l in sentences()]).dictionary_encode()),
    "large strings": (pa.array([t for t, _ in sentences()], pa.large_string()), pa.array([l for _, l in sentences()])),
    "integers": (pa.array([t for t, _ in sentences()]), pa.array([i % 2 for i in range(60)], pa.int8())),
    "truth values": (pa.array([t for t, _ in sentences()]), pa.array([i % 2 == 1 for i in range(60)])),
}


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "stream.arrow"])
@pytest.mark.parametrize("kind", ARROW_KINDS)
def test_arrows_kinds_of_columns_are_read(make_task, tmp_path, kind, suffix):
    import pyarrow.parquet as pq

    table, path = pa.table(dict(zip(("text", "label"), ARROW_KINDS[kind], strict=True))), tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        new = pa.ipc.new_stream if suffix.startswith("stream") else pa.ipc.new_file
        with new(str(path), table.schema) as sink:
            sink.write_table(table)
    task = read_task(config_of(make_task, data=str(path)))
    assert texts_of(task) == PLAIN
    assert len(task.classes) == 2


def test_rows_that_a_quote_swallows_are_read_though_one_has_a_label_of_its_own():
    content = text_of(sentences(), "\t") + '"Great\tpos\nso so\tneutral\nI said fine"\tneg\n'
    rows, _ = read_delimited(content, ".tsv", None, ["text", "label"])
    assert [row for _, row in rows[-3:]] == [['"Great', "pos"], ["so so", "neutral"], ['I said fine"', "neg"]]


CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n"), min_size=1, max_size=30)
FORMS = ["csv", "semicolon", "bar", "tab", "txt", "jsonl", "ndjson", "array", "parquet", "arrow", "feather", "utf-16"]
FORMS += ["utf-32", "utf-8-sig", "quoted", "saved"]


def saved(folder, table):
    """As the datasets library saves one split."""
    folder.mkdir()
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as sink:
        sink.write_table(table)
    written(folder / "state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    written(folder / "dataset_info.json", "{}")
    return str(folder)


def write_as(form, path, texts, labels):
    rows = list(zip(texts, labels, strict=True))
    marks = {"semicolon": ";", "bar": "|", "tab": "\t", "txt": "\t"}
    if form in ("jsonl", "ndjson"):
        return written(path / f"a.{form}", lines_of(rows))
    if form == "array":
        return written(path / "a.json", json.dumps([{"text": t, "label": l} for t, l in rows]))
    if form == "saved":
        return saved(path / "saved", pa.table({"text": texts, "label": labels}))
    if form in ("parquet", "arrow", "feather"):
        frame = pd.DataFrame(rows, columns=["text", "label"])
        write = frame.to_parquet if form == "parquet" else frame.to_feather
        write(path / f"a.{form}")
        return str(path / f"a.{form}")
    content = text_of(rows, marks.get(form, ","), **({"quoting": csv.QUOTE_ALL} if form == "quoted" else {}))
    name = {"tab": "a.tsv", "txt": "a.txt"}.get(form, "a.csv")
    return written(path / name, content.encode(form if form.startswith("utf") else "utf-8"))


@settings(max_examples=25, deadline=None)
@given(
    cells=st.lists(
        CELL.filter(lambda cell: cell.strip()), min_size=30, max_size=40, unique_by=lambda t: " ".join(t.split())
    )
)
@pytest.mark.parametrize("form", FORMS)
def test_a_random_table_is_read_back_equal(make_task, tmp_path_factory, form, cells):
    folder = tmp_path_factory.mktemp("random")
    labels = [f"class {i % 2}" for i in range(len(cells))]
    path = write_as(form, folder, cells, labels)
    whole = make_task("task=hf", "task.dataset=x") if form == "saved" else make_task("task=text_csv", "task.data=x")
    task = read_task(dataclasses.replace(whole, gap_words="keep", **{"dataset" if form == "saved" else "data": path}))
    found = {
        text: task.classes[int(label)]
        for split in task.splits.values()
        for text, label in zip(split.texts, split.labels, strict=True)
    }
    assert found == dict(zip(cells, labels, strict=True))


def test_an_address_is_no_file_of_this_machine(make_task):
    with pytest.raises(ConfigError, match=r"task\.data=https:/x\.y/a\.csv: an address, not a file of this machine"):
        read_task(dataclasses.replace(make_task("task=text_csv", "task.data=x"), data="https://x.y/a.csv"))
