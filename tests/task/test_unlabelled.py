"""Labels that often mean that there is none: which they are, and what becomes of their rows."""

import wave

import numpy as np
import pytest
import yaml
from PIL import Image

from harness.config import ConfigError, check, read_stored
from harness.config.tree import to_dict
from harness.task.build import read_task
from harness.task.intake.unlabelled import stand_for_none


@pytest.mark.parametrize(
    ("names", "odd"),
    [
        ({"-1", "0", "1"}, {"-1"}),
        ({"-1", "neg", "pos"}, {"-1"}),
        ({"-1.0", "0.0", "1.0"}, {"-1.0"}),
        ({"-1", "1"}, set()),
        ({"-1.0", "1.0"}, set()),
        ({"-2", "-1", "0", "1", "2"}, set()),
        ({"-3", "0", "1"}, set()),
        ({"-100", "0", "1"}, {"-100"}),
        ({"-999", "0", "1"}, {"-999"}),
        ({"nan", "a", "b"}, {"nan"}),
        (
            {"None", "null", "N/A", "#N/A", "<NA>", "(missing)", "a"},
            {"None", "null", "N/A", "#N/A", "<NA>", "(missing)"},
        ),
        ({"nan", "-1", "1"}, {"nan"}),
        ({"none", "nan"}, set()),
        ({"nano", "nonetheless", "a"}, set()),
        ({"-", "+", "0"}, set()),
        ({"--", "-", "0", "+", "++"}, set()),
        ({"?", ".", "!"}, set()),
        ({"-", "a", "b"}, {"-"}),
    ],
)
def test_names_that_often_mean_that_there_is_no_label(names, odd):
    assert stand_for_none(names) == odd


