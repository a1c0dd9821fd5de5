"""What people bring, and what must come of it: files and configurations, each read right or refused by name."""
# ruff: noqa: E501, E741

import csv
import dataclasses
import functools
import gzip
import io
import itertools
import json
import os
import re
import shutil
import socket
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sacrebleu
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.config import ConfigError
from harness.config.tasks.own import LabelsConfig
from harness.task.build import read_task
from harness.task.intake.delimited import read_delimited
from harness.task.intake.duplicates import normalised
from harness.task.intake.near_texts import near_texts
from harness.task.intake.outliers import outliers
from harness.task.summary import short, summary

# -- tables of texts ---------------------------------------------------------------------------------------------------

WORDS = ["harbour", "lantern", "meadow", "copper", "violin", "thunder", "biscuit", "granite", "orchid", "saddle"]


def sentences(count=60):
    return [(f"the {WORDS[i % 10]} of {WORDS[i // 10]} at {i}", "pos" if i % 2 else "neg") for i in range(count)]


def text_of(rows, mark=",", head=("text", "label"), end="\n", **how):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, lineterminator=end, **how)
    writer.writerows([head, *rows] if head else rows)
    return out.getvalue()


def lines_of(rows):
    return "".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows)


def relabelled(change, every=7):
    return [(text, change(label) if i % every == 0 else label) for i, (text, label) in enumerate(sentences())]


def in_splits(names, count=60):
    """The sentences, with a column that goes through `names` of splits."""
    return [(*row, names[i * len(names) // count]) for i, row in enumerate(sentences(count))]


SPLIT = ("text", "label", "split")
ACCENTED = [(f"{text} déjà vu café", label) for text, label in sentences()]
WESTERN = ["où ça, l’œuvre à 50 €", "über Köln, 5 µm", "¿qué pasó, señor?", "não põe informações", "però, col·lecció"]
WESTERN += ["það, því ný öld", "født på Ærø", "människor på ön", "võrdsed õigused, šokolaad", "één, geïnteresseerd"]
TONGUES = [(f"{WESTERN[i % 10]} {text}", label) for i, (text, label) in enumerate(sentences())]
ICELANDIC = [
    (f"{('það við', 'góðan dag', 'þýða')[i % 3]} {text}", label) for i, (text, label) in enumerate(sentences())
]
EASTERN = {
    "cp1250": "zażółć gęślą jaźń",
    "iso8859_2": "příliš žluťoučký kůň",
    "cp1254": "güneş çalışıyor",
    "cp1257": "žmonės žodžių reikšmė",
    "mac_roman": "über die Straße, schöne Mädchen",
    "cp850": "doués, déjà été",
}
PLAIN = {text for text, _ in sentences()}
LONG = [("word " * 40_000, "pos"), *sentences()[1:]]
QUOTED = [(f'{text}\nand "more", too\tthere', label) for text, label in sentences()]
BIG = [json.dumps({"text": t, "label": l, "id": 2**80 + i}) for i, (t, l) in enumerate(sentences())]


def swallowed(begin, end, mark=",", rows=None):
    """A table with a quote before one field and after another, in a later row."""
    lines = text_of(rows or sentences(), mark).split("\n")
    lines[begin] = f'"{lines[begin]}'
    lines[end] = lines[end].replace(mark, f'"{mark}')
    return "\n".join(lines)


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


def config_of(make_task, **changes):
    task = make_task("task=text_csv", "task.data=x")
    labels = {name: changes.pop(name) for name in ("normalise", "unlabelled") if name in changes}
    changes["labels"] = dataclasses.replace(changes.get("labels", task.labels), **labels)
    return dataclasses.replace(task, **changes)


@pytest.fixture(scope="module")
def make_task():
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from harness.config import check, composition

    @functools.cache  # a configuration is frozen, and composing it takes longer than reading most of these files
    def make(*words):
        models = {"image_folder": "efficientnet_lite0", "spoken_digits": "lstm_speech", "seq2seq": "t5_small"}
        models |= {"image_table": "efficientnet_lite0", "chat": "gpt2", "choice": "gpt2", "audio_folder": "lstm_speech"}
        models |= {"audio_table": "lstm_speech"}
        models |= {"transcripts": "whisper_base"}
        targets = {"efficientnet_lite0": "conv", "lstm_speech": "lstm"}
        objectives = {"seq2seq": "loss", "chat": "loss", "extractive_qa": "f1", "transcripts": "wer"}
        name = words[0].partition("=")[2]
        more = [f"model={models[name]}"] if name in models else []
        more += [f"lora.targets=[{targets[models[name]]}]"] if models.get(name) in targets else []
        more += [f"trainer.objective={objectives[name]}"] if name in objectives else []
        with initialize_config_dir(str(composition.CONF), version_base="1.3"):
            tree = OmegaConf.to_container(compose("config", overrides=[*words, *more]), resolve=True)
        tree.pop("hydra", None)
        return check(tree).task

    return make


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def texts_of(task):
    return {text for split in task.splits.values() for text in split.texts}


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


NUMBERED = [(text, f"{i},5" if i % 2 else str(i)) for i, (text, _) in enumerate(sentences())]


def test_a_decimal_comma_is_read_and_told(make_task, tmp_path):
    data = written(tmp_path / "a.csv", text_of(NUMBERED, ";"))
    task = read_task(config_of(make_task, data=data, answer="number"))
    found = {t: l for split in task.splits.values() for t, l in zip(split.texts, split.labels, strict=True)}
    assert found == {text: float(label.replace(",", ".")) for text, label in NUMBERED}
    assert task.describe()["suspicious"] == ["train: the comma in numbers of label is read as a decimal point"]


THOUSANDS = [str(850 + 10 * i) if i < 15 else f"1.{10 * i - 150:03d}" for i in range(60)]
DECIMALS = {".": [float(number) for number in THOUSANDS], ",": [850.0 + 10 * i for i in range(60)]}


def values_of(task):
    return {t: l for split in task.splits.values() for t, l in zip(split.texts, split.labels, strict=True)}


@pytest.mark.parametrize(("mark", "suffix"), [(";", "csv"), ("\t", "tsv")])
def test_a_decimal_comma_with_three_digits_is_read_where_it_can_part_no_thousands(make_task, tmp_path, mark, suffix):
    rows = [(text, f"{number // 7},{number * 37 % 1000:03d}") for number, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / f"a.{suffix}", text_of(rows, mark)), answer="number")
    found = values_of(read_task(task))
    assert found == {text: float(number.replace(",", ".")) for text, number in rows}
    rows = [(text, f"{1 + int(number[0])}{number[1:]}") for text, number in rows]
    task = config_of(make_task, data=written(tmp_path / f"b.{suffix}", text_of(rows, mark)), answer="number")
    with pytest.raises(ConfigError, match=r"it may part thousands; 'task\.labels\.decimal=\",\"' reads it as decimal"):
        read_task(task)
    settled = dataclasses.replace(task, labels=dataclasses.replace(task.labels, decimal=","))
    assert values_of(read_task(settled)) == {text: float(number.replace(",", ".")) for text, number in rows}


@pytest.mark.parametrize("decimal", DECIMALS)
def test_points_that_may_part_thousands_are_refused_until_they_are_settled(make_task, tmp_path, decimal):
    rows = [(text, number) for (text, _), number in zip(sentences(), THOUSANDS, strict=True)]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows, ";")), answer="number")
    with pytest.raises(
        ConfigError, match=r"1\.000, may have thousands in 45 rows \(17, .*task\.labels\.decimal=\. reads"
    ):
        read_task(task)
    settled = read_task(dataclasses.replace(task, labels=dataclasses.replace(task.labels, decimal=decimal)))
    found = {t: l for split in settled.splits.values() for t, l in zip(split.texts, split.labels, strict=True)}
    assert found == {text: number for (text, _), number in zip(rows, DECIMALS[decimal], strict=True)}


@pytest.mark.parametrize(
    ("form", "said", "key"),
    [
        ("${}", "'$' before them", None),
        ("{} %", "'%' behind them", None),
        ("about {} kg", "'about' before them and 'kg' behind them", None),
        ("${:,}.50", "'$' before them", "."),
        ("-${}", "'$' before them", None),
    ],
)
def test_numbers_of_one_unit_are_read_in_it_and_told(make_task, tmp_path, form, said, key):
    rows = [(text, form.format(37 * place)) for place, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="number")
    task = read_task(dataclasses.replace(task, labels=dataclasses.replace(task.labels, decimal=key)))
    sign, rest = -1 if form[0] == "-" else 1, 0.5 if key else 0
    assert values_of(task) == {text: sign * (37 * place + rest) for place, (text, _) in enumerate(sentences())}
    assert f"train: numbers of label all have {said}, and are read in this unit" in task.describe()["suspicious"]


def test_splits_whose_numbers_are_of_two_units_are_refused(make_task, tmp_path):
    rows = [(text, f"{place}%") for place, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.csv", text_of(rows[:50]))
    test = written(tmp_path / "b.csv", text_of([(text, number.strip("%")) for text, number in rows[50:]]))
    with pytest.raises(ConfigError, match="are of 2 units: those of train have '%' behind them, test have no unit"):
        read_task(config_of(make_task, data=data, test=test, answer="number"))


ODD_NUMBERS = [
    ([f"{i + 1}.250" for i in range(60)], "the point in numbers of label, which all have three digits behind it, is a"),
    ([str(-999 if i % 9 == 0 else i / 10) for i in range(60)], "-999 (7 rows) is far from all other numbers of label"),
    ([str(9999 if i % 9 == 0 else i * 10) for i in range(60)], "9999 (7 rows) is far from all other numbers of label"),
    (
        [str({0: 77, 1: 88, 2: 99}.get(i % 20, i % 11)) for i in range(60)],
        "77 (3 rows), 88 (3 rows), 99 (3 rows) are far from all other numbers of label, as surveys write that there is",
    ),
]


@pytest.mark.parametrize(("numbers", "line"), ODD_NUMBERS)
def test_numbers_that_may_mean_another_are_told(make_task, tmp_path, numbers, line):
    rows = [(text, number) for (text, _), number in zip(sentences(), numbers, strict=True)]
    data = written(tmp_path / "a.csv", text_of(rows, ";"))
    told = read_task(config_of(make_task, data=data, answer="number")).describe()["suspicious"]
    assert told[0].startswith(f"train: {line}")


OUTLIERS = {
    "one": ({41: 9_999_999}, "a number is far from all other numbers of label (rows 43), as 9999999 in row 43"),
    "several": (
        {3: -9e9, 7: 2e5},
        "2 numbers are far from all other numbers of label (rows 5, 9), as -9000000000 in row 5",
    ),
    "huge": ({0: 1e38}, "a number is far from all other numbers of label (rows 2), as 1e+38 in row 2"),
}


@pytest.mark.parametrize("common", [lambda i: i % 18, lambda i: 0 if i % 3 else i % 17, lambda i: i / 7 - 3])
@pytest.mark.parametrize("case", OUTLIERS)
def test_a_number_that_is_far_from_all_others_is_told_with_its_row(make_task, tmp_path, case, common):
    far, line = OUTLIERS[case]
    rows = [(text, far.get(i, common(i))) for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="number")
    (told,) = read_task(task).describe()["suspicious"]
    assert told.startswith(f"train: {line}, where the median is ")


@pytest.mark.parametrize(
    ("code", "others"), [(-1, range(1, 52)), (99, [0, 1, 2, 3, 4] * 10), (0, [*range(21, 60)]), (-1, [0, 1, 2, 3] * 2)]
)
def test_a_number_that_stands_for_none_is_told_with_its_rows(code, others):
    (told,) = outliers("age", dict(enumerate([code] * 9 + list(others))))
    said = f"age is {code} in 9 rows (0, 1, 2, 3, 4, 5, 6, 7, 8), and from {min(others)} to {max(others)} in all others"
    assert told == f"{said}: does it stand for a number that is missing?"


@pytest.mark.parametrize(
    "numbers",
    [
        [-1, 0, 1] * 20,
        [-2, -1, 0, 1, 2] * 5,
        [-1] * 5 + [0, 1, 2, 3] * 5,
        [0] * 40 + [1, 2, 3, 4, 5, 9],
        [*range(90, 100)] * 3,
        [0, 25, 50, 75, 100] * 9,
    ],
)
def test_numbers_at_the_end_of_a_scale_are_not_told(numbers):
    assert outliers("score", dict(enumerate(map(float, numbers)))) == []


@pytest.mark.parametrize("shape", ["normal", "lognormal", "exponential", "uniform", "poisson"])
def test_numbers_of_usual_shapes_have_no_outlier(shape):
    for seed in range(20):
        draw = np.random.default_rng(seed)
        numbers = getattr(draw, shape)(size=2000)
        assert outliers("label", dict(enumerate(map(float, numbers)))) == []
    assert outliers("label", dict.fromkeys(range(9), 1.0)) == outliers("label", {}) == []


@pytest.mark.parametrize("step", [1, 0.25, 1000])
def test_letters_beside_numbers_stay_whole(make_task, tmp_path, step):
    rows = [(f"Dear {text},\nit was 3,000\nin all, 7\nyours", i * step) for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="number")
    assert texts_of(read_task(task)) == {text for text, _ in rows}


@pytest.mark.parametrize("step", [1, 0.25, 1000])
def test_usual_numbers_are_not_told(make_task, tmp_path, step):
    rows = [(text, (i - 30) * step) for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows, ";")), answer="number")
    assert "suspicious" not in read_task(task).describe()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("pos", "pos."), ["'pos' and 'pos.' differ in signs alone"]),
        (("very-good", "very_good"), ["'very-good' and 'very_good' differ in signs alone"]),
        (("non-toxic", "nontoxic"), ["'non-toxic' and 'nontoxic' differ in signs alone"]),
        (("C++", "C#"), None),
        (("-2", "2"), None),
        (("5-star", "5 star"), None),
        (("A", "A-"), None),
        (("BBB", "BBB-"), None),
        (("-", "--"), None),
    ],
)
def test_labels_that_differ_in_signs_alone_are_told(make_task, tmp_path, names, told):
    rows = [(text, names[i % 2]) for i, (text, _) in enumerate(sentences())]
    task = read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows))))
    assert task.describe().get("suspicious") == told


def test_labels_that_differ_in_case_are_not_said_to_differ_in_signs(make_task, tmp_path):
    rows = [(text, ("Straße", "Strasse", "US", "us")[i % 4]) for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), normalise=False)
    assert "suspicious" not in read_task(task).describe()


def test_sets_of_labels_are_not_taken_for_numbers_in_two_formats(make_task, tmp_path):
    rows = [(text, ("2", "19", "20", "19,2", "19,20")[i % 5]) for i, (text, _) in enumerate(sentences())]
    with pytest.raises(ConfigError, match="2 classes of label are others joined by ',', '19,2', '19,20'"):
        read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows))))


def test_as_many_classes_as_rows_are_refused_with_the_key(make_task, tmp_path):
    rows = [(text, i * 1.37) for i, (text, _) in enumerate(sentences())]
    with pytest.raises(
        ConfigError, match=r"60 classes in 60 rows: is it a text or a number\? task\.answer=number reads"
    ):
        read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows))))


def test_pairs_that_stand_in_training_with_their_texts_swapped_are_told(make_task, tmp_path):
    data = written(tmp_path / "a.csv", two([(f"one {i}", f"two {i}", "yn"[i % 2]) for i in range(60)]))
    held = written(tmp_path / "t.csv", two([(f"two {i}", f"one {i}", "yn"[i % 2]) for i in range(12)]))
    task = config_of(make_task, data=data, test=held, text_pair="other", validation=held, leaks="allow")
    told = read_task(task).findings().suspicious
    assert "12 of 12 test rows stand in train with their texts swapped" in told


@pytest.mark.parametrize("name", ["[OOS]", "(Sports, outdoors)", "{x}"])
def test_a_name_in_brackets_is_a_label(make_task, tmp_path, name):
    task = read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(relabelled(lambda _: name)))))
    assert name in task.classes


