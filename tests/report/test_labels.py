"""Names beside points: read from the picture's own boxes, after it is drawn."""

import itertools

import numpy as np
import pytest

from harness.report.labels import name_points
from harness.report.plots import plt


@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_names_cover_neither_each_other_nor_a_point_nor_the_legend(spread):
    points = 0.5 + spread * (np.random.default_rng(0).random((12, 2)) - 0.5)
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.scatter(*points.T, label="trials")
    legend = axes.legend()
    name_points(axes, [(f"targets=all-linear,r{rank}", tuple(point)) for rank, point in enumerate(points)])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 1 <= len(boxes) <= len(points)
    assert axes.texts[0].get_text() == "targets=all-linear,r0", "the first is placed first"
    assert not any(
        one.overlaps(other) for one, other in itertools.combinations([*boxes, legend.get_window_extent()], 2)
    )
    for x, y in axes.transData.transform(points):
        assert not any(box.contains(x, y) for box in boxes)
    frame = axes.get_window_extent()
    assert all(frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) for box in boxes)
    plt.close(figure)


def test_points_that_lie_apart_are_all_named():
    figure, axes = plt.subplots(figsize=(5, 4))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    points = [(0.3, 0.2), (0.5, 0.5), (0.6, 0.8)]
    axes.scatter(*np.array(points).T)
    name_points(axes, [(str(point), point) for point in points])
    assert [text.get_text() for text in axes.texts] == [str(point) for point in points]
    plt.close(figure)
