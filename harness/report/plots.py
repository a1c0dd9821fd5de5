"""Pictures: of a rank study the score against cost with its Pareto front, and against rank; means."""

import dataclasses
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

os.environ.setdefault("MPLCONFIGDIR", os.path.join(tempfile.gettempdir(), f"matplotlib-{os.getuid()}"))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, NullLocator

from harness.record import Record, headline_metric, headline_score
from harness.report.confirmed import Confirmation
from harness.report.labels import name_points
from harness.report.table import MIB, ArmResult, bases, cost_of, pareto, sign
from harness.report.two_level import Floats

# Okabe and Ito's colours: told apart with any colour vision; markers differ too, for print.
_STYLE = {
    "lora": ("#0072B2", "o", "LoRA"),
    "full": ("#D55E00", "s", "full fine-tuning"),
    "head": ("#009E73", "^", "head only (frozen base)"),
    "bitfit": ("#CC79A7", "v", "biases only (BitFit)"),
    "norms": ("#E69F00", "P", "norms only"),
    "peft": ("#56B4E9", "D", "PEFT"),
}


def _style(name: str) -> tuple[str, str, str]:
    """Colour, marker and label of what a trial trains: of adapters for several tasks its own name."""
    return _STYLE.get(name, ("#0072B2", "o", name))


_SPLITS = {"val": "validation", "test": "test"}
_LETTERS, _KEY = 13, 7  # of a legend: those of its type an inch holds, and the width of its keys in them
LINES = ("#0072B2", "#E69F00", "#CC79A7", "#56B4E9", "#000000")


def _memory_label(records: Sequence[Record]) -> str:
    if any(entry.memory.step is not None for entry in records):
        return "memory of weights, optimiser and a step's tensors, MiB"
    kind = next((entry.memory.kind for entry in records if entry.memory.kind), "")
    return f"peak memory in training above the bare process, MiB ({kind})"


def pareto_picture(records: Sequence[Record], title: str, path: Path) -> None:
    """The validation score of every complete trial against trainable parameters, and against memory."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    left.set_xscale("log")
    _costs(left, records, "trainable", 1)
    left.set_xlabel("trainable parameters")
    left.set_ylabel(f"validation {headline_metric(records[0])}")
    _costs(right, records, "memory", MIB)
    right.set_xlabel(_memory_label(records))
    left.legend(loc="best", fontsize=9)
    figure.suptitle(f"{title}: every complete trial; line: the Pareto front")
    for axes, cost, unit in ((left, "trainable", 1), (right, "memory", MIB)):
        best = {entry.arm: entry for entry in pareto(records, cost)}  # of an arm the one that scores highest
        name_points(
            axes,
            [
                (arm.replace("rank=", "r"), (cost_of(entry, cost) / unit, headline_score(entry, "val")))
                for arm, entry in reversed(best.items())
            ],
        )
    save_picture(figure, path)


def _costs(axes: Axes, records: Sequence[Record], cost: str, unit: int) -> None:
    complete = [entry for entry in records if entry.state == "complete"]
    for name in dict.fromkeys(entry.lora.name for entry in complete):
        colour, marker, label = _style(name)
        mine = [entry for entry in complete if entry.lora.name == name]
        axes.scatter(
            [cost_of(entry, cost) / unit for entry in mine],
            [headline_score(entry, "val") for entry in mine],
            color=colour,
            marker=marker,
            label=label,
            s=42,
            alpha=0.75,
            linewidths=0,
        )
    front = pareto(records, cost)
    axes.step(
        [cost_of(entry, cost) / unit for entry in front],
        [headline_score(entry, "val") for entry in front],
        where="post",
        color="#444444",
        linewidth=1,
        zorder=0,
    )
    axes.margins(y=0.12)
    axes.grid(alpha=0.25)


def rank_picture(records: Sequence[Record], results: Sequence[ArmResult], title: str, path: Path) -> None:
    """The score against rank: every trial and each arm's best on validation; beside it, on its own axis, on test."""
    splits = ["val"] + ["test"] * any(result.split == "test" for result in results)
    figure, panels = plt.subplots(
        1, len(splits), figsize=(7 * len(splits) + 1, 5.6), layout="constrained", squeeze=False
    )
    for axes, split in zip(panels[0], splits, strict=True):
        _rank_panel(axes, split, records, results)
    figure.suptitle(title)
    columns = 3 if len(splits) > 1 else 2
    _shared_legend(figure, panels[0], columns)
    save_picture(figure, path)