def test_one_text_with_two_labels_in_two_splits_is_a_contradiction(make_task, tmp_path):
    data = written(tmp_path / "a.csv", text_of(sentences()))
    rows = [(f"held out {text}", label) for text, label in sentences()]
    test = written(tmp_path / "t.csv", text_of([*rows, (sentences()[0][0], "pos")]))
    with pytest.raises(ConfigError, match=r"different labels, 1 times \(rows train 2 and test 62\); task.duplicates"):
        read_task(config_of(make_task, data=data, test=test, leaks="allow"))
    task = read_task(config_of(make_task, data=data, test=test, duplicates="leave_out"))
    assert task.facts.left_out == {"contradicting": ["train 2", "test 62"]}


def test_a_text_with_two_labels_up_to_case_is_told(make_task, tmp_path):
    rows = [*sentences(), (sentences()[0][0].upper() + "!", "pos")]
    told = read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)))).describe()["suspicious"]
    assert [line.partition("labels, ")[2] for line in told] == ["1 times (rows 2 and 62)"]


def test_groups_that_are_numbers_or_texts_are_one(make_task, tmp_path):
    rows = [{"text": t, "label": l, "g": i // 6 if i % 3 else str(i // 6)} for i, (t, l) in enumerate(sentences())]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    task = read_task(config_of(make_task, data=path, group="g", cut="drawn"))
    group = {row["text"]: str(row["g"]) for row in rows}
    places = [{group[text] for text in split.texts} for split in task.splits.values()]
    assert sum(map(len, places)) == 10


@pytest.mark.parametrize(("one", "other", "alike"), [
    ("what is 12-4", "what is 12*4", False), ("12-4", "12/4", False), ("12 - 4", "12 * 4", False), ("-5", "5", False),
    ("1.5", "15", False), ("10:30", "1030", False), ("50%", "50", False), ("2*(3+4)", "(2*3)+4", False),
    ("café 12-4", "café 12/4", False), ("12–4", "12-4", True), ("x/2", "x*2", False),
    ("and/or", "and or", True), ("well-known", "well known", True), ("at 5!", "At 5", True), ("at 5, he", "at 5 he", True),
    ("- 5 apples", "5 apples", True), ('"5" apples', "5 apples", True), ("in 2020 - a year", "in 2020 a year", True),
])  # fmt: skip
def test_signs_beside_digits_tell_texts_apart(one, other, alike):
    assert (normalised(one) == normalised(other)) is alike


TIMED = [{"text": t, "label": l, "when": i} for i, (t, l) in enumerate(sentences())]
PAIRED = [{"text": t, "label": l, "pair": f"so {t}"} for t, l in sentences()]


def with_odd(rows, **odd):
    """Rows as JSON, the second one odd."""
    return "\n".join(json.dumps(row | odd if place == 1 else row) for place, row in enumerate(rows))


REFUSED = [
    ("a time without end", "a.jsonl", with_odd(TIMED, when=float("inf")), {"time": "when"}, r"when is a number in 59 rows, and none in rows 2, as 'inf'; task.time_format"),
    ("no time", "a.jsonl", with_odd(TIMED, when=None), {"time": "when"}, r"and none in rows 2, as an empty cell"),
    ("a number beside dates", "a.jsonl", with_odd([row | {"when": f"2024-01-{1 + i // 3:02d}"} for i, row in enumerate(TIMED)], when="soon"), {"time": "when"}, r"when is a date like 2024-05-31 in 59 rows, and none in rows 2, as 'soon'"),
    ("days or months", "a.jsonl", with_odd([row | {"when": f"{1 + i % 12}/{1 + i % 9}/2024"} for i, row in enumerate(TIMED)]), {"time": "when"}, r"when, as '10/1/2024'.*%d/%m/%Y or %m/%d/%Y .*task.time_format"),
    ("milliseconds, then seconds", "a.jsonl", with_odd([row | {"when": (1577836800 + i) * (1000 if i < 30 else 1)} for i, row in enumerate(TIMED)]), {"time": "when"}, r"on several scales.*rows 31, 32.*rows 1, 2.*task.time_format=number"),
    ("years of two digits", "a.csv", text_of([(*row, f"{(90 + i // 3) % 100:02d}") for i, row in enumerate(sentences())], head=("text", "label", "when")), {"time": "when"}, r"years of two digits of two centuries .*rows 2, 3.*task.time_format=.%y"),
    ("zones of some", "a.jsonl", with_odd([row | {"when": f"2024-01-{1 + i // 3:02d} 10:00"} for i, row in enumerate(TIMED)], when="2024-01-01T10:00Z"), {"time": "when"}, r"when has a zone in rows 2, as '2024-01-01T10:00Z', and none in rows 1, 3, .*write all of them with one, or none"),
    ("a number as second text", "a.jsonl", with_odd(PAIRED, pair=7), {"text_pair": "pair"}, r"row 2: pair is '7' \(int\), no text"),
    ("a truth value as second text", "a.jsonl", with_odd(PAIRED, pair=True), {"text_pair": "pair"}, r"row 2: pair is 'True' \(bool\)"),
    ("a list as second text", "a.jsonl", with_odd(PAIRED, pair=["a", "b"]), {"text_pair": "pair"}, r"row 2: pair is .* \(list\), no text"),
    ("half a character in the second text", "a.jsonl", with_odd(PAIRED, pair="a\ud800"), {"text_pair": "pair"}, "row 2: pair has half a character"),
    ("a zero in a text", "a.jsonl", with_odd(PAIRED, text="a\0b"), {}, "row 2: text has a character of zero"),
    ("truth values and numbers", "a.jsonl", lines_of([(t, l == "pos" if i < 40 else int(l == "pos")) for i, (t, l) in enumerate(sentences())]), {},
     r"say yes or no in several words: 'False' \(20 rows: .*\) and '0' \(10 rows"),
    ("words for yes and no", "a.csv", text_of([(t, ["yes", "Y", "no", "N"][i % 4]) for i, (t, _) in enumerate(sentences())]), {}, "'N' .* and 'no' .*; 'Y' .* and 'yes' "),
    ("a title above the header", "a.csv", "Reviews of 2024,\n" + text_of(sentences()), {}, "no such column; columns: Reviews of 2024, "),
    ("objects with commas between", "a.jsonl", lines_of(sentences()).replace("}\n", "},\n"), {}, "row 1 is no JSON: Extra data"),
    ("numbers in words of a program", "a.csv", text_of([(t, hex(i)) for i, (t, _) in enumerate(sentences())]), {"answer": "number"}, "is no number in 60 rows"),
    ("empty", "a.csv", b"", {}, "a.csv: an empty file"),
    ("header alone", "a.csv", "text,label\n", {}, "the train split has no rows|no rows"),
    ("LFS pointer", "a.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", {}, "a Git LFS pointer"),
    ("LFS pointer, parquet", "a.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", {}, "a Git LFS pointer"),
    ("annex pointer", "a.csv", "/annex/objects/SHA256E-s9--0.csv\n", {}, "a git-annex pointer"),
    ("spreadsheet", "a.csv", b"PK\x03\x04" + bytes(99), {}, "a zip archive or a spreadsheet"),
    ("old spreadsheet", "a.csv", b"\xd0\xcf\x11\xe0" + bytes(99), {}, "an Excel file"),
    ("gzip", "a.csv", b"\x1f\x8b" + bytes(99), {}, "compressed with gzip"),
    ("parquet as csv", "a.csv", b"PAR1" + bytes(99), {}, "a Parquet file under another name"),
    ("web page", "a.csv", "\n<!DOCTYPE html><html>", {}, "a web page"),
    ("no parquet", "a.parquet", "text,label\n", {}, r"a\.parquet: "),
    ("no arrow", "a.arrow", "text,label\n", {}, r"a\.arrow: "),
    ("other suffix", "a.xml", "x", {}, r"expected a file that ends in \.csv"),
    ("two columns of one name", "a.csv", text_of(sentences(), head=("text", "text")), {}, "task.text=text: .* 2 columns of that name|task.label"),
    ("two columns of that kind", "a.jsonl", json.dumps({"text": "a b", "pos_label": "x", "ner_label": "y"}) + "\n", {}, r"did you mean pos_label or ner_label\?; columns"),
    ("no such column", "a.csv", text_of(sentences(), head=("tekst", "label")), {}, r"task.text=text: .*did you mean tekst\?; columns: tekst, label"),
    ("ragged", "a.csv", "text,label\na,1\nb\nc,1,2\n", {}, "row 3 has 1 fields, the first has 2; rows 4 differ"),
    *[(f"rows swallowed, {end - begin}", "a.csv", swallowed(begin, end), {}, rf"rows {begin + 1} \({end - begin + 1} lines\)")
      for begin, end in ((20, 21), (20, 25), (1, 60))],
    ("rows swallowed, numbers that never repeat", "a.csv", swallowed(20, 24, rows=[(t, i / 7) for i, (t, _) in enumerate(sentences())]), {"answer": "number"}, r"rows 21 \(5 lines\)"),
    ("quote never closed", "a.csv", 'text,label\nok,1\n"never,1\n', {}, "row 3"),
    ("cyrillic", "a.csv", "text,label\nпривет мир,1\nпока,0\n".encode("cp1251"), {}, "not UTF-8 .*task.encoding"),
    ("shift-jis", "a.csv", "text,label\n日本語のテキスト,1\n".encode("shift-jis"), {}, "task.encoding"),
    ("turkish", "a.csv", text_of([(f"{'şeker' if i % 2 else 'ığdır'} {text}", label) for i, (text, label) in enumerate(sentences())]).encode("cp1254"), {}, "words like .*þeker.* as Windows-1252; name its encoding by task.encoding, as in cp1254"),
    ("one bad byte in UTF-8", "a.csv", "text,label\nдобрый день,1\nпока,0\n".encode() + b"x\xff,1\n", {}, "UTF-8, but for line 4"),
    ("wrong encoding given", "a.csv", text_of(ACCENTED).encode("cp1252"), {"encoding": "utf-8"}, "cannot be read as utf-8"),
    ("unknown encoding", "a.csv", text_of(sentences()), {"encoding": "utf-9"}, "cannot be read as utf-9"),
    ("binary", "a.csv", bytes(range(256)) * 4, {}, "a.csv: "),
    ("gap in text", "a.csv", text_of([*sentences(), (" ", "pos")]), {}, r"1 rows have no text or no label \(rows 62\); task.gaps=leave_out"),
    ("gap in label", "a.csv", text_of([*sentences(), ("a text", "")]), {}, r"rows 62"),
    ("null in JSON", "a.jsonl", lines_of([*sentences(), ("a text", None)]), {}, r"\(rows 61\)"),
    ("NaN in JSON", "a.jsonl", lines_of([*sentences(), ("a text", float("nan"))]), {}, r"\(rows 61\)"),
    ("missing key in JSON", "a.jsonl", lines_of(sentences()) + '{"text": "a"}\n', {}, r"\(rows 61\)"),
    ("numbers for texts", "a.jsonl", lines_of([(7, "pos"), *sentences()]), {}, r"row 1: text is '7' \(int\), no text"),
    ("lists of words", "a.jsonl", lines_of([(["a", "b"], "pos"), *sentences()]), {}, r"row 1: text is .*list"),
    ("half a character", "a.jsonl", '{"text": "\\ud800 x", "label": "pos"}\n' + lines_of(sentences()), {}, "row 1: .*surrogate"),
    ("broken JSON", "a.jsonl", lines_of(sentences()) + '{"text": "a", "label": 1\n', {}, "row 61 is no JSON"),
    ("array of arrays", "a.json", '[["a", 1]]', {}, "row 1 is list"),
    ("a name twice", "a.jsonl", '{"text": "a", "label": 1, "label": 2}\n', {}, "'label' twice"),
    ("no objects", "a.json", '{"text": "a", "label"', {}, "expected an array of objects"),
    ("labels with a blank", "a.csv", text_of(relabelled(lambda l: f"{l} ")), {}, "'neg ' .*task.labels.normalise=true"),
    ("labels with a blank before", "a.csv", text_of(relabelled(lambda l: f" {l}")), {}, "' neg' .*task.labels.normalise"),
    ("labels in capitals", "a.csv", text_of(relabelled(str.upper)), {}, "'NEG' .*task.labels.normalise"),
    ("labels with a no-break space", "a.csv", text_of(relabelled(lambda l: f"{l}\u00a0")), {}, "task.labels.normalise"),
    *[(f"labels that look alike, {one}", "a.csv", text_of([(t, (one, other, "none of both")[i % 3]) for i, (t, _) in enumerate(sentences())]), {}, r"look alike.*task\.labels\.normalise=true")
      for one, other in (("A", "\u0410"), ("non-toxic", "non\u2013toxic"), ("R&D", "R&amp;D"), ("f\u00fcr", "f\u00c3\u00bcr"), ("1", "one"))],
    ("several labels in a cell", "a.csv", text_of([(t, ("a", "b", "a,b", "b,a")[i % 4]) for i, (t, _) in enumerate(sentences())]), {}, r"others joined by ',', 'a,b', 'b,a', in 30 rows \(4, 5, .*task\.labels\.combined=keep"),
    ("numbers beside words for them", "a.csv", text_of([(t, ("0", "1", "neg", "pos")[i % 4]) for i, (t, _) in enumerate(sentences())]), {}, r"numbers beside as many words .*'0' in rows 2, 6"),
    ("dates that a spreadsheet made", "a.csv", text_of([(t, ("1-2", "02-Jan", "3-4")[i % 3]) for i, (t, _) in enumerate(sentences())]), {}, r"'02-Jan' in rows 3, 6"),
    ("labels with nothing to see", "a.csv", text_of(relabelled(lambda l: f"{l}\u200b")), {}, "task.labels.normalise"),
    ("labels in wide letters", "a.csv", text_of(relabelled(lambda l: "".join(chr(ord(c) + 0xFEE0) for c in l))), {}, "task.labels.normalise"),
    ("1 and 1.0", "a.csv", text_of([(t, ("1.0" if i % 4 == 1 else "1") if i % 2 else "0") for i, (t, _) in enumerate(sentences())]), {}, "'1.0' .*task.labels.normalise"),
    ("1 and ' 1'", "a.csv", text_of([(t, (" 1" if i % 4 == 1 else "1") if i % 2 else "0") for i, (t, _) in enumerate(sentences())]), {}, "task.labels.normalise"),
    ("1 and 01", "a.csv", text_of([(t, ("01" if i % 4 == 1 else "1") if i % 2 else "0") for i, (t, _) in enumerate(sentences())]), {}, "task.labels.normalise"),
    ("1 and 1.0 in JSON", "a.jsonl", lines_of([(t, (1.0 if i % 4 == 1 else 1) if i % 2 else 0) for i, (t, _) in enumerate(sentences())]), {}, "task.labels.normalise"),
    ("true and 'true'", "a.jsonl", lines_of([(t, ("true" if i % 4 == 1 else True) if i % 2 else False) for i, (t, _) in enumerate(sentences())]), {}, "task.labels.normalise"),
    ("lists for labels", "a.jsonl", lines_of([(t, [l]) for t, l in sentences()]), {}, r"label is a list, \['neg'\], in 60 rows \(1, 2"),
    ("lists written as text", "a.csv", text_of([(t, f"['{l}']") for t, l in sentences()]), {}, "label is a list"),
    *[(f"label {cell}", "a.csv", text_of(relabelled(lambda _, cell=cell: cell)), {}, "label is a list")
      for cell in ("['a']", '["a"]', "[1]", "[0 1]", "['a' 'b']", "[a, b]", "('a', 'b')", "{1}", "{'a': 1}")],
    ("objects for labels", "a.jsonl", lines_of([(t, {"name": l}) for t, l in sentences()]), {}, "label is a list"),
    ("contradiction", "a.csv", text_of([*sentences(), (sentences()[0][0], "pos")]), {}, r"different labels, 1 times \(rows 2 and 62\); task.duplicates=first"),
    ("contradiction but for blanks", "a.csv", text_of([*sentences(), (f" {sentences()[0][0]}\n", "pos")]), {}, "task.duplicates"),
    ("groups that are lists", "a.jsonl", "".join(json.dumps({"text": t, "label": l, "g": [t] if "7" in t else t}) + "\n" for t, l in sentences()), {"group": "g"}, r"row 8: g is .*\(list\), no group"),
    ("header again", "a.csv", text_of(sentences()) + text_of([("odd one", "pos")]), {}, r"a\.csv: rows 62 are the header again"),
    ("Markdown", "a.csv", "| text | label |\n|---|:--:|\n" + "".join(f"| {t} | {l} |\n" for t, l in sentences()), {}, "row 2 is a line, as in a Markdown"),
    ("zeros and ones", "a.jsonl", lines_of([(t, [i % 2, 1, 0]) for i, (t, _) in enumerate(sentences())]), {"answer": "labels"}, "label has a 0 or a 1 for each of several labels"),
    ("zeros and ones as text", "a.csv", text_of([(t, f"[{i % 2}, 1, 0]") for i, (t, _) in enumerate(sentences())]), {"answer": "labels"}, "label has a 0 or a 1 for each"),
    ("zeros and ones parted", "a.csv", text_of([(t, f"{i % 2},1,0") for i, (t, _) in enumerate(sentences())]), {"answer": "labels"}, "label has a 0 or a 1 for each"),
    ("zeros and ones as texts", "a.jsonl", lines_of([(t, [str(i % 2), "1", "0"]) for i, (t, _) in enumerate(sentences())]), {"answer": "labels"}, "label has a 0 or a 1 for each"),
    *[(f"a text that is {word}", "a.csv", text_of([(word, "pos"), *sentences()]), {}, r"programs write for a gap, .* in 1 rows of text \(2\); task\.gaps=leave_out")
      for word in ("nan", "<NA>", "#NAME?", "NaT", "#N/A")],
    ("one class", "a.csv", text_of([(t, "pos") for t, _ in sentences()]), {}, "1 classes, all 42 are .pos.; at least 2"),
    ("other number of classes", "a.csv", text_of(sentences()), {"classes": 3}, "task.classes=3"),
    ("number that is none", "a.csv", text_of(sentences()), {"answer": "number"}, r"label is no number in 60 rows \(2, 3, .*as 'neg'"),
    ("decimal comma beside commas", "a.csv", text_of(NUMBERED), {"answer": "number"}, r"label is no number in 30 rows \(3, 5"),
    ("decimal comma and point", "a.csv", text_of([*NUMBERED, ("odd", "1.5")], ";"), {"answer": "number"}, r"no number in 30 rows \(3"),
    ("money with thousands", "a.csv", text_of([(t, f"${i + 1},399") for i, (t, _) in enumerate(sentences())]), {"answer": "number"}, r"as '1,399'; with three digits behind each comma .* task\.labels\.decimal=\. as that of thousands"),
    *[(f"thousands and decimals, {form}", "a.csv", text_of([(t, form.format(i + 1)) for i, (t, _) in enumerate(sentences())]), {"answer": "number"}, rf"""; 'task\.labels\.decimal="{mark}"' reads its {other} as that of thousands""")
      for form, mark, other in (("${},549.11", r"\.", "comma"), ("{}.549,11", ",", "point"))],
    ("percents beside shares", "a.csv", text_of([*[(t, f"{i} %") for i, (t, _) in enumerate(sentences())], ("odd", "0.5")]), {"answer": "number"}, r"as '0 %'; '%' beside it is not beside every number: all of one unit are read"),
    ("numbers with two units", "a.csv", text_of([(t, f"{i} {'kg' if i % 2 else 'g'}") for i, (t, _) in enumerate(sentences())]), {"answer": "number"}, r"as '0 g'; 'g' beside it is not beside every"),
    ("thousands", "a.csv", text_of([(t, f"{i + 1},500") for i, (t, _) in enumerate(sentences())], ";"), {"answer": "number"}, r"no number in 60 rows \(2"),
    ("one bad number", "a.csv", text_of([*NUMBERED, ("odd", "high")], ";"), {"answer": "number"}, r"no number in 1 rows \(62\), as 'high'"),
    ("the same bad number twice", "a.csv", text_of([*sentences(), sentences()[0]]), {"answer": "number"}, "label is no number"),
    ("a group that is no column", "a.csv", text_of(sentences()), {"group": "author"}, "task.group=author: .*no such column"),
    ("a split for each row", "a.csv", text_of(in_splits(["train"] * 4 + ["dev", "test"]), head=SPLIT), {}, r"\(split: train in 40 rows, dev in 10 rows, test in 10 rows\); task.split=split takes"),
    ("a split under another name", "a.jsonl", "".join(json.dumps({"text": t, "label": l, "fold": s}) + "\n" for t, l, s in in_splits(["Training", "Testing"])), {}, "task.split=fold takes these splits, none cuts others"),
    ("a truth value of training", "a.jsonl", "".join(json.dumps({"text": t, "label": l, "is_train": s}) + "\n" for t, l, s in in_splits([True, False])), {}, r"\(is_train: True in 30 rows, False in 30 rows\); task.split=is_train"),
    ("rows of no split", "a.csv", text_of(in_splits(["train", "train", "test", ""]), head=SPLIT), {"split": "split"}, r"task.split=split: 15 rows are of no split \(row 47: empty, "),
    ("rows of an unknown split", "a.csv", text_of(in_splits(["train", "train", "unsup"]), head=SPLIT), {"split": "split"}, r"20 rows are of no split \(row 42: 'unsup', .*names of splits are train"),
    ("no row of training", "a.csv", text_of(in_splits(["dev", "test"]), head=SPLIT), {"split": "split"}, "no row is of train; splits: test, validation"),
    ("a column of splits that there is not", "a.csv", text_of(sentences()), {"split": "part"}, "task.split=part: .*no such column"),
    ("a time that is none", "a.csv", text_of([(*row, "soon") for row in sentences()], head=("text", "label", "when")), {"time": "when"}, "neither a number nor a date"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "changes", "line"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_table_that_means_no_one_thing_is_refused_in_a_line(make_task, tmp_path, file, content, changes, line):
    with pytest.raises(ConfigError, match=line) as caught:
        read_task(config_of(make_task, data=written(tmp_path / file, content), **changes))
    assert len(str(caught.value).splitlines()) == 1


UNREAD = [
    ("a.csv.gz", gzip.compress(b"text,label\nx,1\n"), r"a\.csv\.gz: compressed with gzip; unpack it; expected "),
    ("a.jsonl.gz", gzip.compress(b"{}\n"), "compressed with gzip; unpack it"),
    ("a.xlsx", b"PK\x03\x04" + bytes(90), "a zip archive or a spreadsheet; unpack it, or save it as CSV; expected"),
    ("a.csv.zip", b"PK\x03\x04" + bytes(90), "a zip archive or a spreadsheet; unpack it"),
    ("a.xls", b"\xd0\xcf\x11\xe0" + bytes(90), "an Excel file; save it as CSV"),
    (
        "a.csv",
        b"text,label\nfine,1\nb\0d,0\n" + b"a long line of words,1\n" * 9,
        "bytes of zero in it, the first in line 3",
    ),
    ("a.csv", b"\xef\xbb\xbftext,label\nfine,1\ncaf\xe9 au,0\n", r"read as utf-8-sig \(line 3: .*e9\); task\.encoding"),
    (
        "a.csv",
        b'text,label\n"one\ntwo",1\nfine,0\n"open,1\nmore,0\n',
        r"row 4 \(line 5\): a quote is opened in it that",
    ),
]


@pytest.mark.parametrize(("name", "content", "line"), UNREAD, ids=range(len(UNREAD)))
@pytest.mark.parametrize("task", ["text_csv", "token_labels"])
def test_what_is_no_table_is_said_with_its_kind_or_line(make_task, tmp_path, task, name, content, line):
    with pytest.raises(ConfigError, match=line):
        read_task(dataclasses.replace(make_task(f"task={task}", "task.data=x"), data=written(tmp_path / name, content)))


def fifo(path):
    os.mkfifo(path)


def bound_socket(path):
    socket.socket(socket.AF_UNIX).bind(str(path)[-100:])


@pytest.mark.parametrize("encoding", EASTERN)
def test_an_encoding_that_is_not_western_is_refused_until_it_is_named(make_task, tmp_path, encoding):
    rows = [(f"{text} {EASTERN[encoding]}", label) for text, label in sentences()]
    data = written(tmp_path / "a.csv", text_of(rows).encode(encoding))
    with pytest.raises(ConfigError, match="Windows-1252.*task.encoding"):
        read_task(config_of(make_task, data=data))
    assert texts_of(read_task(config_of(make_task, data=data, encoding=encoding))) == {text for text, _ in rows}


NO_FILES = [
    ("named pipe", fifo, "a named pipe, not a file"),
    ("device", lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    ("dangling link", lambda path: path.symlink_to("/nowhere/x.csv"), "a link to /nowhere/x.csv, which is not there"),
    ("link to itself", lambda path: path.symlink_to(path), "symbolic links"),
    ("folder", lambda path: path.mkdir(), "a folder, not a file"),
    ("nothing", lambda path: None, "no such file"),
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow"])
@pytest.mark.parametrize(("make", "line"), [row[1:] for row in NO_FILES], ids=[row[0] for row in NO_FILES])
def test_what_is_no_regular_file_is_never_opened(make_task, tmp_path, make, line, suffix):
    path = tmp_path / f"a.{suffix}"
    make(path)
    task = config_of(make_task, data=str(path))
    with pytest.raises(ConfigError, match=line):
        read_task(task)
    assert line.split(",")[0] in task.missing_files()[0]


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


def test_whole_numbers_with_a_gap_among_them_stay_whole(make_task, tmp_path):
    frame = pd.DataFrame(
        {"text": [t for t, _ in sentences()], "label": pd.array([None, *(i % 2 for i in range(59))], "Int64")}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    task = read_task(config_of(make_task, data=str(tmp_path / "a.parquet"), gaps="leave_out"))
    assert task.classes == ("0", "1")
    assert task.describe()["left_out"] == {"gaps": 1}


# -- what is found out -------------------------------------------------------------------------------------------------


def test_a_held_out_file_on_another_scale_is_told(make_task, tmp_path):
    numbers = [(text, i % 10 / 10) for i, (text, _) in enumerate(sentences())]
    percents = [(f"quite another {text} of {i}", i % 10 * 10) for i, (text, _) in enumerate(sentences())]
    data, test = (written(tmp_path / f"{i}.csv", text_of(rows)) for i, rows in enumerate((numbers, percents)))
    task = read_task(config_of(make_task, data=data, test=test, answer="number"))
    (line,) = [line for line in task.describe()["suspicious"] if "same scale" in line]
    assert line.startswith("test: label is 0 to 90, median 50, and in train 0 to 0.9, median ")


def test_rows_that_are_left_out_are_counted_and_named(make_task, tmp_path):
    rows = [*sentences(), sentences()[3], ("", "pos"), ("odd", "pos"), ("odd", "neg")]
    task = read_task(
        config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), gaps="leave_out", duplicates="leave_out")
    )
    assert task.describe()["left_out"] == {"gaps": 1, "contradicting": 2, "repeated": 1}
    assert task.facts.left_out == {"gaps": ["63"], "contradicting": ["64", "65"], "repeated": ["62"]}


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda t: f"  {t}\n",
        lambda t: f"{t}!",
        lambda t: t.replace(" ", "  "),
        lambda t: t.replace("a", "ａ"),
    ],
)
def test_texts_that_differ_in_nothing_that_matters_stay_in_one_split(make_task, tmp_path, change):
    rows = [*sentences(), *((change(text), label) for text, label in sentences())]
    task = read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows))))
    place = {text: name for name, split in task.splits.items() for text in split.texts}
    assert len(place) == 120
    assert all(place[text] == place[change(text)] for text, _ in sentences())
    near = task.describe()["near"]
    assert near == {name: len(split) // 2 for name, split in task.splits.items()}


@pytest.mark.parametrize(("rows", "shared", "taken"), [(60, 1, True), (20, 1, True), (60, 2, False), (10, 1, False)])
def test_one_text_of_a_small_file_may_stand_in_training(make_task, tmp_path, rows, shared, taken):
    data = written(tmp_path / "a.csv", text_of(sentences()))
    own = [(f"row {n} of the held-out file", ("pos", "neg")[n % 2]) for n in range(rows - shared)]
    test = written(tmp_path / "t.csv", text_of([*sentences()[:shared], *own]))
    config = config_of(make_task, data=data, test=test, validation_share=0.01)
    if taken:
        assert read_task(config).describe()["near"] in ({"train and test": 1}, {"validation and test": 1})
    else:
        with pytest.raises(ConfigError, match=rf"{shared} of {rows} test sentences stand in (train|validation) too"):
            read_task(config)


@pytest.mark.parametrize("change", [str, str.upper, lambda t: f" {t}  ", lambda t: f"{t} ..."])
def test_given_splits_that_share_texts_are_refused_or_told(make_task, tmp_path, change):
    data = written(tmp_path / "a.csv", text_of(sentences()))
    test = written(tmp_path / "t.csv", text_of([(change(text), label) for text, label in sentences()[:20]]))
    with pytest.raises(
        ConfigError, match=r"1\d of 20 test sentences stand in train too \(rows test 2, .*task.leaks=allow"
    ):
        read_task(config_of(make_task, data=data, test=test))
    task = read_task(config_of(make_task, data=data, test=test, leaks="allow"))
    near = task.describe()["near"]
    assert near["train and test"] + near.get("validation and test", 0) == 20


@pytest.mark.parametrize("seed", range(6))
def test_each_class_is_in_each_split_where_it_has_rows_enough(make_task, tmp_path, seed):
    rows = [(text, "rare" if i % 15 == 1 else "common") for i, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.csv", text_of(rows))
    counts = read_task(config_of(make_task, data=data, split_seed=seed)).describe()["labels"]
    assert all(min(count) > 0 for count in counts.values())
    assert sum(map(sum, counts.values())) == 60


def test_a_class_that_a_draw_leaves_out_of_training_names_the_other_cut(make_task, tmp_path):
    rows = [(text, ("pos", "neg", "odd")[2 if i in (3, 4, 5) else i % 2]) for i, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.csv", text_of(rows))
    refused = {}
    for seed in range(120):
        try:
            read_task(config_of(make_task, data=data, cut="drawn", split_seed=seed))
        except ConfigError as error:
            refused |= {seed: str(error)} if "absent from training: 'odd'" in str(error) else {}
    assert 0 < len(refused) < 120
    for seed, said in refused.items():
        assert "; task.cut=stratified has each class of three rows or more in training; of others take more" in said
        assert "odd" in read_task(config_of(make_task, data=data, cut="stratified", split_seed=seed)).classes


def test_splits_that_are_far_from_their_shares_are_told(make_task, tmp_path):
    rows = [(text, f"class {i % 20}") for i, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.csv", text_of(rows))
    told = read_task(config_of(make_task, data=data, cut="stratified", validation_share=0.1)).describe()["suspicious"]
    (line,) = [line for line in told if line.startswith("validation: ")]
    assert line.startswith("validation: 20 of 60 rows, where task.validation_share=0.1 is 6: each class of three rows ")
    few = read_task(config_of(make_task, data=written(tmp_path / "b.csv", text_of(sentences())), cut="stratified"))
    assert "suspicious" not in few.describe()


def test_a_class_too_small_for_every_split_is_told(make_task, tmp_path):
    rows = [*sentences(), ("a single one", "single")]
    told = read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)))).describe()
    assert told["missing"] == {"validation": ["single"], "test": ["single"]}


