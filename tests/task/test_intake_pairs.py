"""Sources and targets, and pairs of sentences, that people bring."""

import json

import pandas as pd
import pytest
import sacrebleu

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.summary import summary
from tests.task.intake_inputs import WORDS, asked, config_of, pairs, text_of, two, written


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
