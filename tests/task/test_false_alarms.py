"""Data that are fine are read: what looks like a mistake elsewhere is none there."""

import csv
import io
from pathlib import Path

import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.intake.table import load_table
from tests.task.intake_inputs import config_of, sentences, text_of, written

MAIL = "Hi,\nit came on Sunday, late.\n{line}\nbye"
TABLE = "a table:\ntime,level\n{line}\nend of it"


def quoted(rows, header=("text", "label"), quoting=csv.QUOTE_MINIMAL):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=quoting).writerows([header, *rows])
    return out.getvalue()


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("form", [MAIL, TABLE])
def test_a_text_of_several_lines_may_have_one_like_a_row(form, quoting, make_task, tmp_path):
    rows = [(form.format(line=f"{text},{label}"), label) for text, label in sentences()]
    found = read_task(config_of(make_task, data=written(tmp_path / "a.csv", quoted(rows, quoting=quoting))))
    assert {text for split in found.splits.values() for text in split.texts} == {text for text, _ in rows}


def test_columns_may_have_numbers_for_names(make_task, tmp_path):
    data = written(tmp_path / "a.csv", quoted(sentences(), header=("0", "1")))
    for text, label in ((0, 1), ("0", "1")):
        found = read_task(config_of(make_task, data=data, text=text, label=label))
        assert sum(map(len, (split.texts for split in found.splits.values()))) == len(sentences())


def test_an_empty_field_of_a_template_is_left_empty_and_told(make_task, tmp_path):
    rows = [("" if row % 5 == 0 else f"title {row}", text, label) for row, (text, label) in enumerate(sentences())]
    data = written(tmp_path / "a.csv", quoted(rows, header=("title", "body", "label")))
    empty = sum(not title for title, _, _ in rows)
    found = read_task(config_of(make_task, data=data, text="{title}. {body}"))
    assert any(f"{empty} rows have no title, which task.text names" in line for line in found.facts.suspicious)
    texts = [text for split in found.splits.values() for text in split.texts]
    assert sum(text.startswith(". ") for text in texts) == empty
    left = read_task(config_of(make_task, data=data, text="{title}. {body}", gaps="leave_out"))
    assert sum(len(split.texts) for split in left.splits.values()) == len(rows) - empty


@pytest.mark.parametrize("big", [0, 100])
def test_classes_of_two_rows_are_said_where_nothing_can_be_held_out(big, make_task, tmp_path):
    rows = [(f"the {name} of {row} thing", f"class {name}") for name in range(20) for row in range(2)]
    rows += [(f"a large one, number {row}", "large") for row in range(big)]
    line = r"20 of 2\d classes have at most 2 rows, which training keeps \(class 0, .*task\.validation and task\.test"
    with pytest.raises(ConfigError, match=line):
        read_task(config_of(make_task, data=written(tmp_path / "a.csv", quoted(rows))))


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("tsv", "\t"), ("csv", ";"), ("txt", "|")])
def test_a_file_without_a_header_is_read_by_the_names_of_its_columns(suffix, mark, make_task, tmp_path):
    rows = sentences()
    lines = [f"gj04{mark}{label}{mark}*{mark}{text}\n" for text, label in rows]
    data = written(tmp_path / f"b.{suffix}", "".join(lines))
    with pytest.raises(
        ConfigError, match=r"no such column; .*first row is data, write 4 names above it, .*task.columns"
    ):
        read_task(config_of(make_task, data=data))
    data = written(tmp_path / f"a.{suffix}", "".join([*lines, lines[0]]))
    with pytest.raises(ConfigError, match=r"rows 61 are the header again; .*task.columns"):
        read_task(config_of(make_task, data=data))
    found = read_task(config_of(make_task, data=data, columns=["source", "label", "mark", "text"]))
    assert {text for split in found.splits.values() for text in split.texts} == {text for text, _ in rows}
    assert found.facts.left_out["repeated"] == [str(len(rows) + 1)]  # the header would be row 1
    with pytest.raises(ConfigError, match=r"row 1 has 4 fields, and task.columns names 2"):
        read_task(config_of(make_task, data=data, separator=mark, columns=["label", "text"]))


def test_a_separator_that_is_rare_is_named(make_task, tmp_path):
    lines = [f"{text}, it was{' ,' * (place % 3)}@{label}\n" for place, (text, label) in enumerate(sentences())]
    data, columns = written(tmp_path / "a.txt", "".join(lines)), ["text", "label"]
    with pytest.raises(ConfigError, match=r"task.columns names 2; 'task.separator=\"@\"' parts each row into so many"):
        read_task(config_of(make_task, data=data, columns=columns))
    assert read_task(config_of(make_task, data=data, columns=columns, separator="@")).classes == ("neg", "pos")


def test_sides_of_few_topics_and_of_words_are_no_texts_of_another_split(make_task, tmp_path):
    for terms in (["the battery", "the price of it"], [f"word{n}" for n in range(30)]):
        rows = [(terms[n % len(terms)], f"they said {n} of it", "yes" if n % 2 else "no") for n in range(60)]
        data = written(tmp_path / "a.csv", text_of(rows, head=("text", "other", "label")))
        assert not read_task(config_of(make_task, data=data, text_pair="other")).findings().suspicious


def test_names_of_columns_are_no_use_to_files_that_have_them(make_task, tmp_path):
    data = written(tmp_path / "a.jsonl", '{"text": "one", "label": "a"}\n')
    with pytest.raises(ConfigError, match=r"task.columns=\[text,label\]: .*a.jsonl has names of its own; null"):
        read_task(config_of(make_task, data=data, columns=["text", "label"]))


ROWS = [(f"the river of {number} towns", f"der Fluss von {number} Orten", "AB"[number % 2]) for number in range(20)]


@pytest.mark.parametrize(
    "header",
    [
        ("target", "source", "mark"),
        ("SOURCE", "Unnamed", "x"),
        ("English", "German", "x"),
        ("0", "1", "2"),
        ("Stadt", "Ort", "z"),
        ("text", "sentiment", "x"),
    ],
)
def test_a_header_is_no_row_of_a_file_whose_columns_are_named(header, tmp_path):
    path = Path(written(tmp_path / "a.csv", quoted(ROWS, header)))
    rule = rf"row 1 is a header \({', '.join(header)}\); task.columns names those of files without one; null reads it"
    with pytest.raises(ConfigError, match=rule):
        load_table(path, "task.test", columns=["source", "target", "mark"])
    assert tuple(load_table(path, "task.test").frame.columns) == header


@pytest.mark.parametrize("columns", [("source", "target", "mark"), ("q", "other", "A"), ("a", "b", "c")])
@pytest.mark.parametrize(
    "first", [ROWS[0], ("river", "der Fluss von 0 Orten", "A"), ("the text", "a label", "B"), ("", "x", "A")]
)
def test_a_first_row_of_data_is_no_header(columns, first, tmp_path):
    path = Path(written(tmp_path / "a.csv", quoted(ROWS, first)))
    assert [tuple(row) for row in load_table(path, "task.data", columns=columns).frame.to_numpy()] == [first, *ROWS]