def test_a_held_out_split_of_one_class_is_refused(make_task, tmp_path):
    data = written(tmp_path / "a.csv", text_of(sentences()))
    test = written(tmp_path / "t.csv", text_of([(f"new {i}", "pos") for i in range(5)]))
    with pytest.raises(ConfigError, match="all 5 rows of the test split are 'pos'"):
        read_task(config_of(make_task, data=data, test=test))


@pytest.mark.parametrize("cut", ["drawn", "stratified"])
def test_groups_stay_whole(make_task, tmp_path, cut):
    rows = [(*row, f"author {i // 4}") for i, row in enumerate(sentences())]
    data = written(tmp_path / "a.csv", text_of(rows, head=("text", "label", "author")))
    task = read_task(config_of(make_task, data=data, group="author", cut=cut))
    author = {text: name for text, _, name in rows}
    places = {name: {author[text] for text in split.texts} for name, split in task.splits.items()}
    assert not places["train"] & places["test"]
    assert not places["train"] & places["validation"]
    assert not places["validation"] & places["test"]


@pytest.mark.parametrize("moment", [str, lambda i: f"2024-01-01T00:{i:02}:00", lambda i: str(i / 7)])
def test_the_latest_rows_are_held_out(make_task, tmp_path, moment):
    rows = [(*row, moment(i)) for i, row in enumerate(sentences())]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(60)]
    data = written(tmp_path / "a.csv", text_of(shuffled, head=("text", "label", "when")))
    task = read_task(config_of(make_task, data=data, time="when"))
    number = {name: sorted(int(text.split()[-1]) for text in split.texts) for name, split in task.splits.items()}
    assert number == {"train": list(range(42)), "validation": list(range(42, 48)), "test": list(range(48, 60))}
    assert task.findings().format["validation.time"] == f"{moment(42)} to {moment(47)}"


