"""Names beside the points of a picture, where they cover neither each other nor a point."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

_POINT = 5  # pixels to each side that a marker takes
# Where a name may stand, the best place first: offset in points, and which of its sides lies there.
_PLACES = (
    ((0, 6), "center", "bottom"),
    ((7, 0), "left", "center"),
    ((-7, 0), "right", "center"),
    ((0, -6), "center", "top"),
    ((5, 5), "left", "bottom"),
    ((-5, 5), "right", "bottom"),
    ((5, -5), "left", "top"),
    ((-5, -5), "right", "top"),
)


def name_points(axes: Axes, names: Sequence[tuple[str, tuple[float, float]]], size: int = 9) -> None:
    """Write each name beside its point (x, y in the units of the axes), the first ones first.

    A name that fits nowhere is left out: two that lie on each other cannot be read. Everything else has to be in the
    picture, which is laid out here.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    taken = [_around(*point) for points in axes.collections for point in axes.transData.transform(points.get_offsets())]
    if (legend := axes.get_legend()) is not None:
        taken.append(legend.get_window_extent())
    for name, point in names:
        for offset, across, along in _PLACES:
            words = axes.annotate(
                name, point, xytext=offset, textcoords="offset points", ha=across, va=along, fontsize=size
            )
            box = words.get_window_extent()
            inside = frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            words.remove()


def _around(x: float, y: float) -> Bbox:
    return Bbox.from_extents(x - _POINT, y - _POINT, x + _POINT, y + _POINT)
