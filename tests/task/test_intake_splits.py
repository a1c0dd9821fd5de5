"""Splits as they are cut: what is left out, what stays together, what is told."""

import numpy as np
import pytest

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.summary import summary
from tests.task.intake_inputs import (
    ACCENTED,
    TIMED,
    config_of,
    folder_task,
    images_in,
    lines_of,
    sentences,
    text_of,
    with_odd,
    written,
)


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


def test_labels_that_no_row_of_a_split_has_are_told(make_task, tmp_path):
    rows = [(text, ["a", "rare"] if i == 7 else [["a", "b"][i % 2]]) for i, (text, _) in enumerate(sentences())]
    task = config_of(make_task, data=written(tmp_path / "a.jsonl", lines_of(rows)), answer="labels", split_seed=1)
    found = read_task(task)
    assert 7 in [int(text.split()[-1]) for text in found.splits["train"].texts]
    assert found.describe()["missing"] == {"validation": ["rare"], "test": ["rare"]}