def test_times_that_stand_for_none_are_told(make_task, tmp_path):
    rows = [row | {"when": f"2024-01-{1 + i // 3:02d}"} for i, row in enumerate(TIMED)]
    data = written(tmp_path / "a.jsonl", with_odd(rows, when="9999-12-31"))
    task = read_task(config_of(make_task, data=data, time="when"))
    said = "when is 9999-12-31, as where no time is known, in 1 rows (2): they come after the others"
    assert any(line.startswith(f"to be looked at: {said}") for line in summary(task, None))


def test_the_rows_and_files_that_are_kept_are_those_of_the_splits(make_task, tmp_path, own_cache):
    data = written(tmp_path / "a.csv", text_of(sentences()))
    task = read_task(config_of(make_task, data=data, train_rows=20))
    rows = {str(row): text for row, (text, _) in enumerate(sentences(), 2)}
    for name, split in task.splits.items():
        assert [rows[row] for row in task.facts.kept[name]] == list(split.texts)
    images = read_task(folder_task(make_task, images_in(tmp_path / "d"), train_rows=4))
    assert len(images.facts.kept["train"]) == 4
    assert {name: list(split.images) for name, split in images.splits.items()} == {
        name: [tmp_path / "d" / file for file in files] for name, files in images.facts.kept.items()
    }


def test_a_separator_and_an_encoding_that_were_found_are_said(make_task, tmp_path):
    data = written(tmp_path / "a.csv", text_of(ACCENTED, ";").encode("cp1252"))
    assert read_task(config_of(make_task, data=data)).describe()["format"] == {
        "train.encoding": "cp1252",
        "train.separator": "semicolon",
    }


@pytest.mark.parametrize("label", ["-1", "nan", "NA", "None", "unknown"])
def test_a_label_that_may_be_none_is_not_told_once_it_is_settled(make_task, tmp_path, label):
    rows = [(text, label if i % 5 == 0 else name) for i, (text, name) in enumerate(sentences())]
    task = read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), unlabelled="keep"))
    assert "suspicious" not in task.describe()


def test_a_held_out_file_whose_labels_are_withheld_is_refused(make_task, tmp_path):
    data = written(tmp_path / "a.csv", text_of(sentences()))
    held = written(tmp_path / "t.csv", text_of([(f"unseen {i}", -1) for i in range(9)]))
    with pytest.raises(ConfigError, match=r"all 9 labels are -1, as where labels are withheld; task\.test=null"):
        read_task(config_of(make_task, data=data, test=held))


ONE_ANSWER = [
    ("number", lambda i: i, -1, r"all 9 labels are -1, as where labels are withheld; task\.test=null"),
    ("number", lambda i: i / 7, 7.3, r"all 9 rows of the test split have the answer 7\.3; any score"),
    ("labels", lambda i: ["a", "b", "c"][: 1 + i % 3], [], r"all 9 rows have no labels, as where .* task\.test=null"),
    ("labels", lambda i: ["a", "b"][: i % 3], [], "all 9 rows of the test split have the answer none; any score"),
    ("labels", lambda i: ["a", "b", "c"][: 1 + i % 3], ["-1"], r"all 9 labels are -1, as where"),
    ("labels", lambda i: ["a", "b", "c"][: 1 + i % 3], ["a", "b"], "all 9 rows of the test .* have the answer a, b;"),
]


@pytest.mark.parametrize(("answer", "trained", "held", "line"), ONE_ANSWER)
def test_a_held_out_file_of_one_answer_is_refused(make_task, tmp_path, answer, trained, held, line):
    rows = [(text, trained(i)) for i, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.jsonl", lines_of(rows))
    test = written(tmp_path / "t.jsonl", lines_of([(f"unseen {i}", held) for i in range(9)]))
    with pytest.raises(ConfigError, match=line):
        read_task(config_of(make_task, data=data, test=test, answer=answer))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("answer", ["labels", "number"])
def test_few_rows_are_drawn_from_each_answer_where_a_split_would_have_one_alone(make_task, tmp_path, answer, seed):
    cell = (lambda i: [] if i % 3 == 0 else ["x", "y"]) if answer == "labels" else (lambda i: float(i % 3 == 0))
    rows = [(text, cell(i)) for i, (text, _) in enumerate(sentences(28))]
    data = written(tmp_path / "a.jsonl", lines_of(rows))
    found = read_task(config_of(make_task, data=data, answer=answer, split_seed=seed))
    assert all(len(set(found.labels(split))) == 2 for split in ("validation", "test"))


def test_what_is_said_of_one_answer_is_true_of_a_split_that_was_cut(make_task, tmp_path):
    rows = [(text, ["x"] if i else []) for i, (text, _) in enumerate(sentences(20))]
    data = written(tmp_path / "a.jsonl", lines_of(rows))
    line = r"have the answer x; .* if it is cut, another task\.split_seed, or a larger task\.(validation|test)_share"
    with pytest.raises(ConfigError, match=line):
        read_task(config_of(make_task, data=data, answer="labels"))


@pytest.mark.parametrize("word", [-999, "none"])
def test_classes_that_are_numbers_are_asked_for(make_task, tmp_path, word):
    rows = [(text, word if i % 10 == 4 else i / 7) for i, (text, _) in enumerate(sentences(100))]
    data = written(tmp_path / "a.jsonl", lines_of(rows))
    for policy in ("keep", "refuse"):
        with pytest.raises(ConfigError, match=r"task\.answer=number reads numbers"):
            read_task(config_of(make_task, data=data, unlabelled=policy))


def test_labels_that_no_row_of_a_split_has_are_told(make_task, tmp_path):
    rows = [(text, ["a", "rare"] if i == 7 else [["a", "b"][i % 2]]) for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.jsonl", lines_of(rows)), answer="labels", split_seed=1)
    found = read_task(task)
    assert 7 in [int(text.split()[-1]) for text in found.splits["train"].texts]
    assert found.describe()["missing"] == {"validation": ["rare"], "test": ["rare"]}


def test_rows_that_a_quote_swallows_are_read_though_one_has_a_label_of_its_own():
    content = text_of(sentences(), "\t") + '"Great\tpos\nso so\tneutral\nI said fine"\tneg\n'
    rows, _ = read_delimited(content, ".tsv", None, ["text", "label"])
    assert [row for _, row in rows[-3:]] == [['"Great', "pos"], ["so so", "neutral"], ['I said fine"', "neg"]]


SHORTENED = [
    "['a', 'b', ..., 'y', 'z']",
    "['a' 'b' ... 'y' 'z']",
    "[0.1 0.2 ... 0.8 0.9]",
    "[1, 2, …, 9]",
    "[a, ..., z]",
]


@pytest.mark.parametrize("cell", [*SHORTENED, "['a' b]", "[a, b]", "['a', b]", "[1. 0. 0.]", "{a, b}"])
def test_a_list_that_cannot_be_read_whole_is_no_set_of_labels(make_task, tmp_path, cell):
    rows = [(text, cell if i == 7 else json.dumps([label])) for i, (text, label) in enumerate(sentences())]
    line = r"is shortened \(\.\.\.\)" if cell in SHORTENED else "cannot be read as a list; write it as JSON"
    with pytest.raises(ConfigError, match=rf"label cannot be read in 1 rows \(row 9: .*{line}"):
        read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="labels"))


SETS = {
    "a mapping in JSON": lambda names: {name: int(name in names) for name in "abc"},
    "a mapping of truth values": lambda names: {name: name in names for name in "abc"},
    "a mapping as text": lambda names: str({name: int(name in names) for name in "abc"}),
    "a set as text": lambda names: str(set(names)),
    "a tuple as text": lambda names: str(tuple(names)),
    "a list as text": lambda names: str(list(names)),
    "a list as numpy prints it": lambda names: str(np.array(list(names))),
}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("way", SETS)
def test_several_labels_are_read_however_they_are_written(make_task, tmp_path, way, form):
    rows = [(text, ["", "a", "ab", "abc", "c"][i % 5]) for i, (text, _) in enumerate(sentences())]
    cells = [(text, SETS[way](names)) for text, names in rows]
    data = tmp_path / f"a.{form}"
    if form == "parquet":
        pd.DataFrame(cells, columns=["text", "label"]).to_parquet(data)
    else:
        written(data, lines_of(cells))
    task = read_task(config_of(make_task, data=str(data), answer="labels"))
    found = {t: l for split in task.splits.values() for t, l in zip(split.texts, split.labels, strict=True)}
    assert task.classes == ("a", "b", "c")
    assert found == {text: tuple("abc".index(name) for name in names) for text, names in rows}


NO_SETS = [
    ("a list in a list", [["a"]], r"row 8: \['a'\] in a list of labels is no label"),
    ("a gap in a list", ["a", None], "row 8: a gap stands among the labels"),
    ("NaN in a list", ["a", float("nan")], "row 8: a gap stands among the labels"),
    ("a gap as text", '["a", null]', "row 8: a gap stands among the labels"),
    ("a mapping of shares", {"a": 0.7, "b": 0.3}, "row 8: .* is a mapping, and its values are not all 0 or 1"),
]


TAGGED = [(text, ["<a>", "<a><b>", "<b><c#>"][i % 3]) for i, (text, _) in enumerate(sentences())]
FIELDS = [
    (text, json.dumps([{"id": n, "name": n * "a"} for n in range(1, 2 + i % 2)]))
    for i, (text, _) in enumerate(sentences())
]


@pytest.mark.parametrize(
    ("rows", "labels", "classes"),
    [
        (TAGGED, LabelsConfig(), ("a", "b", "c#")),
        (TAGGED, LabelsConfig(separator="><"), ("a", "b", "c#")),
        (FIELDS, LabelsConfig(field="name"), ("a", "aa")),
        (FIELDS, LabelsConfig(field="id"), ("1", "2")),
    ],
)
def test_tags_in_angles_and_fields_of_labels_are_read(make_task, tmp_path, rows, labels, classes):
    data = written(tmp_path / "a.csv", text_of(rows))
    assert read_task(config_of(make_task, data=data, answer="labels", labels=labels)).classes == classes


@pytest.mark.parametrize(
    ("rows", "keys", "line"),
    [
        (TAGGED, {}, "classes of label are written as <a><b>, in which tags are joined; task.answer=labels reads"),
        (
            [*TAGGED, ("so", "a")],
            {"answer": "labels", "labels": LabelsConfig(separator="><")},
            "leaves < or > in labels",
        ),
        (FIELDS, {"answer": "labels"}, r"fields \(id, name\) in 60 rows .*; task.labels.field=name takes"),
        (
            FIELDS,
            {"answer": "labels", "labels": LabelsConfig(field="title")},
            "task.labels.field=name takes that of each",
        ),
    ],
)
def test_tags_and_fields_that_are_in_doubt_name_what_reads_them(make_task, tmp_path, rows, keys, line):
    with pytest.raises(ConfigError, match=line):
        read_task(config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), **keys))


def test_lists_of_one_label_each_name_the_template_that_takes_it(make_task, tmp_path):
    rows = [(text, [label]) for text, label in sentences()]
    with pytest.raises(ConfigError, match=r"all have one item, which 'task.label=\"\{label\[0\]\}\"' takes"):
        read_task(config_of(make_task, data=written(tmp_path / "a.jsonl", lines_of(rows))))


@pytest.mark.parametrize(("cell", "line"), [row[1:] for row in NO_SETS], ids=[row[0] for row in NO_SETS])
def test_what_is_no_set_of_labels_is_refused_with_its_row(make_task, tmp_path, cell, line):
    rows = [(text, cell if i == 7 else [label]) for i, (text, label) in enumerate(sentences())]
    with pytest.raises(ConfigError, match=f"label cannot be read in 1 rows .{line}"):
        read_task(config_of(make_task, data=written(tmp_path / "a.jsonl", lines_of(rows)), answer="labels"))