@pytest.fixture
def task_of(compose_plain, tmp_path):
    def make(cells, *words):
        rows = [f"text number {row},{cells[row % len(cells)]}" for row in range(120)]
        (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        return compose_plain("task=text_csv", f"task.data={tmp_path}/a.csv", *words).task

    return make


@pytest.mark.parametrize("word", ["-100", "nan", "None", "N/A", "TODO", "unannotated"])
def test_they_are_refused_with_their_rows_until_it_is_settled(word, task_of):
    with pytest.raises(ConfigError) as error:
        read_task(task_of(["0", "1", word]))
    said = f"a label that often means that there is none, '{word}' in 40 rows (4, 7, 10, "
    assert said in str(error.value)
    assert "task.labels.unlabelled=leave_out leaves these rows out, keep takes it as a class" in str(error.value)
    left = read_task(task_of(["0", "1", word], "task.labels.unlabelled=leave_out"))
    assert left.classes == ("0", "1")
    assert list(left.findings().left_out["unlabelled"]) == [str(row) for row in range(4, 122, 3)]
    for settled in ("task.labels.unlabelled=keep", "task.classes=3"):
        assert set(read_task(task_of(["0", "1", word], settled)).classes) == {"0", "1", word}


@pytest.mark.parametrize("order", [["-1", "0", "1"], ["0", "1", "0", "1", "-1"], ["-1.0", "1.0", "0.0", "0.0"]])
def test_minus_one_as_frequent_as_0_and_1_is_an_opinion(order, task_of):
    task = read_task(task_of(order))
    assert [float(name) for name in task.classes] == [-1, 0, 1]
    assert not any("often means that there is no label" in line for line in task.findings().suspicious)


def test_minus_one_that_is_rarer_than_0_and_1_is_told_with_what_settles_it(task_of):
    task = read_task(task_of(["0", "1"] * 4 + ["-1"]))
    (line,) = [line for line in task.findings().suspicious if "often means that there is no label" in line]
    rule = "task.labels.unlabelled=leave_out leaves these rows out, keep takes it as a class"
    assert line == f"'-1' (13 rows) often means that there is no label; {rule}"


CODES = ["en", "de", "fr", "nl", "sv"]


@pytest.mark.parametrize(
    ("order", "word"),
    [
        (["FAVOR", "NONE", "AGAINST"], "NONE"),
        (["Yes", "No", "N/A"], "N/A"),
        (["male", "unknown", "female", "female"], "unknown"),
        (["Mild", "None", "Severe"], "None"),
        ([*CODES, "nan"], "nan"),
        (["ZA", "NA", "NO"], "NA"),
        (["0", "-1"], "-1"),
        (["0"] * 9 + ["1"] * 5 + ["-1"] * 2, "-1"),
        (["a"] * 40 + ["b"] * 40 + ["none"] * 40, "none"),
    ],
)
def test_classes_as_frequent_as_others_are_told_until_it_is_settled(order, word, task_of):
    task = read_task(task_of(order))
    assert word in task.classes
    (line,) = [line for line in task.findings().suspicious if "often means that there is no label" in line]
    assert line.startswith(f"'{word}' (")
    for settled in ("task.labels.unlabelled=keep", f"task.classes={len(task.classes)}"):
        assert not any("often means" in line for line in read_task(task_of(order, settled)).findings().suspicious)
    if len(task.classes) > 2:
        assert word not in read_task(task_of(order, "task.labels.unlabelled=leave_out")).classes


@pytest.mark.parametrize(
    ("order", "word"),
    [
        (["pos", "neg", "None"], "None"),
        (["pos", "neg", "nan"], "nan"),
        ([*CODES, "null"], "null"),
        (["pos", "neg"] * 10 + ["none"], "none"),
        (["pos", "neg"] * 40 + ["none"] * 40, "none"),
        (["pos", "neg", "unlabelled"], "unlabelled"),
    ],
)
def test_what_programs_write_for_a_gap_and_what_is_rare_or_added_is_refused(order, word, task_of):
    with pytest.raises(ConfigError, match=f"a label that often means that there is none, '{word}' in"):
        read_task(task_of(order))


@pytest.mark.parametrize("order", [["-1", "1"], ["-2", "-1", "0", "1", "2"], ["+", "-", "0"], ["?", ".", "!"]])
def test_signs_and_negative_numbers_of_a_scale_are_not_told(order, task_of):
    assert not read_task(task_of(order)).findings().suspicious


@pytest.mark.parametrize(
    "order",
    [
        ["0", "1"] * 40 + ["-1"] * 40,
        ["-1", *["0", "1"] * 20],
        ["-1", "0", "1", "2"],
        ["-1", "neg", "pos"],
    ],
)
def test_minus_one_that_is_added_rare_or_beside_others_is_refused(order, task_of):
    with pytest.raises(ConfigError, match="a label that often means that there is none, '-1' in"):
        read_task(task_of(order))


def test_labels_that_are_sorted_may_be_opinions(task_of):
    assert len(read_task(task_of(["-1"] * 40 + ["0"] * 40 + ["1"] * 40)).classes) == 3


@pytest.mark.parametrize("word", ["skip", "Unsure"])
def test_words_of_those_who_did_not_decide_are_told(word, task_of):
    found = read_task(task_of(["a", "b"] * 4 + [word])).findings().suspicious
    assert found == [
        f"{word!r} (13 rows: 10, 19, 28, 37, 46, 55, 64, 73, 82, 91 and 3 more) often means that nobody decided"
    ]
    assert read_task(task_of(["a", "b", word])).findings().suspicious == []  # as frequent as the others


def test_labels_of_several_a_row_too(task_of):
    words = ["task.answer=labels", "trainer.objective=f1_micro"]
    cells = ['"a,b"', "a", '"b,null"']
    with pytest.raises(ConfigError, match=r"'null' in 40 rows \(4, 7"):
        read_task(task_of(cells, *words))
    assert read_task(task_of(cells, *words, "task.labels.unlabelled=leave_out")).classes == ("a", "b")


def test_numbers_are_none_of_them(task_of):
    assert read_task(task_of(["0", "2", "-1"], "task.answer=number", "trainer.objective=rmse")).classes == ()


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_class_folders_too(kind, compose_plain, tmp_path, own_cache):
    for label in ("cat", "dog", "nan"):
        (tmp_path / "d" / label).mkdir(parents=True)
        for row in range(12):
            draw = np.random.default_rng(row + 100 * ord(label[0]))
            if kind == "image":
                Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(
                    tmp_path / f"d/{label}/{row}.png"
                )
                continue
            with wave.open(str(tmp_path / f"d/{label}/{row}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes(draw.integers(-999, 999, 4000, dtype=np.int16).tobytes())
    model = {"image": "efficientnet_lite0", "audio": "lstm_speech"}[kind]
    words = [f"task={kind}_folder", f"task.data={tmp_path}/d", f"model={model}", "lora.targets=all-linear"]
    with pytest.raises(ConfigError, match=r"'nan' in 12 rows \((nan/0|nan/1)"):
        read_task(compose_plain(*words).task)
    left = read_task(compose_plain(*words, "task.labels.unlabelled=leave_out").task)
    assert (left.classes, len(left.findings().left_out["unlabelled"])) == (("cat", "dog"), 12)
    assert read_task(compose_plain(*words, "task.labels.unlabelled=keep").task).classes == ("cat", "dog", "nan")


def test_a_study_of_before_reads_them_as_classes(task_of, compose_plain, tmp_path):
    task_of(["0", "1", "nan"])
    tree = to_dict(compose_plain("task=text_csv", f"task.data={tmp_path}/a.csv"))
    del tree["task"]["labels"]["unlabelled"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    stored = read_stored(tmp_path / "config.yaml")
    assert stored["task"]["labels"] == tree["task"]["labels"] | {"unlabelled": "keep"}
    assert read_task(check(stored).task).classes == ("0", "1", "nan")
