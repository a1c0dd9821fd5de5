"""Tables that mean no one thing: each refused in a line that names the row or the key."""
# ruff: noqa: E501, E741

import dataclasses
import gzip
import json
import os
import socket

import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from tests.task.intake_inputs import (
    ACCENTED,
    NUMBERED,
    SPLIT,
    TIMED,
    config_of,
    in_splits,
    lines_of,
    relabelled,
    sentences,
    swallowed,
    text_of,
    texts_of,
    with_odd,
    written,
)

EASTERN = {
    "cp1250": "zażółć gęślą jaźń",
    "iso8859_2": "příliš žluťoučký kůň",
    "cp1254": "güneş çalışıyor",
    "cp1257": "žmonės žodžių reikšmė",
    "mac_roman": "über die Straße, schöne Mädchen",
    "cp850": "doués, déjà été",
}
PAIRED = [{"text": t, "label": l, "pair": f"so {t}"} for t, l in sentences()]
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