@pytest.mark.parametrize("mark", [";", "|", "\n", "\t", "\uff0c", "+", "&", " and ", " ", "_"])
def test_another_separator_of_labels_is_refused_until_it_is_given(make_task, tmp_path, mark):
    rows = [(text, [f"a{mark}b", "a", f"b{mark}c", "b"][i % 4]) for i, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.jsonl", lines_of(rows))
    task = config_of(make_task, data=data, answer="labels", separator=",")
    written_as = mark.replace("\n", "\\n").replace("\t", "\\t")
    rule = re.escape(f'task.labels.separator="{written_as}"\' parts them')
    with pytest.raises(ConfigError, match=rf"in 30 rows \(1, 3, .*{rule}"):
        read_task(task)
    for parting, classes in ((written_as, ("a", "b", "c")), ("/", ("a", f"a{mark}b", "b", f"b{mark}c"))):
        settled = dataclasses.replace(task, labels=dataclasses.replace(task.labels, separator=parting))
        assert read_task(settled).classes == classes


def test_odd_names_of_several_labels_are_told(make_task, tmp_path):
    cells = [["all", "not ok"], ["all", "not_ok"], ["all", "-1"], ["all", "nan"]]
    rows = [(text, cells[i % 4]) for i, (text, _) in enumerate(sentences())]
    data = written(tmp_path / "a.jsonl", lines_of(rows))
    task = config_of(make_task, data=data, answer="labels", unlabelled="keep")
    assert set(read_task(task).describe()["suspicious"]) == {
        "'all' is a label of every row of training: there is nothing to tell apart",
        "'not ok' and 'not_ok' differ in signs alone",
    }


@pytest.mark.parametrize("cell", ["[OOS]", "[a]; [b]", "x [1, 2]", '["...", "a…b"]', "and so on ..."])
def test_brackets_and_dots_that_are_names_stay_names(make_task, tmp_path, cell):
    rows = [(text, cell if i % 3 else "pos") for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="labels")
    names = {"[a]; [b]": ("[a]", "[b]"), '["...", "a…b"]': ("...", "a…b")}.get(cell, (cell,))
    task = dataclasses.replace(task, labels=dataclasses.replace(task.labels, separator=";"))
    assert set(read_task(task).classes) == {*names, "pos"}


def test_an_empty_cell_is_a_gap_and_an_empty_list_none_of_the_labels(make_task, tmp_path):
    rows = [(text, "" if i == 7 else "[]" if i % 3 == 0 else "a,b") for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.csv", text_of(rows)), answer="labels")
    with pytest.raises(ConfigError, match=r"\(rows 9\); task\.gaps=leave_out .*; of none of the labels is .* \[\]"):
        read_task(task)
    found = read_task(dataclasses.replace(task, gaps="leave_out"))
    assert sum(label == () for split in found.splits.values() for label in split.labels) == 20


# -- a random table in every form --------------------------------------------------------------------------------------

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


# -- folders of images -------------------------------------------------------------------------------------------------


def picture(path, seed, size=(20, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def images_in(root, split=lambda i: "", count=12):
    for number, name in enumerate(("cat", "dog")):
        for i in range(count):
            picture(root / split(i) / name / f"{i}.png", 100 * number + i)
    return root


def folder_task(make_task, root, **changes):
    return config_of(lambda *_: make_task("task=image_folder", "task.image_size=32"), data=str(root), **changes)


SPLIT_NAMES = [
    ("train", "val", "test"),
    ("Train", "Valid", "Test"),
    ("TRAIN", "VALIDATION", "TEST"),
    ("training", "dev", "testing"),
    ("train_set", "val-set", "test data"),
    ("train2017", "val2017", "test2017"),
    ("Training", "Development", "holdout"),
    ("seg_train", "seg_val", "seg_test"),
    ("asl-train", "asl-dev", "asl-test"),
    ("images_train", "images_validate", "images_test"),
    ("train_1", "eval_1", "test_1"),
    ("trainA", "evaluationA", "testA"),
    ("train_set_2017", "validate", "TestImages"),
    ("trainval", "eval", "test1"),
]


@pytest.mark.parametrize("names", SPLIT_NAMES, ids=" ".join)
def test_split_folders_go_by_any_of_their_names(make_task, tmp_path, own_cache, names):
    images_in(tmp_path / "d", lambda i: names[0] if i < 6 else names[1] if i < 9 else names[2])
    task = read_task(folder_task(make_task, tmp_path / "d"))
    assert task.classes == ("cat", "dog")
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 12, "validation": 6, "test": 6}


@pytest.mark.parametrize(
    ("names", "beside"),
    [
        (("seg_train", "seg_test"), "seg_pred"),
        (("train", "test"), "unlabeled"),
        (("Training", "Test"), "test-multiple_cats"),
        (("seg_train/seg_train", "seg_test/seg_test"), "seg_pred/seg_pred"),
    ],
)
def test_folders_beside_splits_are_passed_over_and_told(make_task, tmp_path, own_cache, names, beside):
    images_in(tmp_path / "d", lambda i: names[0] if i < 8 else names[1])
    for number in range(3):
        picture(tmp_path / "d" / beside / f"{number}.png", 900 + number)
    task = read_task(folder_task(make_task, tmp_path / "d"))
    assert task.classes == ("cat", "dog")
    assert len(task.splits["test"]) == 8
    assert sum(map(len, task.splits.values())) == 24
    assert task.findings().passed_over == {f"{beside.split('/')[0]}/": 3}


@pytest.mark.parametrize(
    ("files", "way"),
    [
        (["pos/1.txt", "neg/2.txt"], "texts in folders are read from one table"),
        (["algebra/1.json", "algebra/2.json"], "JSON in folders is read from one .jsonl"),
        (["dataset_info.json", "state.json"], r"task\.dataset=.*/d reads a data set of the datasets library"),
        (["cat/1.png"], "or task=image_folder or task=audio_folder"),
    ],
)
def test_a_folder_that_is_no_table_is_told_what_reads_it(make_task, tmp_path, files, way):
    for name in files:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text("x")
    with pytest.raises(ConfigError, match=way):
        read_task(config_of(make_task, data=str(tmp_path / "d")))


def test_a_held_out_file_without_labels_is_cut_by_null(make_task, tmp_path):
    data = written(tmp_path / "a.csv", text_of(sentences()))
    test = written(tmp_path / "test.csv", "index,text\n0,a text of its own\n")
    with pytest.raises(ConfigError, match=r"test\.csv: no column label; where labels are withheld, task\.test=null"):
        read_task(config_of(make_task, data=data, test=test))
    assert len(read_task(config_of(make_task, data=data)).splits["test"].texts)


HIDDEN = [
    lambda root: (root / ".ipynb_checkpoints").mkdir(),
    lambda root: picture(root / ".ipynb_checkpoints" / "a.png", 999),
    lambda root: picture(root / "cat" / ".ipynb_checkpoints" / "a.png", 999),
    lambda root: picture(root / "__MACOSX" / "cat" / "a.png", 999),
    lambda root: (root / "cat" / "._0.png").write_bytes(b"\0\5\x16\7"),
    lambda root: (root / "cat" / "Thumbs.db").write_bytes(b"x"),
    lambda root: (root / "cat" / ".DS_Store").write_bytes(b"x"),
    lambda root: (root / "cat" / "0.png.lock").write_bytes(b"x"),
    lambda root: (root / ".git" / "objects").mkdir(parents=True),
    lambda root: (root / "README.md").write_text("x"),
    lambda root: (root / "@eaDir" / "x").mkdir(parents=True),
]


@pytest.mark.parametrize("add", HIDDEN)
def test_what_programs_leave_in_folders_is_no_class_and_no_image(make_task, tmp_path, own_cache, add):
    add(images_in(tmp_path / "d"))
    task = read_task(folder_task(make_task, tmp_path / "d"))
    assert task.classes == ("cat", "dog")
    assert sum(map(len, task.splits.values())) == 24


def test_folders_in_every_class_and_files_of_several_pages_are_told(make_task, tmp_path, own_cache):
    root = images_in(tmp_path / "d")
    for number, name in enumerate(("cat", "dog")):
        picture(root / name / "more" / "a.png", 800 + number)
    pages = [Image.fromarray(np.full((9, 9), 50 * i + 1, np.uint8)) for i in range(3)]
    pages[0].save(root / "cat" / "pages.tiff", save_all=True, append_images=pages[1:])
    for _ in range(2):  # the second time from the cache
        assert read_task(folder_task(make_task, root)).describe()["suspicious"] == [
            "every class has the folders more, whose images are all taken",
            "1 files have several pages, of which the first is read (cat/pages.tiff)",
        ]


def icon(path, seed, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.random.default_rng(seed).integers(0, 256, (9, 9, 1), dtype=np.uint8)
    Image.fromarray(np.dstack([np.full((9, 9, 3), colour, np.uint8), mask])).save(path)


def test_icons_that_differ_in_what_is_transparent_alone_are_read_and_told(make_task, tmp_path, own_cache):
    for number, name in enumerate(("cat", "dog")):
        for i in range(12):
            icon(tmp_path / "d" / name / f"{i}.png", 100 * number + i, 0)
    task = read_task(folder_task(make_task, tmp_path / "d"))
    assert task.repeated == 0
    (told,) = task.describe()["suspicious"]
    assert told.startswith("24 files have transparent parts, which are laid over white (task.background; cat/0.png,")
    with pytest.raises(
        ConfigError, match=r"24 files cannot be read \(cat/0\.png, .* and 14 more: is blank .*task\.background=white"
    ):
        read_task(folder_task(make_task, tmp_path / "d", background="black"))


def renamed_classes(root, *names):
    for old, new in zip(("cat", "dog"), names, strict=True):
        (root / old).rename(root / new)


def leaking(root):
    """The classes in train/, and in test/ with two of their pictures each."""
    (root / "train").mkdir()
    for number, name in enumerate(("cat", "dog")):
        (root / name).rename(root / "train" / name)
        for i in (0, 1, 50, 51, 52):
            picture(root / "test" / name / f"{i}.png", 100 * number + i)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("top", [65535, 4095])
def test_pictures_of_16_bits_are_scaled_alike_and_their_levels_told(make_task, tmp_path, own_cache, suffix, top):
    pixels = {}
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(12):
            grey = np.random.default_rng(100 * number + i).integers(0, top + 1, (32, 32)).astype(np.uint16)
            grey[0, 0] = top
            Image.fromarray(grey).save(tmp_path / "d" / name / f"{i}.{suffix}")
            pixels[f"{name}/{i}.{suffix}"] = grey
    task = read_task(folder_task(make_task, tmp_path / "d"))
    odd = [line.partition(" (cat")[0] for line in task.findings().suspicious if "bits" in line]
    few = "; 0 is black and 65535 white in all of them, and 17 of 256 levels are left (task.range=[0,4095])"
    assert odd == ([f"24 files have more than 8 bits, with values from 0 to 4095{few}"] if top == 4095 else [])
    found = {"more than 8 bits": "in 24 files, values 0 to 65535; 0 is black, 65535 white"}
    assert task.findings().format == ({} if top == 4095 else found)
    images = task.inputs("train", None).images
    for image, path in zip(images, task.splits["train"].images, strict=True):
        wanted = pixels[f"{path.parent.name}/{path.name}"] / 65535 * 255
        assert np.abs(image - wanted).max() <= 0.5


def deeper(root, inner):
    """The classes of a folder, moved into a folder in it."""
    classes = list(root.iterdir())
    (root / inner).mkdir(parents=True)
    for path in classes:
        path.rename(root / inner / path.name)


def test_an_address_is_no_file_of_this_machine(make_task):
    with pytest.raises(ConfigError, match=r"task\.data=https:/x\.y/a\.csv: an address, not a file of this machine"):
        read_task(dataclasses.replace(make_task("task=text_csv", "task.data=x"), data="https://x.y/a.csv"))


def test_rows_that_are_kept_with_different_labels_are_not_told_again(make_task, tmp_path):
    again = [(sentences()[0][0], "pos"), (sentences()[0][0], "neg")]
    data = str(written(tmp_path / "a.csv", text_of([*sentences(), *again])))
    task = read_task(dataclasses.replace(make_task("task=text_csv", "task.data=x"), data=data, duplicates="keep"))
    assert not any("different labels" in line for line in task.findings().suspicious)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("Actor_01", "Actor_02"), ["the classes have names of people (Actor_01, Actor_02); where these are who is"]),
        (("subject1", "subject2"), ["the classes have names of people (subject1, subject2); where these are who is"]),
        (
            ("_background_noise_", "yes"),
            ["the folder _background_noise_ is taken for a class; task.labels.unlabelled=leave_out"],
        ),
        (("actor", "person1"), []),
        (("person", "car"), []),
    ],
)
def test_folders_whose_names_are_of_no_class_are_told(make_task, tmp_path, own_cache, classes, said):
    root = images_in(tmp_path / "d")
    renamed_classes(root, *classes)
    told = read_task(folder_task(make_task, root)).findings().suspicious
    assert [line[: len(wanted)] for line, wanted in zip(told, said, strict=True)] == said


@pytest.mark.parametrize("names", [("mask", "no_mask"), ("labels", "signs")])
def test_classes_may_be_named_as_masks_are_and_files_too(make_task, tmp_path, own_cache, names):
    root = images_in(tmp_path / "d")
    picture(root / "cat/alone_mask.png", 951)
    renamed_classes(root, *names)
    assert read_task(folder_task(make_task, root)).classes == names


BAD_FOLDERS = [
    ("masks", lambda root: picture(root / "cat/masks/a.png", 995), "cat/masks: a.png and others would be taken for pictures of 'cat'"),
    ("masks in every class", lambda root: [picture(root / n / s / "a.png", 900 + i) for i, (n, s) in enumerate(itertools.product(("cat", "dog"), ("images", "masks")))], "each have images, masks in them; move masks, which are no pictures to learn from"),
    ("masks beside their pictures", lambda root: [picture(root / f"cat/1{end}.png", 950 + at) for at, end in enumerate(("_mask", "_mask_1"))], r"2 of \d+ files are masks of pictures beside them by their names \(1_mask\.png, 1_mask_1\.png\); move what"),
    ("masks as a class", lambda root: renamed_classes(root, "images", "Masks"), r"Masks, images are no classes, and Masks no pictures to learn from; .*task=image_table"),
    ("annotations", lambda root: picture(root / "cat/Annotation/a.png", 995), "taken for pictures of 'cat'"),
    ("unread kind", lambda root: (root / "cat/a.heic").write_bytes(b"x"), r"a file cannot be read \(cat/a.heic: a kind"),
    ("broken", lambda root: (root / "cat/a.png").write_bytes(b"x"), r"cat/a.png: is no image that can be read.*task.gaps"),
    ("cut short", lambda root: (root / "cat/a.png").write_bytes((root / "cat/0.png").read_bytes()[:200]), "cat/a.png"),
    ("empty file", lambda root: (root / "cat/a.png").write_bytes(b""), "cat/a.png: an empty file"),
    ("pointer", lambda root: (root / "cat/a.png").write_text("version https://git-lfs.github.com/spec/v1\n"), "LFS"),
    ("named pipe", lambda root: os.mkfifo(root / "cat/a.png"), "cat/a.png: a named pipe"),
    ("device", lambda root: (root / "cat/a.png").symlink_to("/dev/zero"), "cat/a.png: a device"),
    ("dangling link", lambda root: (root / "cat/a.png").symlink_to("/nowhere"), "cat/a.png: a link to /nowhere"),
    ("floats", lambda root: Image.fromarray(np.full((9, 9), 0.5, np.float32)).save(root / "cat/a.tiff"), r"cat/a.tiff: has floats, 32 bits or signs: task.range=.*\[0.5,0.5\]"),
    ("empty class", lambda root: (root / "bird").mkdir(), "no image in bird"),
    ("tables beside a folder of classes", lambda root: (deeper(root, "images"), (root / "meta").mkdir()), r"no image in meta; cat, dog are in task.data=.*/images"),
    ("images beside classes", lambda root: picture(root / "a.png", 5), "images beside the class folders: a.png; each belongs .* \\(task=image_table\\)"),
    ("classes a folder deeper", lambda root: deeper(root, "data/images"), "data is its one class; cat, dog are in task.data=.*/data/images"),
    ("a test folder alone", lambda root: deeper(root, "test"), "test, and no train folder; task.data=.*/d/test cuts splits off"),
    ("two images a class", lambda root: [path.unlink() for path in root.rglob("*.png") if path.stem not in "01"], r"the validation split has no images \(4 train, 0 validation, 0 test\); more images, another"),
    ("two classes alike", lambda root: picture(root / "Cat" / "z.png", 998), r"'Cat' \(1 folders: Cat/\).*task.labels.normalise"),
    ("one picture, two classes", lambda root: picture(root / "dog" / "z.png", 0), "in several classes.*task.duplicates"),
    ("split inside a class", lambda root: picture(root / "cat" / "test" / "a.png", 997), "cat has test in it"),
    ("folds", lambda root: renamed_classes(root, "fold1", "fold2"), "fold1, fold2 are names of splits or folds; .*task.classes=2 takes them"),
    ("short names of splits", lambda root: renamed_classes(root, "tr", "te"), "te, tr are names of splits or folds"),
    ("numbered splits", lambda root: renamed_classes(root, "split0", "Split_1"), "are names of splits or folds"),
    ("the same folders in every class", lambda root: [picture(root / n / s / "a.png", 900 + i) for i, (n, s) in enumerate(itertools.product(("cat", "dog"), ("left", "right")))], "cat, dog each have left, right in them: which are classes.*task.classes=2"),
    ("the same folders again", lambda root: [picture(root / "pets" / n / "a.png", 900 + i) for i, n in enumerate(("cat", "dog"))], r"pets has the folders cat, dog again, .*; task.data=\S+/d/pets reads what it has, task.classes=3"),
    ("pictures in two splits", lambda root: leaking(root), r"4 of 10 test pictures stand in train too \(rows test/.*\); task.leaks=leave_out"),
    ("class beside splits", lambda root: [picture(root / s / "cat" / "a.png", 996) for s in ("train", "test")], "what is cat, dog beside"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "line"), [row[1:] for row in BAD_FOLDERS], ids=[row[0] for row in BAD_FOLDERS])
def test_a_folder_that_means_no_one_thing_is_refused_in_a_line(make_task, tmp_path, own_cache, spoil, line):
    spoil(images_in(tmp_path / "d"))
    with pytest.raises(ConfigError, match=line) as caught:
        read_task(folder_task(make_task, tmp_path / "d"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "spoil",
    [row[1] for row in BAD_FOLDERS if row[0] in ("folds", "short names of splits", "the same folders in every class")],
)
def test_folders_that_look_like_parts_are_classes_where_they_are_counted(make_task, tmp_path, own_cache, spoil):
    spoil(images_in(tmp_path / "d"))
    names = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert list(read_task(folder_task(make_task, tmp_path / "d", classes=2)).classes) == names


def test_a_class_of_which_nothing_is_left_is_told(make_task, tmp_path, own_cache):
    root = images_in(tmp_path / "d")
    shutil.copytree(root / "cat", root / "feline")
    task = read_task(folder_task(make_task, root, duplicates="first"))
    assert "nothing of 'feline' is left: task.duplicates=first leaves all of it out" in task.findings().suspicious
    assert list(task.classes) == ["cat", "dog"]
    table = tmp_path / "a.csv"
    table.write_text(text_of([*sentences(), *((text, "odd") for text, _ in sentences()[:3])]))
    told = read_task(config_of(make_task, data=str(table), duplicates="first")).findings().suspicious
    assert "nothing of 'odd' is left: task.duplicates=first leaves all of it out" in told


@pytest.mark.parametrize("names", [("train", "val", "valid"), ("test", "val", "val"), ("Train", "train", "test")])
def test_splits_named_twice_or_without_training_are_refused(make_task, tmp_path, own_cache, names):
    images_in(tmp_path / "d", lambda i: names[i % 3])
    with pytest.raises(ConfigError, match="are both the|no train folder"):
        read_task(folder_task(make_task, tmp_path / "d"))


def classes_in(root, names, deeper=()):
    for number, name in enumerate(names):
        for i in range(6):
            inner = root / name / deeper[i % len(deeper)] if deeper else root / name
            picture(inner / f"{i}.png", 100 * number + i)
    return root


@pytest.mark.parametrize(
    "names", [("bus", "car", "train"), ("bullet_train", "bus"), ("freight_train", "passenger_train")], ids=" ".join
)
def test_a_class_may_be_called_train(make_task, tmp_path, own_cache, names):
    assert read_task(folder_task(make_task, classes_in(tmp_path / "d", names))).classes == names


@pytest.mark.parametrize(
    ("names", "deeper", "line"),
    [
        (("train", "test1"), (), "train, test1|test1, train"),
        (("train", "test", "extra"), (), "what is extra beside them"),
        (("asl_train", "extra"), ("cat", "dog"), "what is extra beside them"),
        (("trainA", "trainB"), ("cat", "dog"), "are both the train split"),
        (("train_1", "train_2"), (), "no folder for each class"),
        (
            ("trainA", "testA"),
            (),
            "no folder for each class in it; .*, or name files and labels in a table .task=image_table",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_splits_are_never_classes(make_task, tmp_path, own_cache, names, deeper, line):
    with pytest.raises(ConfigError, match=line):
        read_task(folder_task(make_task, classes_in(tmp_path / "d", names, deeper)))


def test_held_out_images_of_one_class_are_refused_and_missing_classes_told(make_task, tmp_path, own_cache):
    root = tmp_path / "d"
    for number, (split, name) in enumerate([("train", "a"), ("train", "b"), ("train", "c"), ("test", "a")]):
        for i in range(8):
            picture(root / split / name / f"{i}.png", 100 * number + i)
    with pytest.raises(ConfigError, match="all 8 images of the test split are 'a'"):
        read_task(folder_task(make_task, root))
    picture(root / "test" / "b" / "0.png", 999)
    assert read_task(folder_task(make_task, root)).describe()["missing"] == {"test": ["c"]}


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".webp", ".PNG"])
def test_copies_in_another_format_are_one_picture(make_task, tmp_path, own_cache, suffix):
    root = images_in(tmp_path / "d")
    for path in list(root.rglob("*.png")):
        more = {"lossless": True} if suffix == ".webp" else {}
        Image.open(path).save(path.with_name(f"copy{path.stem}{suffix}"), **more)
    task = read_task(folder_task(make_task, root))
    assert sum(map(len, task.splits.values())) == 24
    assert len(task.findings().left_out["repeated"]) == 24


def test_files_that_cannot_be_read_are_left_out_and_counted_where_that_is_said(make_task, tmp_path, own_cache):
    root = images_in(tmp_path / "d")
    (root / "cat/bad.png").write_bytes(b"x")
    (root / "cat/a.heic").write_bytes(b"x")
    (root / "cat/notes.txt").write_text("x")
    for _ in range(2):  # the second time from the cache
        told = read_task(folder_task(make_task, root, gaps="leave_out")).describe()
        assert told["left_out"] == {"unreadable": 2}
        assert told["passed_over"] == {".txt": 1}


@pytest.mark.parametrize(("task", "data", "line"), [
    ("image_folder", "a.csv", "a file, not a folder; task=image_folder reads a folder, task=text_csv, task=image_table, task=audio_table, task=token_labels, task=extractive_qa, task=seq2seq, task=chat, task=choice and task=transcripts read files"),
    ("spoken_digits", "a.csv", "a file, not a folder; task=spoken_digits reads a folder"),
    ("text_csv", "d", "a folder, not a file; task=text_csv reads a file, task=image_folder"),
    ("seq2seq", "d", "a folder, not a file; task=seq2seq reads a file"),
    ("text_csv", "gone", "no such file"),
    ("image_folder", "gone", "no such folder"),
])  # fmt: skip
def test_a_file_for_a_folder_is_said_with_the_task_that_reads_it(make_task, tmp_path, task, data, line):
    (tmp_path / "d").mkdir()
    (tmp_path / "a.csv").write_text("text,label\n")
    assert line in make_task(f"task={task}", f"task.data={tmp_path / data}").missing_files()[0]


# -- recordings --------------------------------------------------------------------------------------------------------


def tone(seed, count=4000):
    return np.random.default_rng(seed).integers(-9000, 9000, count).astype(np.int16)


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def wav(samples, *, rate=8000, kind=1, bits=16, channels=1, extensible=False, before=b"", size=None, full=2**15):
    """A WAV file of int16 samples, interleaved, in another sample format."""
    wide = samples.astype(np.int64)
    if kind == 3:
        data = (wide / full).astype("<f4" if bits == 32 else "<f8").tobytes()
    elif bits == 24:
        data = b"".join(int(value << 8).to_bytes(3, "little", signed=True) for value in wide)
    elif bits == 8:
        data = ((wide >> 8) + 128).astype(np.uint8).tobytes()
    else:
        data = (wide << (bits - 16)).astype(f"<i{bits // 8}").tobytes()
    width = bits // 8 * channels
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, rate, rate * width, width, bits)
    if extensible:
        head += struct.pack("<HHIH", 22, bits, 0, kind) + bytes.fromhex("000000001000800000aa00389b71")
    body = chunk(b"fmt ", head) + before + chunk(b"data", data)
    if size is not None:
        body = body.replace(b"data" + struct.pack("<I", len(data)), b"data" + struct.pack("<I", size))
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


@pytest.fixture
def recordings(tmp_path):
    seed = 0
    for speaker in ("ann", "bob", "cy", "dee"):
        for label in ("yes", "no"):
            for index in range(2):
                seed += 1
                (tmp_path / f"{label}_{speaker}_{index}.wav").write_bytes(wav(tone(seed)))
    return tmp_path


def spoken(make_task, folder, **changes):
    task = make_task("task=spoken_digits", f"task.data={folder}", "task.classes=null")
    return read_task(dataclasses.replace(task, **changes))


SAME = tone(99)
FORMATS = [
    ("24 bits", "yes_ann_9.wav", wav(SAME, bits=24), SAME),
    ("32 bits", "yes_ann_9.wav", wav(SAME, bits=32), SAME),
    ("float", "yes_ann_9.wav", wav(SAME, kind=3, bits=32), SAME),
    ("double", "yes_ann_9.wav", wav(SAME, kind=3, bits=64), SAME),
    ("8 bits", "yes_ann_9.wav", wav(SAME, bits=8), (SAME >> 8) * 256),
    ("extensible", "yes_ann_9.wav", wav(SAME, extensible=True), SAME),
    ("extensible float", "yes_ann_9.wav", wav(SAME, kind=3, bits=32, extensible=True), SAME),
    ("LIST chunk", "yes_ann_9.wav", wav(SAME, before=chunk(b"LIST", b"INFOx")), SAME),
    (
        "bext and fact chunks",
        "yes_ann_9.wav",
        wav(SAME, before=chunk(b"bext", bytes(61)) + chunk(b"fact", bytes(4))),
        SAME,
    ),
    ("written to a pipe", "yes_ann_9.wav", wav(SAME, size=0xFFFFFFFF), SAME),
    ("upper case", "yes_ann_9.WAV", wav(SAME), SAME),
]


@pytest.mark.parametrize(("name", "content", "samples"), [row[1:] for row in FORMATS], ids=[row[0] for row in FORMATS])
def test_a_recording_in_another_format_has_the_same_samples(make_task, recordings, name, content, samples):
    (recordings / name).write_bytes(content)
    task = spoken(make_task, recordings)
    heard = [each for split in task.splits.values() for each in split.samples]
    assert len(heard) == 17
    assert any(np.array_equal(each, samples) for each in heard)


def test_another_rate_is_resampled_and_several_channels_are_mixed_where_that_is_said(make_task, recordings):
    time = np.arange(8000) / 16000
    low = (8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    (recordings / "yes_ann_8.wav").write_bytes(wav(low, rate=16000))
    (recordings / "yes_ann_9.wav").write_bytes(wav(np.repeat(tone(98), 2), channels=2))
    with pytest.raises(ConfigError, match="yes_ann_9.wav: 2 channels; expected one, or task.channels=mix"):
        spoken(make_task, recordings)
    task = spoken(make_task, recordings, channels="mix")
    heard = [each for split in task.splits.values() for each in split.samples]
    wanted = 8000 * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)
    near = min(np.abs(each[200:-200] - wanted[200:-200]).max() for each in heard if len(each) == 4000)
    assert near < 60
    assert any(np.array_equal(each, tone(98)) for each in heard)
    assert task.describe()["format"] == {
        "of 16000 samples a second": "1 recordings",
        "of 2 channels": "1 recordings",
    }


BAD_RECORDINGS = [
    ("one sample", "yes_ann_9.wav", wav(SAME[:1]), "25 ms are the least|no sound"),
    ("silence", "yes_ann_9.wav", wav(0 * SAME), "no sound in it"),
    ("one level throughout", "yes_ann_9.wav", wav(0 * SAME + 7), "no sound in it"),
    ("no samples", "yes_ann_9.wav", wav(SAME[:0]), "no sound in it"),
    (
        "NaN",
        "yes_ann_9.wav",
        wav(SAME, kind=3, bits=32).replace(struct.pack("<f", SAME[5] / 2**15), struct.pack("<f", float("nan"))),
        "no finite",
    ),
    ("ADPCM", "yes_ann_9.wav", wav(SAME, kind=2), "ADPCM"),
    ("no WAV", "yes_ann_9.wav", b"OggS" + bytes(99), "not a readable WAV file"),
    ("pointer", "yes_ann_9.wav", b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
    ("cut short", "yes_ann_9.wav", wav(SAME)[:900], "it ends after 428 of 4000 samples"),
    ("floats of another scale", "yes_ann_9.wav", wav(SAME, kind=3, bits=32, full=1), "float samples reach 8.*; full scale is 1"),
    ("unread kind", "yes_ann_9.m4a", b"x", "a kind of recording that is not read"),
    ("other name", "yes-ann-9.wav", wav(SAME), "its name is not LABEL_SPEAKER_INDEX.wav"),
    ("same recording, other word", "no_ann_9.wav", wav(tone(1)), "are the same recording|is in .* too"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "line"), [row[1:] for row in BAD_RECORDINGS], ids=[row[0] for row in BAD_RECORDINGS]
)
def test_a_recording_that_is_none_is_named(make_task, recordings, name, content, line):
    (recordings / name).write_bytes(content)
    with pytest.raises(ConfigError, match=line):
        spoken(make_task, recordings)


@pytest.mark.parametrize("name", ["._yes_ann_0.wav", ".yes_ann_0.wav", "yes_ann_0.wav.lock", "Thumbs.db", "notes.txt"])
def test_files_beside_recordings_are_passed_over(make_task, recordings, name):
    (recordings / name).write_bytes(b"\0\5\x16\7")
    assert sum(len(split.samples) for split in spoken(make_task, recordings).splits.values()) == 16


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Yes_ann_9.wav", r"labels that differ .*'yes' \(as in yes_ann_0.wav\) and 'Yes'"),
        ("yes_Ann_9.wav", "speakers that .*'ann' .* and 'Ann'"),
    ],
)
def test_words_and_speakers_that_are_alike_are_refused(make_task, recordings, name, line):
    (recordings / name).write_bytes(wav(SAME))
    with pytest.raises(ConfigError, match=line):
        spoken(make_task, recordings)


def test_recordings_that_go_beyond_full_scale_are_counted(make_task, recordings):
    (recordings / "yes_ann_9.wav").write_bytes(wav(SAME, kind=3, bits=32, full=8000))
    assert spoken(make_task, recordings).describe()["format"] == {"clipped at full scale": "1 recordings"}


def test_held_out_speakers_that_say_one_word_are_refused(make_task, recordings):
    for index in range(2):
        (recordings / f"no_dee_{index}.wav").unlink()
    with pytest.raises(ConfigError, match="all 2 recordings of the test split are 'yes'"):
        spoken(make_task, recordings, test_speakers=["dee"], validation_speakers=["cy"])


def test_recordings_that_cannot_be_read_are_left_out_where_that_is_said(make_task, recordings):
    (recordings / "yes_ann_9.wav").write_bytes(b"x")
    assert spoken(make_task, recordings, gaps="leave_out").describe()["left_out"] == {"unreadable": 1}


# -- source and target texts -------------------------------------------------------------------------------------------


def pairs(make_task, path, **changes):
    return read_task(dataclasses.replace(make_task("task=seq2seq", "task.data=x"), data=str(path), **changes))


@pytest.mark.parametrize("gap", ["", None])
def test_an_optional_field_may_be_empty(make_task, tmp_path, gap):
    rows = [{"instruction": f"do {i}", "input": gap if i % 2 else "x", "output": f"done {i}"} for i in range(80)]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    task = pairs(make_task, path, source="{instruction} {input}", target="output")
    assert {"do 1", "do 2 x"} <= {source for split in task.splits.values() for source in split.sources}


@pytest.mark.parametrize("dtype", ["Int64", "string", "Float64", "boolean"])
def test_a_gap_never_becomes_a_text(make_task, tmp_path, dtype):
    values = {"Int64": 7, "string": "x", "Float64": 0.5, "boolean": True}
    column = pd.array([None if i == 3 else values[dtype] for i in range(80)], dtype=dtype)
    pd.DataFrame({"q": [f"how many is {i}" for i in range(80)], "a": column}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"1 rows have no source or no target \(rows 4\); task.gaps=leave_out"):
        pairs(make_task, tmp_path / "a.parquet", source="q", target="a")
    task = pairs(make_task, tmp_path / "a.parquet", source="q", target="a", gaps="leave_out")
    assert {t for split in task.splits.values() for t in split.targets} == {str(values[dtype])}


def test_a_source_in_many_groups_joins_them(make_task, tmp_path):
    rows = [(f"say {WORDS[i % 10]} {i // 4}", f"said {i}", f"g{i}") for i in range(120)]
    rows += [(f"{rows[i][0].upper()}", f"say again {i}", f"h{i}") for i in range(0, 120, 3)]
    path = written(tmp_path / "a.csv", text_of(rows, head=("source", "target", "who")))
    task = pairs(make_task, path, group="who")
    place = {source: name for name, split in task.splits.items() for source in split.sources}
    assert all(place[row[0]] == place.get(row[0].upper(), place[row[0]]) for row in rows)
    assert len(set(place.values())) == 3


def test_groups_of_sources_are_one_however_they_are_spelled(make_task, tmp_path):
    rows = [(f"say {i}", f"said {i}", f"Writer {i % 30}" if i % 4 < 2 else f" writer  {i % 30}") for i in range(120)]
    task = pairs(make_task, written(tmp_path / "a.csv", text_of(rows, head=("source", "target", "who"))), group="who")
    writers = [{int(source.split()[1]) % 30 for source in split.sources} for split in task.splits.values()]
    assert sum(map(len, writers)) == len(set.union(*writers)) == 30


@pytest.mark.parametrize(
    ("target", "cell", "line"),
    [
        ("a", ["x", "y"], r"task.target=a: .*row 5: .*\(list\) is no text; a template takes"),
        ("a", {"x": 1}, r"row 5: .*\(dict\) is no text"),
        ("{a}", ["x", "y"], r"task.target=\{a\}: .*row 5: .*\(list\) is no text"),
        ("{a[x]}", {"x": ["y"]}, r"row 5: .*\(list\) is no text"),
        ("a", "x\ud800", "row 5: half a character"),
        ("so {a}", "x\ud800", "row 5: half a character"),
    ],
)
def test_a_cell_that_is_no_text_is_no_target(make_task, tmp_path, target, cell, line):
    usual = {"x": "y"} if target == "{a[x]}" else "text"
    rows = [{"q": f"how much is {i}", "a": cell if i == 5 else usual} for i in range(1, 80)]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(ConfigError, match=line) as caught:
        pairs(make_task, path, source="q", target=target)
    assert len(str(caught.value).splitlines()) == 1


def test_a_template_takes_an_item_of_a_list(make_task, tmp_path):
    rows = [{"q": f"how much is {i}", "a": {"text": [f"{i}", "x"]}} for i in range(80)]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    task = pairs(make_task, path, source="q", target="{a[text][0]}")
    assert {t for split in task.splits.values() for t in split.targets} == {str(i) for i in range(80)}


def test_what_copying_and_the_usual_target_score_is_said(make_task, tmp_path):
    rows = [{"q": f"say {WORDS[i % 10]} {i}", "a": f"say {WORDS[i % 10]}" if i % 2 else "ok"} for i in range(120)]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    task = pairs(make_task, path, source="q", target="a")
    split, told = task.splits["test"], task.describe()
    chrf = sacrebleu.CHRF().corpus_score(list(split.sources), [list(split.targets)]).score
    assert told["copy"]["test"] == pytest.approx(chrf)
    usual = sacrebleu.CHRF().corpus_score(["ok"] * len(split), [list(split.targets)]).score
    assert told["usual_text"] == {
        "text": "ok",
        "validation": told["usual_text"]["validation"],
        "test": pytest.approx(usual),
    }
    lines = "\n".join(summary(task, None))
    assert "copying the source has a chrF of" in lines
    assert "always writing 'ok' has a chrF of" in lines


def test_near_identical_sources_stay_in_one_split(make_task, tmp_path):
    rows = [(f"{change(f'say {WORDS[i % 10]} {i}')}", f"said {i}") for i in range(40) for change in (str, str.upper)]
    task = pairs(make_task, written(tmp_path / "a.csv", text_of(rows, head=("source", "target"))))
    place = {source: name for name, split in task.splits.items() for source in split.sources}
    assert all(place[source] == place[source.upper()] for source in place)


# -- pairs of sentences ------------------------------------------------------------------------------------------------


def two(rows, head=("text", "other", "label"), mark=","):
    return text_of(rows, mark, head=head)


def asked(count=60):
    """Rows of which both sentences are needed to tell them apart."""
    return [
        (f"is it {WORDS[i % 10]} {i // 2}", f"it is {WORDS[(i % 2) * 5]}", "yes" if i % 2 else "no")
        for i in range(count)
    ]


def test_two_sentences_a_row_are_kept_together(make_task, tmp_path):
    task = read_task(config_of(make_task, data=written(tmp_path / "a.csv", two(asked())), text_pair="other"))
    found = {row for split in task.splits.values() for row in zip(split.texts, split.pairs, strict=True)}
    assert found == {row[:2] for row in asked()}
    assert task.names("test")[0] == " | ".join((task.splits["test"].texts[0], task.splits["test"].pairs[0]))


def test_pairs_that_share_a_sentence_with_another_split_are_told(make_task, tmp_path):
    rows = [(f"premise {i // 3}", f"hypothesis {i}", "yes" if i % 2 else "no") for i in range(60)]
    data = written(tmp_path / "a.csv", two(rows))
    told = read_task(config_of(make_task, data=data, text_pair="other")).findings().suspicious
    assert any(
        "test rows have the text of rows of train (task.group keeps such rows together)" in line for line in told
    )
    assert not read_task(config_of(make_task, data=data, text_pair="other", group="text")).findings().suspicious


@pytest.mark.parametrize(("rows", "line"), [
    ([*asked(), (*asked()[0][:2], "yes")], r"different labels, 1 times \(rows 2 and 62\)"),
    ([*asked(), ("is it odd", "", "yes")], r"1 rows have no text or no other or no label \(rows 62\)"),
])  # fmt: skip
def test_of_two_sentences_both_are_looked_at(make_task, tmp_path, rows, line):
    with pytest.raises(ConfigError, match=line):
        read_task(config_of(make_task, data=written(tmp_path / "a.csv", two(rows)), text_pair="other"))


def test_two_sentences_are_one_row_of_tokens_that_says_which_is_which(tiny_base, own_cache):
    from harness.task import encode
    from harness.task.batches import Split

    split = Split(("the film", "music"), (0, 1), ("is a story", "people in town"))
    encoded = encode(split, tiny_base / "tokenizer.json", 40, 0)
    alone = encode(Split(split.texts, split.labels), tiny_base / "tokenizer.json", 40, 0)
    assert encoded.batch([0])["ids"].shape[1] > alone.batch([0])["ids"].shape[1]
    assert "types" in encoded.batch([0, 1])
    assert "types" not in alone.batch([0, 1])


# -- splits that are given ---------------------------------------------------------------------------------------------


def noun(i):
    return f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} {i}"


