"""Pictures of several tasks: gains by task, scores after each task that was learned, forgetting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from harness.record import Record
from harness.report.confirmed_tasks import ConfirmedMultitask
from harness.report.continual import ContinualResult
from harness.report.multitask import MultitaskResult
from harness.report.plots import LINES, save_picture  # which also settles how pictures are drawn without a screen


def searched_picture(results: Sequence[MultitaskResult], title: str, path: Path) -> None:
    """The gains of the best trial of each arm of the search that could be compared: of one seed."""
    arms = [
        _Gains(result.arm, result.delta, result.interval, result.best.parameters.trainable, result.gains)
        for result in results
        if result.delta is not None and result.interval is not None
    ]
    _draw(arms, f"{title}: the search, one seed", path)


def confirmed_picture(found: ConfirmedMultitask, title: str, path: Path) -> None:
    """The gains of each arm over the fresh seeds."""
    arms = [
        _Gains(
            each.arm,
            each.delta.difference,
            (each.delta.low, each.delta.high),
            each.runs[0].parameters.trainable,
            each.gains,
        )
        for each in found.arms
    ]
    _draw(arms, f"{title}: confirmed with {found.seeds} fresh seeds", path)


@dataclass(frozen=True)
class _Gains:
    """An arm of several tasks: Δm and its interval, and what each task gains, all in percent; parameters trained."""

    arm: str
    delta: float
    interval: tuple[float, float]
    trainable: int
    gains: Mapping[str, float]


def _draw(arms: Sequence[_Gains], title: str, path: Path) -> None:
    """Left, Δm of each arm with its interval and what it trains; right, each task's gain in each arm, in percent."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(13, 1.6 + 0.5 * len(arms)), layout="constrained", width_ratios=(1, 1.6), sharey=True
    )
    for row, each in enumerate(arms):
        reach = [[each.delta - each.interval[0]], [each.interval[1] - each.delta]]
        left.errorbar([each.delta], [row], xerr=reach, color=LINES[0], marker="o", capsize=3)
        words = f"{each.trainable:,} trained"
        left.annotate(words, (each.delta, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8)
    left.axvline(0, color="#444444", linewidth=1)
    left.margins(x=0.14)
    left.set_xlabel("Δm against a run of each task alone, % [95 %]")
    left.set_title("all tasks", fontsize=10)
    left.grid(alpha=0.25, axis="x")
    _draw_gains(right, arms)
    figure.suptitle(title)
    save_picture(figure, path)


def _draw_gains(axes: Axes, arms: Sequence[_Gains]) -> None:
    """Arms by tasks, each cell the gain in percent, blue better and orange worse."""
    tasks = list(dict.fromkeys(task for each in arms for task in each.gains))
    cells = [[each.gains.get(task, math.nan) for task in tasks] for each in arms]
    most = max((abs(cell) for row in cells for cell in row if math.isfinite(cell)), default=1.0)
    axes.imshow(cells, cmap="PuOr", vmin=-most, vmax=most, aspect="auto")
    axes.set_xticks(range(len(tasks)), tasks, rotation=35, ha="right")
    axes.set_yticks(range(len(arms)), [each.arm for each in arms])
    for row, values in enumerate(cells):
        for column, cell in enumerate(values):
            dark = abs(cell) > 0.6 * most
            axes.text(
                column, row, f"{cell:+.1f}", ha="center", va="center", fontsize=9, color="white" if dark else "black"
            )
    axes.set_title("each task, %: above 0 better than its run alone", fontsize=10)


def gradients_picture(arms: Mapping[str, Sequence[Record]], title: str, path: Path) -> None:
    """A panel for each arm: the cosine of each two tasks' gradients, the mean over evaluations and trials.

    Above 0, a small step for one task lowers the loss of the other.
    """
    figure, panels = plt.subplots(
        1, len(arms), figsize=(1.6 + 2.6 * len(arms), 3.6), sharey=True, layout="constrained", squeeze=False
    )
    for axes, (arm, runs) in zip(panels[0], arms.items(), strict=True):
        names = runs[0].task_gradients.tasks
        cosines = np.mean([each for run in runs for each in run.task_gradients.cosines], axis=0)
        axes.imshow(cosines, cmap="PuOr", vmin=-1, vmax=1)
        for (row, column), value in np.ndenumerate(cosines):
            if row != column:
                axes.text(column, row, f"{value:+.2f}", ha="center", va="center", fontsize=9)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_title(arm, fontsize=10)
    figure.suptitle(f"{title}: cosine of the tasks' gradients")
    save_picture(figure, path)


def matrices_picture(results: Sequence[ContinualResult], title: str, path: Path) -> None:
    """Each arm's best trial: a row for the start and after each task, a column for each task, the test score."""
    width = 2.1 + 2.5 * len(results)
    figure, panels = plt.subplots(
        1, len(results), figsize=(width, 4.2), sharey=True, layout="constrained", squeeze=False
    )
    values = [value for result in results for row in result.best.continual.test for value in row]
    low, high = min(values), max(values)
    for axes, result in zip(panels[0], results, strict=True):
        _matrix(axes, result.best, low, high)
        figures = result.best.continual_summary
        axes.set_title(f"{result.arm}\nACC {figures.acc:.3f}, forgetting {figures.forgetting:.3f}", fontsize=10)
    names = results[0].best.continual.tasks
    panels[0][0].set_yticks(range(len(names) + 1), ["at the start", *(f"after {name}" for name in names)])
    figure.suptitle(f"{title}: test score of each task (columns) as tasks are learned (rows); framed: just learned")
    save_picture(figure, path)


def _matrix(axes: Axes, entry: Record, low: float, high: float) -> None:
    matrix, names = entry.continual.test, entry.continual.tasks
    axes.imshow(matrix, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    for row, scores in enumerate(matrix):
        for column, score in enumerate(scores):
            dark = score < low + 0.55 * (high - low)
            colour = "white" if dark else "black"
            axes.text(column, row, f"{score:.3f}", ha="center", va="center", fontsize=9, color=colour)
            if row == column + 1:
                axes.add_patch(
                    Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor="white", linewidth=1.6)
                )


def forgetting_picture(results: Sequence[ContinualResult], level: float, title: str, path: Path) -> None:
    """Every complete trial: forgetting, and the change of the probe, against the mean score of tasks just learned."""
    probed = any(entry.probe.change is not None for result in results for entry in result.group)
    figure, panels = plt.subplots(
        1, 2 if probed else 1, figsize=(11 if probed else 6, 4.8), layout="constrained", squeeze=False
    )
    _scatter(panels[0][0], results, [(entry, entry.continual_summary.forgetting) for entry in _all(results)])
    panels[0][0].set_ylabel("forgetting (mean over all tasks but the last)")
    if probed:
        _scatter(panels[0][1], results, [(entry, entry.probe.change) for entry in _all(results)])
        panels[0][1].set_ylabel("change of the base's loss on general text, nats")
    for axes in panels[0]:
        axes.axhline(0, color="#444444", linewidth=0.8)
        axes.set_xlabel("mean test score of tasks just learned")
        axes.grid(alpha=0.25)
    labels = panels[0][0].get_legend_handles_labels()
    figure.legend(*labels, fontsize=9, loc="outside lower center", ncols=len(results), frameon=False)
    figure.suptitle(f"{title}: every complete trial; ringed: matched at {level:.3f} on validation")
    save_picture(figure, path)


def _all(results: Sequence[ContinualResult]) -> list[Record]:
    return [entry for result in results for entry in result.group if entry.state == "complete"]


def _scatter(axes: Axes, results: Sequence[ContinualResult], values: Sequence[tuple[Record, float | None]]) -> None:
    for result, colour, marker in zip(results, cycle(LINES), cycle("oDvs^P"), strict=False):
        points = [(entry.continual_summary.new, y) for entry, y in values if entry.arm == result.arm and y is not None]
        if points:
            xs, ys = zip(*points, strict=True)
            axes.scatter(xs, ys, color=colour, marker=marker, s=52, label=result.arm, linewidths=0, alpha=0.85)
        for entry, y in values:
            if result.matched is not None and entry.trial == result.matched.trial and y is not None:
                axes.scatter(
                    [entry.continual_summary.new], [y], s=150, facecolors="none", edgecolors=colour, linewidths=1.4
                )
