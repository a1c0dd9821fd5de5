"""Published files and folders become fixed splits that share no image; what cannot be learned from is named."""

import dataclasses
import gzip
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.config import ConfigError
from harness.system import assets
from harness.task import build_task, vision


@pytest.fixture
def config(compose_plain):
    return lambda *words: compose_plain("model=efficientnet_lite0", *words).task


def idx(array):
    """The published format: two zeros, 8 for bytes, the dimensions, their sizes in big-endian, the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


@pytest.fixture
def fashion(tmp_path):
    """60 images of training, of which 3 is 2 again and 7 the first of the test split, and 20 of test."""
    draw = np.random.default_rng(0)
    train, test = (draw.integers(0, 256, (rows, 28, 28), dtype=np.uint8) for rows in (60, 20))
    train[3], train[7] = train[2], test[0]
    labels = {"train": np.arange(60, dtype=np.uint8) % 10, "t10k": np.arange(20, dtype=np.uint8) % 10}
    for name, images in (("train", train), ("t10k", test)):
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels[name]))
    return tmp_path, train, test


def all_digests(task):
    return [digest for split in task.splits.values() for digest in split.digests]


def test_the_published_files_are_read_and_no_image_stands_in_two_splits(config, fashion):
    folder, train, test = fashion
    task = build_task(config("task=fashion_mnist", f"task.data={folder}"))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 52, "validation": 6, "test": 20}
    assert task.repeated == 2
    assert np.array_equal(task.splits["test"].images, test)
    assert task.splits["test"].labels.tolist() == [*range(10), *range(10)]
    assert len(set(all_digests(task))) == len(all_digests(task)) == 78
    pool = {image.tobytes(): number % 10 for number, image in reversed(list(enumerate(train)))}
    for name in ("train", "validation"):
        split = task.splits[name]
        assert [pool[image.tobytes()] for image in split.images] == split.labels.tolist()
    assert task.outputs == 10
    assert sum(task.describe()["labels"]["train"]) == 52


def test_the_same_files_give_the_same_task_and_another_seed_another_split(config, fashion):
    words = ("task=fashion_mnist", f"task.data={fashion[0]}")
    first = vision.read_vision(config(*words))
    assert vision.read_vision(config(*words)).sha256 == first.sha256
    other = vision.read_vision(config(*words, "task.split_seed=1"))
    assert other.sha256 != first.sha256
    assert sorted(all_digests(other)) == sorted(all_digests(first))


def test_debians_folder_is_found_and_without_it_the_hub_is_asked(config, fashion, monkeypatch, tmp_path):
    folder, train, test = fashion
    monkeypatch.setitem(vision.DEBIAN, "fashion_mnist", folder)
    task = build_task(config("task=fashion_mnist", "task.split_seed=5"))
    assert task.source == str(folder)
    # The hub's form of the same images is the same task: its digest does not know where it came from.
    hub = tmp_path / "hub" / "fashion_mnist"
    hub.mkdir(parents=True)
    for name, images in (("train", train), ("test", test)):
        cells = []
        for image in images:
            with io.BytesIO() as buffer:
                Image.fromarray(image).save(buffer, "PNG")
                cells.append({"bytes": buffer.getvalue(), "path": None})
        frame = pd.DataFrame({"image": cells, "label": np.arange(len(images)) % 10})
        frame.to_parquet(hub / f"{name}-00000-of-00001.parquet")
    monkeypatch.setitem(vision.DEBIAN, "fashion_mnist", tmp_path / "nowhere")
    monkeypatch.setattr(assets, "fetch", lambda address, sha256: hub.parent)
    other = vision.read_vision(config("task=fashion_mnist", "task.split_seed=5"))
    assert other.source.startswith("hub:datasets/")
    assert other.sha256 == task.sha256


def test_cifars_binary_version_is_read_channel_by_channel(config, tmp_path):
    draw = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        rows = draw.integers(0, 256, (20, 3073), dtype=np.uint8)
        rows[:, 0] = np.arange(20) % 10
        rows.tofile(folder / name)
    task = build_task(config("task=cifar10", f"task.data={tmp_path}"))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 90, "validation": 10, "test": 20}
    image = task.splits["test"].images[3]
    assert image.shape == (32, 32, 3)
    assert image[0, 1].tolist() == [rows[3, 1 + 1], rows[3, 1 + 1024 + 1], rows[3, 1 + 2048 + 1]]
    assert task.classes[int(task.splits["test"].labels[3])] == "cat"


def test_the_digits_are_scikit_learns_own(config):
    from sklearn.datasets import load_digits

    task = build_task(config("task=digits"))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 899, "validation": 359, "test": 539}
    assert len(set(all_digests(task))) == 1797
    bunch = load_digits()
    own = {image.astype(int).tobytes(): label for image, label in zip(bunch.images, bunch.target, strict=True)}
    for split in task.splits.values():
        levels = np.rint(split.images * (16 / 255)).astype(int)
        assert [own[image.tobytes()] for image in levels] == split.labels.tolist()
    assert max(split.images.max() for split in task.splits.values()) == 255


def test_fewer_rows_are_drawn_evenly_and_nest(config):
    tasks = {rows: vision.read_vision(config("task=digits", f"task.train_rows={rows}")) for rows in (50, 103)}
    assert tasks[50].describe()["labels"]["train"] == [5] * 10
    counts = tasks[103].describe()["labels"]["train"]
    assert sum(counts) == 103
    assert set(counts) == {10, 11}
    assert set(tasks[50].splits["train"].digests) < set(tasks[103].splits["train"].digests)
    assert tasks[50].splits["test"].digests == tasks[103].splits["test"].digests
    both = vision.read_vision(
        config("task=digits", "task.validation_rows=100", "task.test_rows=50", "task.train_rows=5000")
    )
    assert {name: len(split) for name, split in both.splits.items()} == {"train": 899, "validation": 100, "test": 50}
    assert both.describe()["labels"]["test"] == [5] * 10


def save_images(folder, classes, rows, seed):
    draw = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(rows):
            pixels = draw.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def test_a_folder_of_class_folders_is_cut(config, tmp_path):
    save_images(tmp_path / "own", ("cat", "dog"), 20, seed=0)
    (tmp_path / "own" / "cat" / "again.png").write_bytes((tmp_path / "own" / "cat" / "0.png").read_bytes())
    (tmp_path / "own" / "cat" / "notes.txt").write_text("not an image")
    task = build_task(config("task=image_folder", f"task.data={tmp_path}/own"))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 26, "validation": 6, "test": 8}
    assert task.classes == ("cat", "dog")
    assert task.findings().left_out == {"repeated": ["cat/again.png"]}
    for split in task.splits.values():
        assert [task.classes[label] for label in split.labels] == [path.parent.name for path in split.images]


def test_given_splits_are_kept_without_what_the_later_ones_hold(config, tmp_path):
    for seed, (name, rows) in enumerate({"train": 9, "validation": 4, "test": 5}.items()):
        save_images(tmp_path / name, ("a", "b"), rows, seed)
    leak = (tmp_path / "test" / "b" / "0.png").read_bytes()
    for name in ("train", "validation"):
        (tmp_path / name / "b" / "leak.png").write_bytes(leak)
    words = ["task=image_folder", f"task.data={tmp_path}"]
    for policy in ("refuse", "leave_out", "allow"):
        if policy == "refuse":
            with pytest.raises(
                ConfigError, match=r"1 of 9 validation pictures stand in train too \(rows validation/b/"
            ):
                build_task(config(*words))
            continue
        task = build_task(config(*words, f"task.leaks={policy}"))
        more = int(policy == "allow")
        counts = {"train": 18 + more, "validation": 8 + more, "test": 10}
        assert {name: len(split) for name, split in task.splits.items()} == counts
        assert len(set(all_digests(task))) == 36
        left = {"in two splits": ["train/b/leak.png", "validation/b/leak.png"]}
        assert task.findings().left_out == ({} if more else left)
        assert ("1 pictures of test stand in train, too" in task.findings().suspicious) == bool(more)


MISTAKES = [
    ("task=image_folder", "task.data: missing"),
    ("task=image_folder task.data=/nowhere", "task.data=/nowhere: no such folder"),
    ("task=image_folder task.data={empty}", "the training split has 0 classes .*|the train split has no images"),
    ("task=image_folder task.data={one}", "the training split has 1 classes \\(a\\), 2 are needed"),
    ("task=image_folder task.data={unknown}", "a label is absent from training: 'new' \\(\\d+ images: test/new/"),
    ("task=image_folder task.data={good} task.classes=3", "2 classes, task.classes=3"),
    ("task=fashion_mnist task.data={empty}", "no train-images-idx3-ubyte or train-images-idx3-ubyte.gz in it"),
    ("task=fashion_mnist task.data={broken}", "train-images-idx3-ubyte is no idx file of bytes in 3 dimensions"),
    ("task=cifar10 task.data={empty}", "data_batch_1.bin"),
]


@pytest.mark.parametrize(("words", "line"), MISTAKES)
def test_data_that_cannot_be_learned_from_is_named(config, tmp_path, words, line):
    (tmp_path / "empty").mkdir()
    save_images(tmp_path / "one", ("a",), 9, 0)
    save_images(tmp_path / "good", ("a", "b"), 9, 0)
    save_images(tmp_path / "unknown" / "train", ("a", "b"), 5, 0)
    save_images(tmp_path / "unknown" / "test", ("a", "new"), 5, 1)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train-images-idx3-ubyte").write_bytes(b"<html>")
    folders = {name: tmp_path / name for name in ("empty", "one", "good", "unknown", "broken")}
    with pytest.raises(ConfigError, match=line):
        build_task(config(*words.format(**folders).split()))


def test_sizes_that_a_model_cannot_read_are_refused(compose_plain):
    with pytest.raises(ConfigError, match=r"task\.image_size=100: model=vit_b_16 reads patches of 16"):
        compose_plain("task=digits", "model=vit_b_16", "task.image_size=100")
    with pytest.raises(ConfigError, match=r"model\.image_size=224: the images of task=digits are 64 pixels"):
        compose_plain("task=digits", "model=vit_b_16", "model.image_size=224")
    with pytest.raises(
        ConfigError,
        match="model=minilm: a text model, for tasks read by extractive_qa, glue, rated, code_docs, code_facts, table, "
        "hf, token_labels, code_names; task=digits needs a vision model, as model=efficientnet_lite0",
    ):
        compose_plain("task=digits", "model=minilm")


def test_a_split_of_files_is_taken_row_by_row():
    from pathlib import Path

    split = vision.ImageSplit((Path("a"), Path("b"), Path("c")), np.array([0, 1, 2]), ("x", "y", "z"))
    taken = split.take([2, 0])
    assert (taken.images, taken.labels.tolist(), taken.digests) == ((Path("c"), Path("a")), [2, 0], ("z", "x"))
    assert dataclasses.is_dataclass(taken)