def labelled(i, change=str):
    return {"text": change(f"the {noun(i)}"), "label": "pos" if i % 2 else "neg"}


def paired(i, change=str):
    return {"text": change(f"is it {noun(i)}"), "other": f"it is {noun(i)}", "label": "yes" if i % 2 else "no"}


def numbered(i, change=str):
    return {"text": change(f"the {noun(i)}"), "label": i / 4}


def several(i, change=str):
    return {"text": change(f"the {noun(i)}"), "label": [["a"], ["a", "b"], ["b"]][i % 3]}


def tagged(i, change=str):
    return {"tokens": [change("see"), *noun(i).split()], "tags": ["O", "B-THING", "I-THING", "O"]}


def translated(i, change=str):
    return {"source": change(f"say {noun(i)}"), "target": f"said {noun(i)}"}


def chatted(i, change=str):
    asked = {"role": "user", "content": change(f"what is {noun(i)}?")}
    return {"messages": [asked, {"role": "assistant", "content": f"a thing, {i}"}]}


def chosen(i, change=str):
    return {"question": change(f"which is {noun(i)}?"), "choices": [f"{i}", f"{i + 1}", f"{i + 2}"], "answerKey": i % 3}


def asked_of(i, change=str):
    text = change(f"who lives in {noun(i)}?")
    return {"question": text, "context": f"in {noun(i)} lives tom{i}.", "answers": {"text": [f"tom{i}"]}}


