"""A picture of what was read: how many rows of each class, and how long they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from harness.report.fonts import fonts_for, is_drawable
from harness.report.plots import save_picture  # which also settles how pictures are drawn without a screen

_COLOURS = {"train": "#0072B2", "validation": "#E69F00", "test": "#009E73"}
_MOST_CLASSES = 30


def data_picture(
    title: str,
    *,
    labels: Mapping[str, Sequence[int]],
    classes: Sequence[str],
    lengths: Mapping[str, Sequence[float]],
    unit: str,
    path: Path,
) -> None:
    """Write the shares of the classes and the lengths of the rows, in `unit`, each by split, to `path`."""
    columns = [bool(classes), bool(unit)]
    if not any(columns):
        return
    figure, axes = plt.subplots(1, sum(columns), figsize=(5.5 * sum(columns), 4), layout="constrained", squeeze=False)
    row = list(axes[0])
    if classes:
        _classes(row.pop(0), labels, classes)
    if unit:
        _lengths(row.pop(0), lengths, unit)
    figure.suptitle(title)
    save_picture(figure, path)


def _classes(axes: Axes, labels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> None:
    shown = sorted(range(len(classes)), key=lambda number: -labels["train"][number])[:_MOST_CLASSES]
    width = 0.8 / len(labels)
    for place, (split, counts) in enumerate(labels.items()):
        shares = [counts[number] / max(1, sum(counts)) for number in shown]
        positions = [index + (place - (len(labels) - 1) / 2) * width for index in range(len(shown))]
        axes.bar(positions, shares, width, label=f"{split}, {sum(counts)} rows", color=_COLOURS.get(split))
    short = [classes[number] if len(classes[number]) <= 20 else classes[number][:19] + "…" for number in shown]
    fonts = fonts_for(short)
    names = [name if is_drawable(name, fonts) else f"no. {row}" for row, name in enumerate(short, 1)]
    turned = 0 if sum(map(len, names)) < 50 else 90
    axes.set_xticks(range(len(shown)), names, rotation=turned, fontfamily=fonts, parse_math=False)
    more = f" (the {len(shown)} largest of {len(classes)} classes)" if len(shown) < len(classes) else ""
    if names != short:
        axes.set_xlabel("numbered as in data.md where no font has the name")
    axes.set_ylabel(f"share of the split{more}")
    axes.margins(y=0.2)  # room for the legend above the bars
    axes.legend(fontsize=9, loc="upper center", ncols=len(axes.containers))


def _lengths(axes: Axes, lengths: Mapping[str, Sequence[float]], unit: str) -> None:
    longest = max(max(values) for values in lengths.values())
    for split, values in lengths.items():
        axes.hist(
            list(values),
            bins=40,
            range=(0, longest),
            weights=[1 / len(values)] * len(values),
            histtype="step",
            label=split,
            color=_COLOURS.get(split),
            linewidth=1.5,
        )
    axes.set_xlabel(f"{unit} in a row")
    axes.set_ylabel("share of the split")
    axes.legend(fontsize=9)
