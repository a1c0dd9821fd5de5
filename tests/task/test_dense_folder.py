"""The folders of NYUD and PASCAL-Context, written here, are read as what they say."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

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


@pytest.fixture
def pascal(nyud):
    """The same images with a class 7 below a line without one, which is salient, and normals towards the viewer."""
    for folder in ("JPEGImages", "ImageSets/Context", "semseg/VOC12", "sal_distill", "normals_distill", "human_parts"):
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
    return nyud


def pascal_task(data, *answers, **changes):
    names = {"reader": "pascal_context", "name": "pascal_context", "answers": list(answers)}
    return build_task(config(data, **names, **changes))


def test_pascal_context_is_read_from_its_own_folders(pascal):
    batch = pascal_task(pascal, "segmentation", "saliency", "normals").inputs("train", None).batch([0])
    assert (batch["segmentation"][0, 0] == VOID).all()
    assert (batch["segmentation"][0, 1:] == 7).all()
    assert batch["saliency"][0, 0, :, 0].tolist() == [0.0] + [1.0] * 23
    torch.testing.assert_close(batch["normals"][0, :, 4, 4], torch.tensor([0.0, 0.0, 1.0]), atol=6e-3, rtol=0)


def structs(*rows):
    """A struct array of MATLAB, 1 × rows."""
    kinds = [(key, object) for key in rows[0]] if rows else [("part_name", object), ("mask", object)]
    found = np.empty((1, len(rows)), dtype=kinds)
    for place, row in enumerate(rows):
        for key, value in row.items():
            found[0, place][key] = value
    return found


def box(top, bottom, left, right):
    mask = np.zeros((24, 40), dtype=np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def thing(kind, number, mask, *parts):
    named = structs(*({"part_name": name, "mask": where} for name, where in parts))
    return {"class": kind, "class_ind": float(number), "mask": mask, "parts": named}


def write_parts(folder, name, *objects):
    anno = structs({"imname": name, "objects": structs(*objects)})
    savemat(folder / "human_parts" / f"{name}.mat", {"anno": anno})


def test_parts_of_people_are_read_from_the_structs_of_pascal_part(pascal):
    """Two people, one with a single part, and a dog whose head is nobody's part; columns 8 to 31 are the square."""
    limbs = [("ruarm", 3), ("lhand", 4), ("rlarm", 4), ("luleg", 5), ("rfoot", 6), ("llleg", 6), ("neck", 2)]
    first = [(name, box(2 * row, 2 * row + 2, 10, 14)) for row, (name, _) in enumerate(limbs)]
    write_parts(
        pascal,
        "d",
        thing("person", 15, box(0, 14, 10, 14), *first),
        thing("dog", 12, box(20, 24, 20, 30), ("head", box(20, 24, 20, 30))),
        thing("person", 15, box(0, 9, 20, 30), ("lebrow", box(1, 3, 20, 25))),
    )
    write_parts(
        pascal,
        "e",
        thing("cat", 8, box(0, 9, 9, 30), ("torso", box(0, 9, 9, 30))),
        thing("person", 15, box(9, 10, 9, 10)),
    )
    write_parts(pascal, "a", thing("person", 15, box(3, 9, 12, 15), ("torso", box(3, 9, 12, 15))))
    truth = np.zeros((24, 40), dtype=np.int64)
    for row, (_, number) in enumerate(limbs):
        truth[2 * row : 2 * row + 2, 10:14] = number
    truth[1:3, 20:25] = 1
    task = pascal_task(pascal, "segmentation", "parts")
    assert task.outputs == {"segmentation": 21, "parts": 7}
    test = task.inputs("test", None).batch([0, 1])["parts"]
    assert torch.equal(test[0], torch.from_numpy(truth[:, 8:32]))
    assert (test[1] == VOID).all(), "a person without parts, and a cat"
    rows = task.splits["train"].names + task.splits["validation"].names
    found = {name: task.splits["train"].answer("parts", name) for name in rows}
    assert {name for name in rows if (found[name] != VOID).any()} == {"a"}, "b and c have no file"
    assert np.array_equal(found["a"], 2 * box(3, 9, 4, 7)[:, :24])


def test_a_batch_without_people_teaches_nothing_of_parts(pascal):
    task = pascal_task(pascal, "segmentation", "parts")
    outputs = torch.randn(1, 28, 24, 24, requires_grad=True)
    losses, _ = task.losses(outputs, task.inputs("train", None).batch([0]))
    losses.sum().backward()
    assert losses[0] > 0
    assert losses[1] == 0
    assert outputs.grad[:, :21].abs().sum() > 0
    assert torch.equal(outputs.grad[:, 21:], torch.zeros(1, 7, 24, 24))


def test_edges_are_the_boundaries_of_the_label_map_else_of_the_segmentation(pascal):
    (pascal / "pascal-context" / "trainval").mkdir(parents=True)
    labels = np.full((24, 40), 400, dtype=np.uint16)
    labels[:, 20:] = 3
    savemat(pascal / "pascal-context" / "trainval" / "d.mat", {"LabelMap": labels})
    segmentation = np.full((24, 40), 7, dtype=np.uint8)
    segmentation[9:12] = 255  # between two classes, of which each gets its half
    segmentation[12:] = 0
    Image.fromarray(segmentation).save(pascal / "semseg" / "VOC12" / "e.png")
    edges = pascal_task(pascal, "edges").inputs("test", None).batch([0, 1])["edges"]
    assert edges.shape == (2, 1, 24, 24)
    column, row = torch.zeros(24, 24), torch.zeros(24, 24)
    column[:, 11] = 1  # of the square, whose first column is the image's ninth
    assert torch.equal(edges[0, 0], column)
    at = edges[1, 0].nonzero()[:, 0].unique().tolist()
    assert at in ([9], [10])
    row[at] = 1
    assert torch.equal(edges[1, 0], row)
    Image.fromarray(np.full((24, 40), 255, dtype=np.uint8)).save(pascal / "semseg" / "VOC12" / "e.png")
    assert pascal_task(pascal, "edges").inputs("test", None).batch([1])["edges"].isnan().all()


def test_what_is_wrong_with_a_file_of_parts_is_said(pascal):
    person = thing("person", 15, box(0, 9, 9, 30), ("wing", box(0, 9, 9, 30)))
    write_parts(pascal, "d", person)
    inputs = pascal_task(pascal, "parts").splits["test"]
    with pytest.raises(ConfigError, match=r"d.mat: 'wing' is not what was looked for"):
        inputs.answer("parts", "d")
    savemat(pascal / "human_parts" / "d.mat", {"other": 1.0})
    with pytest.raises(ConfigError, match=r"d.mat: no MATLAB file with anno"):
        inputs.answer("parts", "d")
    (pascal / "human_parts" / "d.mat").write_text("no such file")
    with pytest.raises(ConfigError, match=r"d.mat: no MATLAB file with anno"):
        inputs.answer("parts", "d")
    for path in (pascal / "human_parts").iterdir():
        path.unlink()
    (pascal / "human_parts").rmdir()
    with pytest.raises(ConfigError, match=r"no human_parts/"):
        pascal_task(pascal, "parts", test_rows=1)


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