def pictured(i, change=str):
    return {"image": change(f"{i}.png"), "label": "pos" if i % 2 else "neg"}


def sounded(i, change=str):
    return {"audio": change(f"{i}.wav"), "label": "pos" if i % 2 else "neg"}


KINDS = {
    "texts": ("text_csv", labelled, {}),
    "pairs": ("text_csv", paired, {"text_pair": "other"}),
    "numbers": ("text_csv", numbered, {"answer": "number"}),
    "several labels": ("text_csv", several, {"answer": "labels"}),
    "tags": ("token_labels", tagged, {}),
    "source and target": ("seq2seq", translated, {}),
    "conversations": ("chat", chatted, {}),
    "options": ("choice", chosen, {}),
    "questions": ("extractive_qa", asked_of, {}),
    "images": ("image_table", pictured, {}),
    "recordings": ("audio_table", sounded, {"sample_rate": 8000}),
}


def two_files(folder, train, test):
    """The keys of a training and a test table, with the tables that they name."""
    parts = {"data": train, "test": test}
    return {key: written(folder / f"{key}.jsonl", "\n".join(map(json.dumps, rows))) for key, rows in parts.items()}


def given_task(make_task, folder, kind, train, test, **changes):
    """What is read of rows of a kind, with a test file; of images the pictures are made."""
    name, _, own = KINDS[kind]
    for row in (*train, *test) if name == "image_table" else ():
        picture(folder / row["image"], int(row["image"].partition(".")[0]))
    for row in (*train, *test) if name == "audio_table" else ():
        (folder / row["audio"]).write_bytes(wav(tone(int(row["audio"].partition(".")[0]))))
    paths = two_files(folder, train, test)
    words = ["task.image_size=32"] if name == "image_table" else []
    task = make_task(f"task={name}", "task.data=x", *words)
    return read_task(dataclasses.replace(task, **paths, **own, **changes))


