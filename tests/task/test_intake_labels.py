"""Labels and groups that people bring: what is alike, told and refused."""
# ruff: noqa: E501, E741

import dataclasses
import json

import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.intake.duplicates import normalised
from tests.task.intake_inputs import config_of, lines_of, relabelled, sentences, text_of, two, written


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


@pytest.mark.parametrize("word", [-999, "none"])
def test_classes_that_are_numbers_are_asked_for(make_task, tmp_path, word):
    rows = [(text, word if i % 10 == 4 else i / 7) for i, (text, _) in enumerate(sentences(100))]
    data = written(tmp_path / "a.jsonl", lines_of(rows))
    for policy in ("keep", "refuse"):
        with pytest.raises(ConfigError, match=r"task\.answer=number reads numbers"):
            read_task(config_of(make_task, data=data, unlabelled=policy))


def test_rows_that_are_kept_with_different_labels_are_not_told_again(make_task, tmp_path):
    again = [(sentences()[0][0], "pos"), (sentences()[0][0], "neg")]
    data = str(written(tmp_path / "a.csv", text_of([*sentences(), *again])))
    task = read_task(dataclasses.replace(make_task("task=text_csv", "task.data=x"), data=data, duplicates="keep"))
    assert not any("different labels" in line for line in task.findings().suspicious)
