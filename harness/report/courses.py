"""The pictures of a study of task sequences: every arm's matrix, and forgetting against the score on new tasks."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes

from harness.record import Record
from harness.report.continual import Course
from harness.report.plots import LINES, plt, save


def matrices_picture(results: Sequence[Course], title: str, path: Path) -> None:
    """Each arm's best trial: a row for the start and after each task, a column for each task, the test score."""
    width = 2.1 + 2.5 * len(results)
    figure, panels = plt.subplots(
        1, len(results), figsize=(width, 4.2), sharey=True, layout="constrained", squeeze=False
    )
    values = [value for course in results for row in course.best.sequence["test"] for value in row]
    low, high = min(values), max(values)
    for axes, course in zip(panels[0], results, strict=True):
        _matrix(axes, course.best, low, high)
        figures = course.best.sequence
        axes.set_title(f"{course.arm}\nACC {figures['acc']:.3f}, forgetting {figures['forgetting']:.3f}", fontsize=10)
    names = results[0].best.sequence["tasks"]
    panels[0][0].set_yticks(range(len(names) + 1), ["at the start", *(f"after {name}" for name in names)])
    figure.suptitle(f"{title}: test score of each task (columns) as tasks are learned (rows); framed: just learned")
    save(figure, path)


def _matrix(axes: Axes, entry: Record, low: float, high: float) -> None:
    matrix, names = entry.sequence["test"], entry.sequence["tasks"]
    axes.imshow(matrix, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    for row, scores in enumerate(matrix):
        for column, score in enumerate(scores):
            dark = score < low + 0.55 * (high - low)
            colour = "white" if dark else "black"
            axes.text(column, row, f"{score:.3f}", ha="center", va="center", fontsize=9, color=colour)
            if row == column + 1:
                axes.add_patch(
                    plt.Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor="white", linewidth=1.6)
                )


def forgetting_picture(results: Sequence[Course], level: float, title: str, path: Path) -> None:
    """Every complete trial: forgetting, and the change of the probe, against the mean score of tasks just learned."""
    probed = any("change" in entry.probe for course in results for entry in course.group)
    figure, panels = plt.subplots(
        1, 2 if probed else 1, figsize=(11 if probed else 6, 4.8), layout="constrained", squeeze=False
    )
    _scatter(panels[0][0], results, [(entry, entry.sequence.get("forgetting")) for entry in _all(results)])
    panels[0][0].set_ylabel("forgetting (mean over all tasks but the last)")
    if probed:
        _scatter(panels[0][1], results, [(entry, entry.probe.get("change")) for entry in _all(results)])
        panels[0][1].set_ylabel("change of masked-LM loss on general text, nats")
    for axes in panels[0]:
        axes.axhline(0, color="#444444", linewidth=0.8)
        axes.set_xlabel("mean test score of tasks just learned")
        axes.grid(alpha=0.25)
    panels[0][0].legend(fontsize=9, loc="best")
    figure.suptitle(f"{title}: every complete trial; ringed: matched, at least {level:.3f} on validation")
    save(figure, path)


def _all(results: Sequence[Course]) -> list[Record]:
    return [entry for course in results for entry in course.group if entry.state == "complete"]


def _scatter(axes: Axes, results: Sequence[Course], values: Sequence[tuple[Record, float | None]]) -> None:
    for course, colour, marker in zip(results, cycle(LINES), cycle("oDvs^P"), strict=False):
        points = [(entry.sequence["new"], y) for entry, y in values if entry.arm == course.arm and y is not None]
        if points:
            xs, ys = zip(*points, strict=True)
            axes.scatter(xs, ys, color=colour, marker=marker, s=52, label=course.arm, linewidths=0, alpha=0.85)
        for entry, y in values:
            if course.matched is not None and entry.trial == course.matched.trial and y is not None:
                axes.scatter([entry.sequence["new"]], [y], s=150, facecolors="none", edgecolors=colour, linewidths=1.4)
