"""The folders of NYUD and PASCAL-Context, written here, are read as what they say."""

import numpy as np
import pytest
import torch
from PIL import Image

from harness.config import ConfigError, DenseFolderConfig
from harness.task import build_task
from harness.task.dense_answers import VOID


@pytest.fixture
def nyud(tmp_path):
    """Five images of 24 × 40 pixels, whose class, depth, normal and edge are functions of the place."""
    draw = np.random.default_rng(0)
    for folder in ("images", "gt_sets", "segmentation", "depth", "normals", "edge"):
        (tmp_path / folder).mkdir()
    (tmp_path / "gt_sets" / "train.txt").write_text("a\nb\nc\n")
    (tmp_path / "gt_sets" / "val.txt").write_text("d\ne\n")
    y, x = np.mgrid[:24, :40]
    for number, name in enumerate("abcde"):
        Image.fromarray(draw.integers(0, 255, (24, 40, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{name}.jpg")
        Image.fromarray(((x + number) % 41).astype(np.uint8)).save(tmp_path / "segmentation" / f"{name}.png")
        np.save(tmp_path / "depth" / f"{name}.npy", np.where(y < 2, 0.0, 1 + 0.1 * x))
        normals = np.stack([np.zeros_like(x), np.zeros_like(x), np.where(y < 12, 2.0, 0.0)], -1)
        np.save(tmp_path / "normals" / f"{name}.npy", normals)
        np.save(tmp_path / "edge" / f"{name}.npy", (x == 20).astype(float))
    return tmp_path


def config(data, **changes) -> DenseFolderConfig:
    keys = {"name": "nyud", "reader": "nyud", "data": str(data), "only": None, "image_size": 24, "split_seed": 0}
    keys |= {"validation_share": 0.3, "train_rows": None, "test_rows": None, "weighting": "equal", "gradients": False}
    return DenseFolderConfig(**(keys | {"answers": ["segmentation", "depth", "normals", "edges"]} | changes))


def test_the_square_in_the_middle_is_read_with_what_is_missing_left_out(nyud):
    task = build_task(config(nyud))
    assert {name: len(inputs) for name, inputs in task.splits.items()} == {"train": 2, "validation": 1, "test": 2}
    assert task.outputs == {"segmentation": 40, "depth": 1, "normals": 3, "edges": 1}
    batch = task.inputs("test", None).batch([0, 1])
    assert batch["images"].shape == (2, 3, 24, 24)
    x = torch.arange(8, 32)  # 24 of the 40 columns
    assert torch.equal(batch["segmentation"][0, 5], (x + 3) % 41 - 1)  # image d is the fourth, and class 0 is none
    assert (build_task(config(nyud)).inputs("train", None).batch([0])["segmentation"] != VOID).all()
    torch.testing.assert_close(batch["depth"][0, 0, 5], 1 + 0.1 * x.float())
    assert batch["depth"][0, 0, :2].isnan().all()
    assert torch.equal(batch["normals"][0, :, 3, 3], torch.tensor([0.0, 0.0, 1.0]))
    assert batch["normals"][0, :, 15].isnan().all()
    assert batch["edges"][0, 0, 9].nonzero().flatten().tolist() == [12]
    outputs = torch.zeros(2, 45, 24, 24).requires_grad_()
    losses, numbers = task.losses(outputs, batch)
    assert losses.isfinite().all()
    assert numbers.tolist() == [0, 1, 2, 3]
    assert task.describe()["tasks"]["depth"]["unit"] == "m"


def test_a_whole_image_of_class_zero_has_no_class(nyud):
    Image.fromarray(np.zeros((24, 40), dtype=np.uint8)).save(nyud / "segmentation" / "d.png")
    batch = build_task(config(nyud)).inputs("test", None).batch([0])
    assert (batch["segmentation"] == VOID).all()


def test_pascal_context_is_read_from_its_own_folders(nyud):
    for folder in ("JPEGImages", "ImageSets/Context", "semseg/VOC12", "sal_distill", "normals_distill"):
        (nyud / folder).mkdir(parents=True)
    for name in "abcde":
        Image.open(nyud / "images" / f"{name}.jpg").save(nyud / "JPEGImages" / f"{name}.jpg")
        labels = np.full((24, 40), 7, dtype=np.uint8)
        labels[0] = 255
        Image.fromarray(labels).save(nyud / "semseg" / "VOC12" / f"{name}.png")
        Image.fromarray(np.where(labels == 7, 200, 20).astype(np.uint8)).save(nyud / "sal_distill" / f"{name}.png")
        up = np.tile(np.array([128, 128, 255], dtype=np.uint8), (24, 40, 1))
        Image.fromarray(up).save(nyud / "normals_distill" / f"{name}.png")
    for split in ("train", "val"):
        (nyud / "ImageSets" / "Context" / f"{split}.txt").write_text((nyud / "gt_sets" / f"{split}.txt").read_text())
    answers = ["segmentation", "saliency", "normals"]
    task = build_task(config(nyud, reader="pascal_context", name="pascal_context", answers=answers))
    batch = task.inputs("train", None).batch([0])
    assert (batch["segmentation"][0, 0] == VOID).all()
    assert (batch["segmentation"][0, 1:] == 7).all()
    assert batch["saliency"][0, 0, :, 0].tolist() == [0.0] + [1.0] * 23
    torch.testing.assert_close(batch["normals"][0, :, 4, 4], torch.tensor([0.0, 0.0, 1.0]), atol=6e-3, rtol=0)


def test_what_is_not_there_is_named(nyud):
    (nyud / "depth" / "e.npy").unlink()
    with pytest.raises(ConfigError, match=r"task.data=.*: no depth/e.npy"):
        build_task(config(nyud))
    (nyud / "gt_sets" / "val.txt").write_text("d\na\n")
    with pytest.raises(ConfigError, match=r"1 images are in train.txt and in val.txt"):
        build_task(config(nyud, test_rows=1))
    (nyud / "gt_sets" / "val.txt").unlink()
    with pytest.raises(ConfigError, match=r"no val.txt in gt_sets"):
        build_task(config(nyud, test_rows=2))
    assert "task.answers: parts is not in task=nyud; valid: segmentation, depth, normals, edges" in " ".join(
        config(nyud, answers=["parts"]).mistakes(_Any())
    )


class _Any:
    def image_mistakes(self, name, size):
        return []
