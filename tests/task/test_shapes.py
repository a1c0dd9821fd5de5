"""Rendered shapes: their answers agree with one another and with what can be measured in them."""

import numpy as np
import pytest

from harness.config import ShapesDenseConfig
from harness.task.dense import read_dense
from harness.task.shapes import CLASSES, render


@pytest.fixture(scope="module")
def scenes():
    return [render(96, np.random.default_rng([7, index])) for index in range(12)]


def test_normals_are_those_of_the_depth(scenes):
    """Away from edges, the surface's slope by finite differences has the normal that is said of it."""
    angles = []
    for scene in scenes:
        dy, dx = np.gradient(scene.depth.astype(float), 2 / 96)
        expected = np.stack([dx, dy, -np.ones_like(dx)], -1)
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        near_edge = sum(np.roll(scene.edges, shift, (0, 1)) for shift in np.ndindex(3, 3)) > 0
        near_edge |= sum(np.roll(scene.edges, (-a, -b), (0, 1)) for a, b in np.ndindex(3, 3)) > 0
        inside = ~near_edge
        inside[[0, -1]] = inside[:, [0, -1]] = False
        angles.append(np.rad2deg(np.arccos(np.clip((expected * scene.normals).sum(-1), -1, 1)))[inside])
    angles = np.concatenate(angles)
    assert np.median(angles) < 0.1
    assert np.quantile(angles, 0.95) < 3  # ridges of pyramids, tips of cones, rims of spheres are no slopes


def test_normals_are_unit_vectors_towards_the_eye(scenes):
    for scene in scenes:
        np.testing.assert_allclose(np.linalg.norm(scene.normals, axis=-1), 1, atol=1e-5)
        assert (scene.normals[..., 2] < 0).all()


def test_edges_are_where_a_surface_ends_and_objects_lie_over_the_ground(scenes):
    for scene in scenes:
        changes = np.zeros((96, 96), dtype=bool)
        changes[:, :-1] |= scene.segmentation[:, 1:] != scene.segmentation[:, :-1]
        changes[:-1] |= scene.segmentation[1:] != scene.segmentation[:-1]
        assert (scene.edges[changes] == 1).all()
        objects = scene.segmentation > 0
        assert objects.any()
        assert ((scene.parts > 0) == objects).all()
        x, y = np.meshgrid(*[(np.arange(96) + 0.5) / 48 - 1] * 2)
        ground = np.stack([x, y, np.ones_like(x)], -1)[~objects]
        plane, *_ = np.linalg.lstsq(ground, scene.depth[~objects], rcond=None)
        np.testing.assert_allclose(ground @ plane, scene.depth[~objects], atol=1e-4)
        assert (scene.depth[objects] < np.stack([x, y, np.ones_like(x)], -1)[objects] @ plane).all()


def test_saliency_is_the_object_that_comes_nearest(scenes):
    for scene in scenes:
        nearest = np.unravel_index(np.where(scene.segmentation > 0, scene.depth, np.inf).argmin(), (96, 96))
        assert scene.saliency[nearest] == 1
        assert (scene.segmentation[scene.saliency == 1] == scene.segmentation[nearest]).all()


def test_every_class_comes_and_colours_do_not_tell_it(scenes):
    drawn = [render(32, np.random.default_rng([8, index])) for index in range(80)]
    pixels = np.concatenate([scene.segmentation.ravel() for scene in drawn])
    assert set(pixels) == set(range(len(CLASSES)))
    colours = np.concatenate([scene.image.reshape(-1, 3) for scene in drawn]).astype(float)
    means = [colours[pixels == number].mean(0) for number in range(len(CLASSES))]
    assert np.abs(np.diff(means, axis=0)).max() < 40


def config(**changes) -> ShapesDenseConfig:
    keys = {"train_rows": 6, "validation_rows": 3, "test_rows": 4, "image_size": 32, "split_seed": 0, "only": None}
    keys |= {"name": "s", "reader": "shapes_dense", "weighting": "equal", "gradients": False}
    answers = ["segmentation", "parts", "saliency", "depth", "normals", "edges"]
    return ShapesDenseConfig(**(keys | {"answers": answers} | changes))


def test_scenes_are_a_function_of_the_seed_and_more_rows_keep_the_first():
    small, again, more, other = map(read_dense, (config(), config(), config(train_rows=9), config(split_seed=1)))
    assert small.sha256 == again.sha256
    assert len({small.sha256, more.sha256, other.sha256}) == 3
    for name, values in small.splits["train"].answers.items():
        assert np.array_equal(values, more.splits["train"].answers[name][:6])
        assert not np.array_equal(values, other.splits["train"].answers[name])
    images = [image.tobytes() for split in small.splits.values() for image in split.images]
    assert len(set(images)) == 13


def test_fewer_tasks_have_the_same_images_and_answers():
    whole, depth = read_dense(config()), read_dense(config(only=["depth"]))
    batch, alone = (task.inputs("test", None).batch([1, 3]) for task in (whole, depth))
    assert set(alone) == {"images", "rows", "depth"}
    assert batch["images"].equal(alone["images"])
    assert batch["depth"].equal(alone["depth"])
    assert {name: tuple(batch[name].shape) for name in whole.outputs} == {
        "segmentation": (2, 32, 32),
        "parts": (2, 32, 32),
        "saliency": (2, 1, 32, 32),
        "depth": (2, 1, 32, 32),
        "normals": (2, 3, 32, 32),
        "edges": (2, 1, 32, 32),
    }
    assert whole.outputs == {"segmentation": 6, "parts": 3, "saliency": 1, "depth": 1, "normals": 3, "edges": 1}
    assert depth.describe()["tasks"]["depth"]["measure"] == "rmse"