def grouped(make, rows, group):
    return [make(i) | {"who": group(i)} for i in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_a_given_split_are_kept_apart_from_those_of_training(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    train = grouped(make, range(60), lambda i: f"g{i // 6}")
    apart = grouped(make, range(60, 84), lambda i: f"h{i // 6}" if i % 6 else None)
    task = given_task(make_task, tmp_path, kind, train, apart, group="who")
    (line,) = [line for line in task.findings().suspicious if "task.group" in line]
    said = "test: 4 of 24 rows have no group, and each is taken for one of its own (task.group=who; rows "
    assert line.startswith(said)
    assert task.describe()["rows"]["test"] == 24
    shared = grouped(make, range(60, 84), lambda i: f"g{i % 10}")
    line = r"task\.group=who: [6-9] groups of test, which are (1|2)\d of its rows, stand in train too "
    with pytest.raises(
        ConfigError, match=line + r"\('g\d': train \d+, \d+, \d+, … and test .*; task\.leaks=allow"
    ) as caught:
        given_task(make_task, tmp_path, kind, train, shared, group="who")
    assert len(str(caught.value).splitlines()) == 1
    told = given_task(make_task, tmp_path, kind, train, shared, group="who", leaks="allow").findings().suspicious
    assert any(re.match(line, said) for said in told)


@pytest.mark.parametrize(("one", "other"), [(lambda i: i, float), (lambda i: f"Ann {i}", lambda i: f" ann  {i} ")])
@pytest.mark.parametrize("kind", KINDS)
def test_groups_are_one_however_their_numbers_and_names_are_spelled(make_task, tmp_path, own_cache, kind, one, other):
    make = KINDS[kind][1]
    train = grouped(make, range(60), lambda i: one(i // 6))
    held = grouped(make, range(60, 84), lambda i: other(i % 10) if i % 6 else None)  # as pandas has numbers with a gap
    with pytest.raises(ConfigError, match=r"task\.group=who: [6-9] groups of test, .* stand in train too"):
        given_task(make_task, tmp_path, kind, train, held, group="who")


UNTRAINED = [
    (
        "texts",
        lambda i: {"label": str(i % 2)},
        r"'0' \(3 rows: 1, 3, 5\), '1' .*, whose numbers are not taken for them",
    ),
    (
        "texts",
        lambda i: {"label": ("new", "pos", "odd")[i % 3]},
        r"'new' \(2 rows: 1, 4\), 'odd' \(2 rows: 3, 6\); .*'pos'$",
    ),
    (
        "several labels",
        lambda i: {"label": ["a", "new"] if i % 2 else ["odd"]},
        r"'odd' \(3 rows: 1, .*, 'new' \(3 rows: 2",
    ),
    ("images", lambda i: {"label": ("new", "odd")[i % 2]}, r"'new' \(3 rows: 1, 3, 5\), 'odd' \(3 rows: 2, 4, 6\)"),
]


@pytest.mark.parametrize(("kind", "label", "line"), UNTRAINED)
def test_labels_that_training_has_not_are_refused_with_file_and_rows(make_task, tmp_path, own_cache, kind, label, line):
    make = KINDS[kind][1]
    held = [make(60 + i) | label(i) for i in range(6)]
    with pytest.raises(ConfigError, match=rf"task\.test=.*test\.jsonl: 2 labels are absent from training: {line}"):
        given_task(make_task, tmp_path, kind, [make(i) for i in range(60)], held)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_a_group_and_names_that_are_taken_for_one_are_told(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    names = [None, "", "unknown", "[deleted]", "07", "7", "ann 8; ann 9", "Lee, Ann", "Lee, Tim"]
    names += ["José", "Jose", "@tim", "tim", "x.org/1/", "x.org/1", "Eva <eva@x.org>", "eva@x.org"]
    names += [f"{('Ann', 'ann ', 'ANN')[i % 3]} {i // 6}" for i in range(17, 60)]
    train, held = grouped(make, range(60), lambda i: names[i]), grouped(make, range(60, 84), lambda i: f"h{i // 6}")
    told = "\n".join(given_task(make_task, tmp_path, kind, train, held, group="who").findings().suspicious)
    where = {int(count): split for split, count in re.findall(r"(\w+): (\d+) of \d+ rows have no group", told)}
    assert sum(where) == 2 or len(where) == 1, "two rows, in one split or in two"
    for name in ("unknown", "[deleted]"):
        assert f"task.group=who: {name!r} (1 rows) often means that there is no group, and is taken for one" in told
    assert "task.group=who: '07' and '7' are two groups each: is it one number?" in told
    assert "task.group=who: 1 names are of several groups, and each is one of its own: 'ann 8; ann 9'" in told
    pairs = "'José' and 'Jose', '@tim' and 'tim', 'x.org/1/' and 'x.org/1', 'Eva <eva@x.org>' and 'eva@x.org'"
    (found,) = re.findall(r"task\.group=who: (.*) are groups of their own: are they one each\?", told)
    assert {frozenset(pair.split(" and ")) for pair in found.split(", ")} == {
        frozenset(pair.split(" and ")) for pair in pairs.split(", ")
    }
    line = r"task\.group=who: \d+ groups are written in several ways, .*: 'Ann \d' and 'ann \d' and 'ANN \d'"
    assert re.search(line, told)


def test_a_group_that_is_a_long_text_is_told_by_its_beginning(make_task, tmp_path):
    train, test = (
        grouped(labelled, rows, lambda i: f"{i % 10} " + 99 * "long ") for rows in (range(60), range(60, 84))
    )
    told = given_task(make_task, tmp_path, "texts", train, test, group="who", leaks="allow").findings().suspicious
    line = next(said for said in told if said.startswith("task.group=who"))
    assert "long lo…: train " in line
    assert len(line) < 2000


@pytest.mark.parametrize("kind", KINDS)
def test_a_given_split_without_the_column_of_groups_is_refused_by_key(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    train, test = grouped(make, range(60), lambda i: i // 6), [make(i) for i in range(60, 84)]
    with pytest.raises(ConfigError, match=r"task\.group=who: .*test\.jsonl has no column who.*task\.leaks=allow"):
        given_task(make_task, tmp_path, kind, train, test, group="who")
    task = given_task(make_task, tmp_path, kind, train, test, group="who", leaks="allow")
    assert task.describe()["rows"]["test"] == 24
    assert "test: no row has a group (task.group=who)" in task.findings().suspicious


TWICE = [kind for kind in KINDS if kind not in ("source and target", "conversations", "options")]


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_rows_of_given_splits_are_left_out_and_named(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    train = [make(i) for i in (*range(60), *range(7))]
    test = [make(i) for i in (*range(60, 70), *range(60, 66))]
    task = given_task(make_task, tmp_path, kind, train, test)
    told = task.describe()
    assert sum(told["rows"].values()) == 70
    assert told["rows"]["test"] == 10
    assert told["left_out"] == {"repeated": 13}
    names = [*(f"train {row}" for row in range(61, 68)), *(f"test {row}" for row in range(11, 17))]
    assert task.findings().left_out["repeated"] == names
    assert f"left out, repeated: 13 (rows {', '.join(names[:10])} and 3 more)" in summary(task, None)
    assert short(task).find("13 repeated") > 0


@pytest.mark.parametrize("kind", TWICE)
def test_repeats_of_a_given_held_out_split_stay_where_all_rows_are_kept(make_task, tmp_path, own_cache, kind):
    make = KINDS[kind][1]
    train, test = [make(i) for i in (*range(60), *range(7))], [make(i) for i in (*range(60, 70), 60, 61)]
    task = given_task(make_task, tmp_path, kind, train, test, duplicates="keep")
    assert task.describe()["rows"]["test"] == 12
    assert task.findings().left_out["repeated"] == [f"train {row}" for row in range(61, 68)]
    names = "11, 12" if kind in ("tags", "questions") else "test 11, test 12"
    said = f"test: 2 rows repeat others (rows {names}) and stay, as task.duplicates=keep says"
    assert said in task.findings().suspicious


def test_repeats_of_all_three_given_files_are_left_out(make_task, tmp_path):
    for name, rows in {"a": (*range(40), 0, 1), "v": (*range(40, 50), 40), "t": (*range(50, 60), 50, 51)}.items():
        written(tmp_path / f"{name}.csv", text_of([tuple(labelled(i).values()) for i in rows]))
    paths = {"data": f"{tmp_path}/a.csv", "validation": f"{tmp_path}/v.csv", "test": f"{tmp_path}/t.csv"}
    task = read_task(config_of(make_task, **paths))
    assert task.describe()["rows"] == {"train": 40, "validation": 10, "test": 10}
    assert task.findings().left_out["repeated"] == ["train 42", "train 43", "validation 12", "test 12", "test 13"]


def test_copies_in_given_folders_are_left_out_and_named(make_task, tmp_path, own_cache):
    root = images_in(tmp_path / "d", lambda i: "train" if i < 8 else "test")
    picture(root / "test" / "cat" / "z.png", 8)
    picture(root / "train" / "dog" / "z.png", 100)
    found = read_task(folder_task(make_task, root))
    assert len(found.splits["test"]) == 8
    assert found.findings().left_out == {"repeated": ["test/cat/z.png", "train/dog/z.png"]}
    kept = read_task(folder_task(make_task, root, duplicates="keep"))
    assert len(kept.splits["test"]) == 9
    assert kept.findings().left_out == {"repeated": ["train/dog/z.png"]}
    line = "test: 1 rows repeat others (rows test/cat/z.png) and stay, as task.duplicates=keep says"
    assert line in kept.findings().suspicious


def spoilt(row, text):
    """A row with a text at the end of what is read of it first."""
    name = next(iter(row))
    if name == "messages":
        return {name: [{**row[name][0], "content": text}, *row[name][1:]]}
    return row | {name: [text, *row[name][1:]] if isinstance(row[name], list) else text}


TEXTS = [kind for kind in KINDS if kind not in ("images", "recordings")]


@pytest.mark.parametrize(("text", "line"), [("a\0b", "a character of zero"), ("a\ud800", "half a character")])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_cannot_be_written_is_refused_with_its_row(make_task, tmp_path, kind, text, line):
    make = KINDS[kind][1]
    rows = [spoilt(make(i), text) if i == 4 else make(i) for i in range(60)]
    with pytest.raises(ConfigError, match=rf"row 5: .*{line}") as caught:
        given_task(make_task, tmp_path, kind, rows, [make(i) for i in range(60, 70)])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["source and target", "conversations", "options", "tags", "questions"])
def test_rows_that_are_alike_up_to_case_are_counted(make_task, tmp_path, kind):
    make = KINDS[kind][1]
    train = [make(i, change) for i in range(60) for change in ((str, str.upper) if i < 7 else (str,))]
    task = given_task(make_task, tmp_path, kind, train, [make(i) for i in range(60, 70)])
    near = task.findings().near
    assert near["train"] + near.get("validation", 0) == 7
    assert "nothing left out, nothing repeated, nothing suspicious" not in summary(task, None)


@pytest.mark.parametrize(("kind", "what"), [("source and target", "source"), ("conversations", "conversation")])
def test_sources_of_several_targets_are_told_and_kept(make_task, tmp_path, kind, what):
    make = KINDS[kind][1]
    first, other = (make(i) for i in (7, 8))
    if kind == "conversations":
        other = {"messages": [first["messages"][0], other["messages"][1]]}
    else:
        other = first | {"target": other["target"]}
    train = [*(make(i) for i in range(60)), other]
    task = given_task(make_task, tmp_path, kind, train, [make(i) for i in range(60, 70)])
    (line,) = (said for said in task.findings().suspicious if said.startswith("the same"))
    place = next(split for split, rows in task.findings().kept.items() if "61" in rows)
    assert line.startswith(
        f"the same {what} with different targets, 1 times (rows {place} 8 and {place} 61); all are kept"
    )
    assert sum(task.describe()["rows"].values()) == 71
    assert f"to be looked at: {line}" in summary(task, None)


def test_targets_that_differ_in_case_alone_are_no_others(make_task, tmp_path):
    rows = [translated(i) for i in range(60)] + [translated(3) | {"target": "SAID " + noun(3)}]
    task = given_task(make_task, tmp_path, "source and target", rows, [translated(i) for i in range(60, 70)])
    assert task.findings().suspicious == []
    assert sum(task.findings().near.values()) == 1


# -- copies that are not the same to the bit ---------------------------------------------------------------------------


def scene(seed, size=96):
    """A picture with slopes and edges, unlike those of other seeds."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 200, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((size, size), Image.Resampling.BICUBIC)


def noisy(image):
    return Image.fromarray(
        np.clip(np.asarray(image) + np.random.default_rng(0).integers(-4, 5, (96, 96, 3)), 0, 255).astype(np.uint8)
    )


CHANGED = {
    "JPEG": (".jpg", lambda image: image, {"quality": 75}),
    "poor JPEG": (".jpg", lambda image: image, {"quality": 40}),
    "WebP": (".webp", lambda image: image, {"quality": 80}),
    "half the size": (".png", lambda image: image.resize((48, 48)), {}),
    "twice the size": (".png", lambda image: image.resize((192, 192)), {}),
    "brighter": (".png", lambda image: image.point(lambda level: min(255, level * 6 // 5)), {}),
    "darker": (".png", lambda image: image.point(lambda level: level * 4 // 5), {}),
    "grey": (".png", lambda image: image.convert("L"), {}),
    "256 colours": (".gif", lambda image: image.quantize(256), {}),
    "noise": (".png", noisy, {}),
}


@pytest.mark.parametrize("kind", CHANGED)
@pytest.mark.parametrize("form", ["folder", "table"])
def test_a_picture_saved_anew_in_another_split_is_told(make_task, tmp_path, own_cache, kind, form):
    suffix, change, how = CHANGED[kind]
    places = {}
    for i in range(40):
        places[i] = tmp_path / ("train" if i < 30 else "test") / ("cat" if i % 2 else "dog") / f"{i}.png"
        places[i].parent.mkdir(parents=True, exist_ok=True)
        scene(i).save(places[i])
    copy = tmp_path / "test" / "cat" / f"copy{suffix}"
    change(scene(3)).save(copy, **how)
    if form == "folder":
        task = read_task(folder_task(make_task, tmp_path))
    else:
        rows = [
            {"image": str(path.relative_to(tmp_path)), "label": path.parent.name} for path in [*places.values(), copy]
        ]
        base = make_task("task=image_table", "task.data=x", "task.image_size=32")
        task = read_task(dataclasses.replace(base, **two_files(tmp_path, rows[:30], rows[30:])))
    (line,) = task.findings().suspicious
    assert re.match(
        r"1 of 11 test pictures look like those of \w+, if not to the bit \(\S*copy\S+ and \S*3\.png\)", line
    )
    assert f"to be looked at: {line}" in summary(task, None)


TURNED = {
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "a quarter": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "along the other diagonal": lambda image: image.transpose(Image.Transpose.TRANSVERSE),
}


@pytest.mark.parametrize("kind", TURNED)
@pytest.mark.parametrize("copies", [1, 5])
def test_mirrored_and_turned_pictures_in_another_split_are_told_where_they_are_some(
    make_task, tmp_path, own_cache, kind, copies
):
    for i in range(40):
        split = "train" if i < 25 else "validation" if i < 30 else "test"
        path = tmp_path / split / ("cat" if i % 2 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        (TURNED[kind](scene(i - 30)) if 30 <= i < 30 + copies else scene(i)).save(path)
    told = read_task(folder_task(make_task, tmp_path)).findings().suspicious
    said = (
        "5 of 10 test pictures, mirrored or turned, look like those of train, if not to the bit (cat/31.png and cat/1.p"
    )
    assert [line[: len(said)] for line in told] == ([said] if copies == 5 else [])


def test_pictures_of_nothing_and_other_pictures_are_not_told(make_task, tmp_path, own_cache):
    for i in range(60):
        path = tmp_path / ("train" if i < 40 else "test") / ("cat" if i % 2 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        (scene(i) if i % 3 else Image.new("RGB", (40, 40), (i, i, 9 + i))).save(path)
    assert read_task(folder_task(make_task, tmp_path)).findings().suspicious == []


def word(seed, count=6000, rate=8000):
    """A tone that glides, with overtones, between silences: unlike those of other seeds."""
    draw = np.random.default_rng(seed)
    time = np.arange(count) / rate
    pitch = draw.uniform(90, 260) * (
        1 + draw.uniform(-0.2, 0.2) * time + 0.02 * np.sin(2 * np.pi * draw.uniform(3, 9) * time)
    )
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(draw.uniform(0.1, 1) * np.sin(n * phase + draw.uniform(0, 6)) for n in range(1, 12))
    return np.rint(2500 * voice * np.hanning(count)).astype(np.int16)


SOUNDS = {
    "quieter": lambda heard: heard // 3,
    "louder": lambda heard: heard * 2,
    "silence before": lambda heard: np.concatenate([np.zeros(800, np.int16), heard]),
    "silence around": lambda heard: np.concatenate([np.zeros(333, np.int16), heard, np.zeros(2000, np.int16)]),
    "moved": lambda heard: np.concatenate([heard[60:], np.zeros(60, np.int16)]),
    "noise": lambda heard: heard + np.random.default_rng(1).integers(-30, 31, len(heard)).astype(np.int16),
    "upside down": lambda heard: -heard,
}


@pytest.mark.parametrize("kind", SOUNDS)
@pytest.mark.parametrize("form", ["folder", "transcripts", "table"])
def test_a_recording_made_louder_or_moved_in_another_split_is_told(make_task, tmp_path, own_cache, kind, form):
    places = {
        i: tmp_path / ("train" if i < 30 else "test") / ("yes" if i % 2 else "no") / f"{i}.wav" for i in range(40)
    }
    copy = tmp_path / "test" / "yes" / "copy.wav"
    for path, heard in [*((path, word(i)) for i, path in places.items()), (copy, SOUNDS[kind](word(3)))]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(heard))
    if form == "folder":
        task = read_task(dataclasses.replace(make_task("task=audio_folder", f"task.data={tmp_path}"), sample_rate=8000))
    else:
        rows = [
            {"path": str(path.relative_to(tmp_path)), "text": f"so said {i}", "label": path.parent.name}
            for i, path in enumerate([*places.values(), copy])
        ]
        paths = two_files(tmp_path, rows[:30], rows[30:])
        base = make_task("task=transcripts" if form == "transcripts" else "task=audio_table", "task.data=x")
        task = read_task(dataclasses.replace(base, **paths, sample_rate=8000))
    (line,) = task.findings().suspicious
    assert re.match(
        r"1 of 11 test recordings sound like those of \w+, if not to the bit \(\S*copy\.wav and \S*/3\.wav\)", line
    )
    assert f"to be looked at: {line}" in summary(task, None)


def test_other_recordings_are_not_told(make_task, tmp_path, own_cache):
    for i in range(60):
        path = tmp_path / ("train" if i < 40 else "test") / ("yes" if i % 2 else "no") / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(word(i)))
    task = read_task(dataclasses.replace(make_task("task=audio_folder", f"task.data={tmp_path}"), sample_rate=8000))
    assert task.findings().suspicious == []


def reworded(i, change):
    """Kinds of rows whose first text has words enough, and `change`d."""
    text = change(f"we went to see the {noun(i)} near town")
    return {
        "texts": {"text": text, "label": "pos" if i % 2 else "neg"},
        "pairs": {"text": text, "other": f"it is {i}", "label": "yes" if i % 2 else "no"},
        "source and target": {"source": text, "target": f"said {i}"},
        "conversations": {
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": f"yes {i}"}]
        },
        "options": {"question": text, "choices": [f"{i}", f"{i + 1}", f"{i + 2}"], "answerKey": i % 3},
        "tags": {"tokens": text.split(), "tags": ["O"] * len(text.split()[1:]) + ["B-PLACE"]},
        "questions": {"question": text, "context": f"tom{i} lives here.", "answers": {"text": [f"tom{i}"]}},
    }


WORDS_MORE = {
    "first": lambda text: f"Well, {text}",
    "last": lambda text: f"{text} today",
    "between": lambda text: text.replace(" the ", " the old "),
    "less": lambda text: text.replace(" near town", " town"),
}


@pytest.mark.parametrize("change", WORDS_MORE)
@pytest.mark.parametrize("kind", reworded(0, str))
def test_texts_of_a_word_more_or_less_in_another_split_are_told(make_task, tmp_path, kind, change):
    train = [reworded(i, str)[kind] for i in range(60)]
    test = [*(reworded(i, str)[kind] for i in range(60, 70)), reworded(7, WORDS_MORE[change])[kind]]
    told = given_task(make_task, tmp_path, kind, train, test).findings().suspicious
    (line,) = (said for said in told if "but for a word" in said)
    assert re.fullmatch(
        r"1 of 11 texts of test are those of (train|validation) but for a word \(rows test 11 and \1 8\)", line
    )


def two_words(text):
    return text.replace(" the ", " the old red ")


def other_word(text):
    return text.replace("town", "home")


def other_order(text):
    return f"town {text.removesuffix(' town')} now"


@pytest.mark.parametrize("change", [two_words, other_word, other_order])
def test_texts_that_differ_in_more_than_a_word_are_not_told(make_task, tmp_path, change):
    train = [reworded(i, str)["texts"] for i in range(60)]
    test = [reworded(i, str if i >= 60 else change)["texts"] for i in (*range(60, 70), 7)]
    assert given_task(make_task, tmp_path, "texts", train, test).findings().suspicious == []


SENTENCE = st.lists(st.sampled_from("abc"), min_size=3, max_size=9).map(" ".join)


@given(earlier=st.lists(SENTENCE, max_size=12), later=st.lists(SENTENCE, max_size=12))
@example(earlier=["a a a a a a"], later=["a a a a a", "a a a a a"])
def test_texts_but_for_a_word_are_those_found_by_looking_at_all(earlier, later):
    def without_one(text):
        words = text.split()
        return {" ".join(words[:at] + words[at + 1 :]) for at in range(len(words))}

    def are_near(one, other):
        long, short = sorted((one, other), key=lambda text: -len(text.split()))
        return len(short.split()) >= 5 and short in without_one(long)

    told = near_texts({"train": earlier, "test": later}, {"train": range(12), "test": range(12)})
    wanted = sum(any(are_near(text, other) for other in earlier) for text in later)
    counts = [line.partition(" texts")[0] for line in told if "but for a word" in line]
    assert counts == ([f"{wanted} of {len(later)}"] if wanted else [])


AROUND = {
    "an address behind": lambda text: f"{text} https://t.co/ab12",
    "a name before": lambda text: f"RT @bob: {text}",
    "both": lambda text: f"FW: re: {text} -- sent from my phone",
    "cut": lambda text: text[:-6],
    "tags": lambda text: f"<p class='a'>{text}</p>",
    "no accents": lambda text: text.replace("é", "e"),
    "other letters": lambda text: text.replace("a", "\u0430"),
}


@pytest.mark.parametrize("kind", AROUND)
@pytest.mark.parametrize("swapped", [False, True])
def test_texts_with_something_around_them_are_told(make_task, tmp_path, kind, swapped):
    plain = [f"the café of {reworded(i, str)['texts']['text']}" for i in range(60)]
    held = [AROUND[kind](text) for text in plain[:20]] + [
        f"else {reworded(i, str)['texts']['text']}" for i in range(60, 70)
    ]
    train, test = (held, plain) if swapped else (plain, held)
    told = near_texts(
        {"train": list(map(normalised, train)), "test": list(map(normalised, test))},
        {"train": range(60), "test": range(60)},
    )
    how = (
        "but for tags, accents or" if kind in ("tags", "no accents", "other letters") else "with words before or behind"
    )
    assert told[0].startswith(f"20 of {len(test)} texts of test are those of train {how}")
    assert "0 and 0" in told[0]


ALPHABET = "abcdefghijklmnopqrst"
RUNS = st.tuples(st.integers(0, 12), st.integers(3, 16)).map(lambda run: " ".join(ALPHABET[run[0] :][: run[1]]))


@given(earlier=st.lists(RUNS, unique=True, max_size=12), later=st.lists(RUNS, unique=True, min_size=4, max_size=12))
def test_texts_with_words_around_are_those_found_by_looking_at_all(earlier, later):
    def is_around(long, short):
        words, inner = long.split(), short.split()
        more = len(words) - len(inner)
        inside = any(words[at : at + len(inner)] == inner for at in range(1, more + 1))
        begins = more > 0 and long.startswith(short) and len(long) <= 2 * len(short)
        return len(inner) >= 6 and (begins or (inside and more <= 8 and 2 * more <= len(inner)))

    def is_told(text):
        near = [other for other in earlier if abs(len(text) - len(other)) == 2 and (text in other or other in text)]
        return (
            text not in earlier
            and not any(min(len(text), len(other)) >= 9 for other in near)
            and any(is_around(text, o) or is_around(o, text) for o in earlier)
        )

    told = near_texts({"train": earlier, "test": later}, {"train": range(12), "test": range(12)})
    counts = [line.partition(" texts")[0] for line in told if "with words before" in line]
    wanted = sum(map(is_told, later))
    assert counts == ([f"{wanted} of {len(later)}"] if wanted >= 3 else [])
