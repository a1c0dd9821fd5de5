"""Folders of images that people bring: splits, classes, and what is none of either."""
# ruff: noqa: E501

import itertools
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from harness.config import ConfigError
from harness.task.build import read_task
from tests.task.intake_inputs import config_of, folder_task, images_in, picture, sentences, text_of, written

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


def test_a_table_beside_class_folders_is_named(make_task, tmp_path, own_cache):
    images_in(tmp_path / "d", lambda _: "")
    (tmp_path / "d" / "metadata.csv").write_text("file_name,label\ncat/0.png,cat\n")
    told = read_task(folder_task(make_task, tmp_path / "d")).facts.suspicious
    assert f"{tmp_path}/d/metadata.csv is not read: classes are folders; task=image_table reads a table" in told
    shutil.rmtree(tmp_path / "d" / "dog")
    with pytest.raises(ConfigError, match=r"cat is its one class; task=image_table reads labels of .*metadata\.csv$"):
        read_task(folder_task(make_task, tmp_path / "d"))


def test_files_that_are_not_named_as_images_are_named(make_task, tmp_path, own_cache):
    images_in(tmp_path / "d", lambda _: "")
    for path in (tmp_path / "d" / "cat").iterdir():
        path.rename(path.with_suffix(""))
    with pytest.raises(ConfigError, match=r"no image in cat; names of images end in \.png, .*: 0, 1, 10 do not"):
        read_task(folder_task(make_task, tmp_path / "d"))