def _shared_legend(figure: Figure, panels: Sequence[Axes], columns: int) -> None:
    """One legend below all panels, each name once, in so many columns as there is room for."""
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    room = figure.get_figwidth() * _LETTERS / (max(map(len, found), default=0) + _KEY)
    columns = max(1, min(columns, int(room)))
    figure.legend(found.values(), found.keys(), fontsize=9, loc="outside lower center", ncols=columns, frameon=False)


def _rank_panel(axes: Axes, split: str, records: Sequence[Record], results: Sequence[ArmResult]) -> None:
    complete = [(entry.lora.rank, entry) for entry in records if entry.state == "complete"]
    tried = [(rank, headline_score(entry, "val")) for rank, entry in complete if rank is not None]
    if split == "val":
        xs, ys = [rank for rank, _ in tried], [score for _, score in tried]
        axes.scatter(xs, ys, color="#999999", marker="x", s=30, linewidths=1, label="each complete trial")
    lines: dict[str, list[ArmResult]] = {}
    others, several = cycle(reversed(LINES)), len(bases(records)) > 1
    for result in results:
        if result.best is None or split not in result.best.scores:
            continue
        if result.best.lora.rank is not None:
            base = f"{result.best.model}, " if several else ""
            lines.setdefault(base + _line_name(result.best, result.arm), []).append(result)
            if split == "test":
                _nested_line(axes, result.best)
        else:
            _level(axes, result, result.best, split, others)
    for (name, ranked), colour, marker in zip(lines.items(), cycle(LINES), cycle("oDv^s"), strict=False):
        _rank_line(axes, ranked, split, colour=colour, marker=marker, label=f"{name}, best on validation")
    if ranks := [rank for rank, _ in tried]:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(set(ranks)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("LoRA rank")
    shown = any(result.split == split and result.interval for result in results)
    axes.set_ylabel(f"{_SPLITS[split]} {headline_metric(records[0])}{', 95 % interval' if shown else ''}")
    axes.grid(alpha=0.25)


def _level(axes: Axes, result: ArmResult, best: Record, split: str, others: Iterator[str]) -> None:
    """An arm without a rank, as a line across; one of the user's own or a method of PEFT takes a colour of `others`."""
    colour, _, label = _style(best.lora.name)
    if result.arm != best.lora.name:
        colour, label = next(others), result.arm
    axes.axhline(headline_score(best, split), color=colour, linestyle="--", linewidth=1.4, label=label)
    if result.interval is not None and result.split == split:
        axes.axhspan(*result.interval, color=colour, alpha=0.08, linewidth=0)


def confirmed_picture(found: Confirmation, title: str, path: Path) -> None:
    """Each arm's difference from the reference with its interval, the margin shaded."""
    compared = [(each, each.difference) for each in found.arms if each.difference is not None]
    figure, axes = plt.subplots(figsize=(8, 1.6 + 0.45 * len(compared)), layout="constrained")
    axes.axvspan(-found.margin, found.margin, color="#999999", alpha=0.25, linewidth=0, label="the margin")
    axes.axvline(0, color="#444444", linewidth=1)
    for place, (each, (centre, low, high)) in enumerate(reversed(compared)):
        colour, marker, _ = _style(each.entry.lora.name)
        reach = [[centre - low], [high - centre]]
        axes.errorbar(centre, place, xerr=reach, color=colour, marker=marker, capsize=3, linewidth=1.4)
    axes.set_yticks(range(len(compared)), [f"{each.arm}: {each.verdict}" for each, _ in reversed(compared)])
    axes.set_ylim(-0.6, len(compared) - 0.4)
    if sign(found.arms[0].entry) < 0:
        axes.invert_xaxis()
    name = headline_metric(found.arms[0].entry)
    # Below the figure as a whole: long names of arms leave the axes themselves little room.
    figure.supxlabel(
        f"test {name} against {found.reference}, right is better;\n{found.seeds} {found.unit}, 95 % all at once",
        fontsize="medium",
    )
    axes.set_title(title)
    axes.grid(alpha=0.25, axis="x")
    axes.legend(fontsize=9, loc="best")
    save_picture(figure, path)


def curves_picture(found: Confirmation, title: str, path: Path) -> None:
    """The objective on validation over steps, the mean of each arm's seeds; the range of its seeds shaded."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    lines, others = cycle(("-", "--", ":", "-.")), cycle(LINES)
    several = sum(each.entry.lora.is_low_rank for each in found.arms) > 1
    for each, line in zip(found.arms, lines, strict=False):
        curves = [{int(step): value for step, value in run.reports} for run in each.runs]
        steps = sorted(set.intersection(*(set(curve) for curve in curves)))
        values = [[curve[step] for curve in curves] for step in steps]
        colour, marker, _ = _style(each.entry.lora.name)
        colour = next(others) if several and each.entry.lora.is_low_rank else colour
        means = [statistics.fmean(row) for row in values]
        axes.plot(steps, means, line, color=colour, marker=marker, label=each.arm)
        axes.fill_between(steps, [min(row) for row in values], [max(row) for row in values], color=colour, alpha=0.1)
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel(f"validation {found.arms[0].entry.objective}")
    axes.set_title(f"{title}: mean and range of {found.seeds} seeds")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9, loc="best")
    save_picture(figure, path)


def _line_name(entry: Record, arm: str) -> str:
    """The variant, and what else the arm sets: rank=4,targets=query gives 'lora targets=query'."""
    beside = [part for part in arm.split(",") if "=" in part and not part.startswith(("rank=", "variant="))]
    return " ".join([entry.lora.variant or "lora", *beside])


def _nested_line(axes: Axes, entry: Record) -> None:
    """A nested adapter's score at every rank it was cut to, from one run."""
    cuts = [name for name in entry.scores if name.startswith("test@")]
    if cuts:
        ranks = [int(name.partition("@")[2]) for name in cuts]
        scores = [headline_score(entry, name) for name in cuts]
        axes.plot(
            ranks, scores, color="#666666", marker=".", linewidth=1, label="one nested run, cut to each rank, on test"
        )


def _rank_line(axes: Axes, results: Sequence[ArmResult], split: str, *, colour: str, marker: str, label: str) -> None:
    scored = [
        (result.best.lora.rank, headline_score(result.best, split), result.interval if result.split == split else None)
        for result in results
        if result.best is not None
    ]
    points = [(rank, score, *(interval or (score, score))) for rank, score, interval in scored]
    ranks, scores, lows, highs = zip(*sorted(points), strict=True)
    below = [score - low for score, low in zip(scores, lows, strict=True)]
    above = [high - score for score, high in zip(scores, highs, strict=True)]
    axes.errorbar(
        ranks, scores, yerr=[below, above], color=colour, marker=marker, capsize=3, linewidth=1.4, label=label
    )


@dataclasses.dataclass(frozen=True)
class Line:
    """Points of one result of training (a key of the styles), and what they are; the line joins the means at each x.

    `name` is in place of the style's own.
    """

    style: str
    label: str
    points: Sequence[tuple[float, float]]
    dotted: bool = False
    name: str | None = None


def lines_picture(lines: Sequence[Line], x: str, y: str, title: str, path: Path) -> None:
    """Points over a logarithmic axis, and a line through their means."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for line in lines:
        colour, marker, name = _style(line.style)
        places = sorted({place for place, _ in line.points})
        means = [statistics.fmean(score for place, score in line.points if place == at) for at in places]
        axes.plot(places, means, ":" if line.dotted else "-", color=colour, label=f"{line.name or name}{line.label}")
        xs, ys = zip(*line.points, strict=True)
        axes.scatter(xs, ys, color=colour, marker=marker, s=18, linewidths=0)
    axes.set_xscale("log")
    axes.set_xticks(sorted({place for line in lines for place, _ in line.points}))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9)
    save_picture(figure, path)


_UNDATED: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What a format would say of when and by what it was written: the same records give the same file."""


def layer_map(axes: Axes, values: Floats, layers: Sequence[str], arms: Sequence[str], colours: str) -> AxesImage:
    """Values (layers, arms) as colours, layers down and arms across; grey where there is none."""
    image = axes.imshow(values, aspect="auto", cmap=colours, interpolation="nearest", vmin=0)
    axes.set_xticks(range(len(arms)), arms, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(layers)), layers, fontsize=7)
    axes.set_facecolor("#dddddd")
    return image


def save_picture(figure: Figure, path: Path) -> None:
    """The picture as PNG, and beside it as SVG and PDF for print."""
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "pdf.fonttype": 42}):
        for ending, metadata in _UNDATED.items():
            figure.savefig(path.with_suffix(f".{ending}"), dpi=110, metadata=metadata)
    plt.close(figure)
